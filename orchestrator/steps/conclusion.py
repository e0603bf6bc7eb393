"""The end of a sweep: the table, the champion, the report, and what to do with them."""

import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jobs import kinds
from jobs.kinds import Job
from jobs.kinds.sweeps import SWEEPS
from jobs.store import Record
from orchestrator.console import Phase, duration
from orchestrator.plan import Result
from orchestrator.plan.ranking import OBJECTIVE
from orchestrator.report import champion, evaluations, findings, rivals, splits, tables
from orchestrator.report.findings import Findings
from orchestrator.steps.session import REPORTS, Sweep
from orchestrator.steps.sources import make
from orchestrator.tracking import Tracker
from qdllm.addresses import bare

PORT = 5000
"""Where MLflow's pages are, on this machine alone; it is also MLflow's own choice."""


def conclude(
    sweep: Sweep, asked: str, tracker: Tracker, failures: Mapping[str, str], began: float
) -> None:
    """Rank the trials, evaluate and register the champion, say where everything is.

    `asked`: the fingerprint of what was written down of the sweep. `began`: when the sweep did, by
    the monotonic clock. Raises TrackingError where MLflow lacks something at the end.
    """
    show, history = sweep.terminal.print, sweep.session.history
    record = sweep.store.record(SWEEPS.name, asked)
    assert record is not None, "the walk has begun with it"
    found = findings.findings(history, record, failures)
    for what, jobs in (
        ("under noise", evaluations.under_noise(record, found.order)),
        ("agreement", evaluations.agreements(found.families)),
    ):
        if jobs:
            _make_all(sweep, what, jobs)
            found = findings.findings(history, record, failures)
    show(*tables.missing_lines(found.missing, found.settings))
    told = rivals.table(found, wide=sweep.terminal.console.width >= rivals.WIDE)
    if found.champion is None:
        show(*filter(None, [told]), tables.no_champion_line(found))
        if found.order:
            with sweep.terminal.phase("report") as phase:
                phase.note = _report(sweep, tracker, found)
        tracker.finish({}, failed=True)
        tracker.wait()
        return
    title = f"{len(found.order)} trials of grid {sweep.definition.name} on {sweep.dataset.name}"
    wide = sweep.terminal.console.width >= tables.WIDE
    show(
        tables.trials_table(found, f"{title}, by validation accuracy", wide=wide),
        *tables.chosen_lines(found),
        *splits.told(history, record),
        *filter(None, [told]),
    )
    opinions = [
        _opinion(sweep, found.champion, job)
        for job in evaluations.of_champion(record, found.champion)
    ]
    with sweep.terminal.phase("champion") as phase:
        address = _register(sweep, tracker, found, phase)
        phase.note = f"registered as {address}"
    with sweep.terminal.phase("report") as phase:
        # Once more, since the evaluations are there only now.
        phase.note = _report(sweep, tracker, findings.findings(history, record, failures))
    tracker.finish(_figures(found, opinions), failed=bool(failures))
    with sweep.terminal.phase("mlflow") as phase:
        tracker.wait(phase.update)
        phase.note = "everything is written"
    show(
        *_commands(tracker, address),
        f"all of it took {duration(time.monotonic() - began)}; everything is in "
        f"{sweep.session.locations.home}",
    )


def _report(sweep: Sweep, tracker: Tracker, found: Findings) -> str:
    """Write the page, and give it to MLflow. Returns its path."""
    from orchestrator.report import page  # matplotlib and scipy's statistics

    path = page.write(found, sweep.session.locations.home / REPORTS)
    _hand_over(sweep, tracker, path)
    return str(path)


def _commands(tracker: Tracker, model: str) -> list[str]:
    """How to look at the trials, and to use the registered model."""
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    address = bare(tracker.uri)
    uri = shlex.quote(address)
    use = (
        f"use:  MLFLOW_TRACKING_URI={uri} {mlflow} models predict -m {shlex.quote(model)} "
        "--env-manager local -t csv -i texts.csv"
    )
    if tracker.uri.startswith("http"):
        return [f"look: {address.rstrip('/')}/{tracker.page}", use]
    return [
        f"look: {mlflow} ui --port {PORT} --backend-store-uri {uri}",
        f"      then http://127.0.0.1:{PORT}/{tracker.page}",
        use,
    ]


def _make_all(sweep: Sweep, what: str, jobs: Sequence[Job[Any]]) -> None:
    """Make what the store lacks of something that is wanted of many trials."""
    with sweep.terminal.phase(what, len(jobs)) as phase:
        for number, job in enumerate(jobs, start=1):
            make(sweep, job, phase)
            phase.update(number, len(jobs), kinds.kind(job.kind).phase(job.spec))


def _opinion(sweep: Sweep, chosen: Result, job: Job[Any]) -> Record:
    """An evaluation of the champion, told together with its own figures."""
    kind = kinds.kind(job.kind)
    with sweep.terminal.phase(kind.phase(job.spec)) as phase:
        record = make(sweep, job, phase)
        phase.note = kind.opinion(record, chosen.record)
    return record


def _register(sweep: Sweep, tracker: Tracker, found: Findings, phase: Phase) -> str:
    """Register the champion's best seed by validation. Returns the model's address."""
    with tempfile.TemporaryDirectory() as folder:
        champion.save(found, sweep.store, Path(folder))
        assert found.champion is not None, "a sweep without one has ended before"
        told = champion.lineage(sweep.store, found.champion, sweep.dataset.digest)
        return tracker.register(sweep.model, Path(folder), told, phase.update)


def _hand_over(sweep: Sweep, tracker: Tracker, path: Path) -> None:
    """Give MLflow the report, its pictures, the grid, and where the teachers came from."""
    tracker.write_file(path.name, path.read_bytes())
    for picture in sorted(path.with_suffix("").glob("*.png")):
        tracker.write_file(f"figures/{picture.name}", picture.read_bytes())
    asked = sweep.definition.model_dump(mode="json", exclude_unset=True)
    tracker.write_file("grid.yaml", yaml.safe_dump(asked, sort_keys=False, allow_unicode=True))
    records = [sweep.store.record(job.kind, job.fingerprint) for job in sweep.plan.taught]
    plain = {each.fingerprint: each.model_dump(mode="json") for each in records if each}
    tracker.write_file("teachers.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _figures(found: Findings, opinions: Sequence[Record]) -> dict[str, float]:
    """The sweep's own figures in MLflow."""
    chosen = found.champion
    assert chosen is not None, "a sweep without one has ended before"
    figures = {
        "champion.val.accuracy": chosen.over_seeds(OBJECTIVE).mean,
        "champion.test.accuracy": chosen.over_seeds("test.accuracy").mean,
        "champion.parameters": chosen.parameters,
        "best.val.accuracy": found.order[0].over_seeds(OBJECTIVE).mean,
        "trials": len(found.order),
    }
    for record in opinions:
        told = kinds.kind(record.kind).figures(record)
        figures |= {f"champion.{name}": value for name, value in told.items()}
    return figures

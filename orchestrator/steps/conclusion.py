"""The end of a sweep: the table, the champion, the report, and what to do with them."""

import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from jobs import kinds
from jobs.kinds import Job
from jobs.kinds.sweeps import SWEEPS
from jobs.store import Record, Store
from orchestrator.console import Phase, duration
from orchestrator.plan import Result
from orchestrator.plan.ranking import OBJECTIVE
from orchestrator.report import findings, tables
from orchestrator.report.findings import Findings
from orchestrator.steps.session import Sweep
from orchestrator.steps.sources import make
from orchestrator.tracking import Tracker, without_secrets
from qdllm.models import pinned


def conclude(sweep: Sweep, tracker: Tracker, failures: Mapping[str, str], began: float) -> None:
    """Rank the trials, evaluate and register the champion, say where everything is.

    `began`: when the sweep did, by the monotonic clock. Raises TrackingError where MLflow lacks
    something at the end.
    """
    show, history = sweep.terminal.print, sweep.session.history
    record = sweep.store.record(SWEEPS.name, sweep.plan.name)
    assert record is not None, "the walk has begun with it"
    found = findings.findings(history, record, failures)
    show(*tables.missing_lines(found.missing, found.settings))
    if found.champion is None:
        show(tables.no_champion_line(found.order))
        tracker.finish({}, failed=True)
        tracker.wait()
        return
    title = f"{len(found.order)} trials of grid {sweep.definition.name} on {sweep.dataset.name}"
    wide = sweep.terminal.console.width >= tables.WIDE
    show(
        tables.trials_table(found, f"{title}, by validation accuracy", wide=wide),
        tables.champion_line(found.champion, found.best, found.order[0]),
    )
    opinions = [
        _opinion(sweep, found.champion, job) for job in findings.evaluations(found.champion)
    ]
    with sweep.terminal.phase("champion") as phase:
        address = _register(sweep, tracker, found.champion, phase)
        phase.note = f"registered as {address}"
    with sweep.terminal.phase("report") as phase:
        from orchestrator.report import page  # matplotlib and scipy's statistics

        # Once more, since the evaluations are there only now.
        found = findings.findings(history, record, failures)
        path = page.write(found, sweep.session.locations.home / "reports")
        _hand_over(sweep, tracker, path)
        phase.note = str(path)
    tracker.finish(_figures(found, opinions), failed=bool(failures))
    with sweep.terminal.phase("mlflow") as phase:
        tracker.wait(phase.update)
        phase.note = "everything is written"
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    uri = shlex.quote(without_secrets(tracker.uri))
    served = tracker.uri.startswith("http")
    home = sweep.session.locations.home
    show(
        f"look: {uri}" if served else f"look: {mlflow} ui --backend-store-uri {uri}",
        f"use:  MLFLOW_TRACKING_URI={uri} {mlflow} models predict -m {address} "
        "--env-manager local -t csv -i texts.csv",
        f"all of it took {duration(time.monotonic() - began)}; everything is in {home}",
    )


def _opinion(sweep: Sweep, chosen: Result, job: Job[Any]) -> Record:
    """An evaluation of the champion, told together with its own figures."""
    kind = kinds.kind(job.kind)
    with sweep.terminal.phase(kind.phase(job.spec)) as phase:
        record = make(sweep, job, phase)
        phase.note = kind.opinion(record, chosen.record)
    return record


def lineage(store: Store, chosen: Result, texts: str) -> dict[str, str]:
    """What a registered trial was made of, as tags. `texts`: the digest of its texts."""
    tags = {"qdllm.id": chosen.trial.fingerprint}
    for role, name in chosen.trial.made_from.items():
        tags[f"qdllm.{role}"] = name
        source = store.record(kinds.by_role(role).name, name)
        # A teacher's soft labels come from its adapter.
        if source and "adapter" in source.made_from:
            tags["qdllm.adapter"] = source.made_from["adapter"]
    accuracy = chosen.over_seeds(OBJECTIVE).mean
    return tags | {"qdllm.texts": texts, "qdllm.val.accuracy": f"{accuracy:.4f}"}


def _register(sweep: Sweep, tracker: Tracker, chosen: Result, phase: Phase) -> str:
    """Register the champion's best seed by validation. Returns the model's address."""
    from qdllm import saved

    spec = chosen.trial.spec
    _, tensors = sweep.store.load(chosen.trial.kind, chosen.trial.fingerprint)
    features = sweep.store.record("features", chosen.trial.made_from["features"])
    assert features is not None, "the trial was made from them"
    # A branch of the hub may have moved since then.
    name = pinned(spec.encoder.model, spec.encoder.weights, features.made_from["model"])
    encoder = spec.encoder.model_copy(update={"model": name})
    with tempfile.TemporaryDirectory() as folder:
        saved.save(
            Path(folder),
            spec.model_copy(update={"encoder": encoder}),
            sweep.dataset.classes,
            features.summary["width"],
            tensors["parameters"][chosen.best_seed],
        )
        return tracker.register(
            f"qdllm-{sweep.name}",
            Path(folder),
            lineage(sweep.store, chosen, sweep.dataset.digest),
            phase.update,
        )


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
        kind, name = kinds.kind(record.kind), record.spec.get("backend", record.kind)
        accuracy = kind.metrics(record)["test.accuracy"]
        figures[f"champion.{name}.test.accuracy"] = fmean(accuracy)
        if "largest_difference" in record.summary:
            difference = record.summary["largest_difference"]
            figures[f"champion.{name}.largest_difference"] = difference
    return figures

"""The end of a sweep: the table, the champion, the report, and what to do with them."""

import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import yaml

from jobs import fingerprints
from jobs.fingerprints import EVALUATIONS, FEATURES, SOFT_LABELS, SWEEPS
from jobs.store import Record, Store
from orchestrator.console import Phase, duration
from orchestrator.plan.ranking import OBJECTIVE, Result
from orchestrator.report import findings, page, tables
from orchestrator.report.findings import Findings
from orchestrator.steps.inputs import Sweep
from orchestrator.tracking import Tracker, without_secrets
from qdllm import saved
from qdllm.specs import EvaluationSpec


def conclude(sweep: Sweep, tracker: Tracker, failures: Mapping[str, str], began: float) -> None:
    """Step 5: rank the students, register the champion, say where everything is.

    `began`: when the sweep did, by the monotonic clock. Raises TrackingError where MLflow lacks
    something at the end.
    """
    show = sweep.terminal.print
    record = sweep.store.record(SWEEPS, sweep.plan.name)
    assert record is not None, "the walk has begun with it"
    found = findings.findings(sweep.store, record, failures)
    show(*tables.missing_lines(found.missing, found.settings))
    if found.champion is None:
        show("no trial finished, so there is no champion")
        tracker.finish({}, failed=True)
        tracker.wait()
        return
    title = f"{len(found.order)} trials of grid {sweep.definition.name} on {sweep.dataset.name}"
    wide = sweep.terminal.console.width >= tables.WIDE
    show(
        tables.trials_table(
            found.order, found.champion, found.probes, f"{title}, by validation accuracy", wide=wide
        ),
        tables.champion_line(found.champion, found.order[0]),
    )
    with sweep.terminal.phase("mindquantum") as phase:
        checked = second_opinion(sweep, found.champion, phase)
        phase.note = tables.second_opinion_line(found.champion, checked)
    with sweep.terminal.phase("champion") as phase:
        address = _register(sweep, tracker, found.champion, phase)
        phase.note = f"registered as {address}"
    with sweep.terminal.phase("report") as phase:
        # Once more, since the evaluation is there only now.
        path = page.write(findings.findings(sweep.store, record, failures), sweep.home / "reports")
        _hand_over(sweep, tracker, path)
        phase.note = str(path)
    tracker.finish(_figures(found, checked), failed=bool(failures))
    with sweep.terminal.phase("mlflow") as phase:
        tracker.wait(phase.update)
        phase.note = "everything is written"
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    uri = shlex.quote(without_secrets(tracker.uri))
    served = tracker.uri.startswith("http")
    show(
        f"look: {uri}" if served else f"look: {mlflow} ui --backend-store-uri {uri}",
        f"use:  MLFLOW_TRACKING_URI={uri} {mlflow} models predict -m {address} "
        "--env-manager local -t csv -i texts.csv",
        f"all of it took {duration(time.monotonic() - began)}; everything is in {sweep.home}",
    )


def second_opinion(sweep: Sweep, chosen: Result, phase: Phase) -> Record:
    """Step 5: the champion on the test split once more, simulated by MindQuantum."""
    spec = EvaluationSpec(backend="mindquantum")
    key = fingerprints.of_evaluation(spec, chosen.trial.fingerprint)
    record = sweep.store.record(EVALUATIONS, key)
    if record is None:
        from jobs import evaluate

        evaluate.run(
            spec,
            chosen.trial.fingerprint,
            sweep.dataset,
            sweep.store,
            lambda _, done, total, note: phase.update(done, total, note),
        )
        record = sweep.store.record(EVALUATIONS, key)
    assert record is not None, "the evaluation has just been published"
    return record


def lineage(store: Store, chosen: Result, texts: str) -> dict[str, str]:
    """What a registered student was made of, as tags. `texts`: the digest of its texts."""
    made_from = chosen.trial.made_from
    taught = store.record(SOFT_LABELS, made_from["soft_labels"])
    assert taught is not None, "the student was made from them"
    return {
        "qdllm.id": chosen.trial.fingerprint,
        "qdllm.features": made_from["features"],
        "qdllm.soft_labels": made_from["soft_labels"],
        "qdllm.adapter": taught.made_from["adapter"],
        "qdllm.texts": texts,
        "qdllm.val.accuracy": f"{chosen.over_seeds(OBJECTIVE).mean:.4f}",
    }


def _register(sweep: Sweep, tracker: Tracker, chosen: Result, phase: Phase) -> str:
    """Register the champion's best seed by validation. Returns the model's address."""
    _, tensors = sweep.store.load(chosen.trial.kind, chosen.trial.fingerprint)
    features = sweep.store.record(FEATURES, chosen.trial.made_from["features"])
    assert features is not None, "the student was made from them"
    with tempfile.TemporaryDirectory() as folder:
        saved.save(
            Path(folder),
            chosen.trial.spec,
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
    teachers = [sweep.store.record(SOFT_LABELS, job.fingerprint) for job in sweep.plan.teachers]
    plain = {one.fingerprint: one.model_dump(mode="json") for one in teachers if one}
    tracker.write_file("teachers.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _figures(found: Findings, checked: Record) -> dict[str, float]:
    """The sweep's own figures in MLflow."""
    chosen = found.champion
    assert chosen is not None, "a sweep without one has ended before"
    return {
        "champion.val.accuracy": chosen.over_seeds(OBJECTIVE).mean,
        "champion.test.accuracy": chosen.over_seeds("test.accuracy").mean,
        "champion.parameters": chosen.parameters,
        "champion.mindquantum.largest_difference": checked.summary["largest_difference"],
        "champion.mindquantum.test.accuracy": fmean(checked.summary["metrics"]["test.accuracy"]),
        "best.val.accuracy": found.order[0].over_seeds(OBJECTIVE).mean,
        "trials": len(found.order),
    }

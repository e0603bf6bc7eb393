"""The end of a sweep: the table, the champion, and what to do with it."""

import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import numpy as np

from jobs import fingerprints
from jobs.store import Record
from orchestrator import report
from orchestrator.console import Phase, duration
from orchestrator.results import OBJECTIVE, Result, axes, champion, ranked
from orchestrator.steps import Sweep, tracking_uri
from orchestrator.tracking import Tracker
from qdllm import predictor
from qdllm.specs import EvaluationSpec

WIDE = 110
"""Columns that the table needs to show everything."""


def conclude(sweep: Sweep, tracker: Tracker, failures: Mapping[str, str], began: float) -> None:
    """Step 5: rank the students, register the champion, say where everything is.

    `began`: when the sweep did, by the monotonic clock.
    """
    show = sweep.terminal.print
    settings = axes(sweep.plan.trials)
    for fingerprint, reason in failures.items():
        named = ", ".join(f"{key}={value}" for key, value in settings[fingerprint].items())
        show(f"trial {fingerprint} failed ({named}): {reason}")
    results = []
    for trial in sweep.plan.trials:
        record = sweep.store.record(trial.kind, trial.fingerprint)
        if record is not None:
            results.append(Result(trial, record))
    if not results:
        tracker.finish({}, failed=True)
        show("no trial finished, so there is no champion")
        return
    order, chosen = ranked(results), champion(results)
    probes = [sweep.store.record(job.kind, job.fingerprint) for job in sweep.plan.probes]
    show(
        report.trials_table(
            order,
            chosen,
            [record for record in probes if record is not None],
            f"{len(order)} trials of grid {sweep.definition.name} on {sweep.dataset.name}, "
            "by validation accuracy",
            wide=sweep.terminal.console.width >= WIDE,
        )
    )
    show(report.champion_line(chosen, order[0]))
    with sweep.terminal.phase("mindquantum") as phase:
        checked = second_opinion(sweep, chosen, phase)
        phase.note = report.second_opinion_line(chosen, checked)
    with sweep.terminal.phase("champion") as phase:
        address = _register(sweep, tracker, chosen)
        phase.note = f"registered as {address}"
    tracker.finish(
        {
            "champion.val.accuracy": chosen.over_seeds(OBJECTIVE).mean,
            "champion.test.accuracy": chosen.over_seeds("test.accuracy").mean,
            "champion.parameters": chosen.parameters,
            "champion.mindquantum.largest_difference": checked.summary["largest_difference"],
            "champion.mindquantum.test.accuracy": fmean(
                checked.summary["metrics"]["test.accuracy"]
            ),
            "best.val.accuracy": order[0].over_seeds(OBJECTIVE).mean,
            "trials": len(order),
        },
        failed=bool(failures),
    )
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    uri = shlex.quote(tracking_uri(sweep.home))
    show(
        f"look: {mlflow} ui --backend-store-uri {uri}",
        f"use:  MLFLOW_TRACKING_URI={uri} {mlflow} models predict -m {address} "
        "--env-manager local -t csv -i texts.csv",
        f"all of it took {duration(time.monotonic() - began)}; everything is in {sweep.home}",
    )


def second_opinion(sweep: Sweep, chosen: Result, phase: Phase) -> Record:
    """Step 5: the champion on the test split once more, simulated by MindQuantum."""
    spec = EvaluationSpec(backend="mindquantum")
    key = fingerprints.of_evaluation(spec, chosen.trial.fingerprint)
    record = sweep.store.record("evaluations", key)
    if record is None:
        from jobs import evaluate

        evaluate.run(
            spec,
            chosen.trial.fingerprint,
            sweep.dataset,
            sweep.store,
            lambda _, done, total, note: phase.update(done, total, note),
        )
        record = sweep.store.record("evaluations", key)
    assert record is not None, "the evaluation has just been published"
    return record


def _register(sweep: Sweep, tracker: Tracker, chosen: Result) -> str:
    """Register the champion's best seed by validation. Returns the model's address."""
    record, tensors = sweep.store.load(chosen.trial.kind, chosen.trial.fingerprint)
    accuracy = record.summary["metrics"][OBJECTIVE]
    features, _ = sweep.store.load("features", chosen.trial.made_from["features"])
    with tempfile.TemporaryDirectory() as folder:
        predictor.save(
            Path(folder),
            chosen.trial.spec,
            sweep.dataset.classes,
            features.summary["width"],
            tensors["parameters"][int(np.argmax(accuracy))],
        )
        return tracker.register(f"qdllm-{sweep.name}", chosen, Path(folder))

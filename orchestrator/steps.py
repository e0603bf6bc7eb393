"""The steps of a sweep, in their order. Each computes what its plan lacks, and nothing else."""

import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from jobs import fingerprints
from jobs.store import Record, Store
from orchestrator import report
from orchestrator.console import Phase, Terminal, duration
from orchestrator.grid import Grid
from orchestrator.plan import Plan, Trial
from orchestrator.results import OBJECTIVE, Result, axes, champion, ranked
from qdllm import data
from qdllm.data import Dataset
from qdllm.errors import TeacherError
from qdllm.specs import EvaluationSpec, TaskSpec

if TYPE_CHECKING:
    from orchestrator.tracking import Tracker

# Ray, MLflow and torch take seconds to import, so each step imports what it needs: a dry run needs
# none of them, and a sweep whose results are all held needs no Ray.

TEACHER_MARGIN = 0.1
"""A teacher must beat the majority class by ten points, where the grid sets no floor."""


@dataclass(frozen=True)
class Sweep:
    """One execution of a grid: what is asked, what it needs, and where things go."""

    definition: Grid
    dataset: Dataset
    store: Store
    plan: Plan
    home: Path
    terminal: Terminal

    @property
    def name(self) -> str:
        """What MLflow's experiment and registered model are called."""
        return f"{self.definition.name}-{self.dataset.name}"

    @property
    def task(self) -> TaskSpec:
        """The one task of all trials."""
        return self.plan.trials[0].spec.task


def load_texts(task: TaskSpec, terminal: Terminal) -> Dataset:
    """The task's texts, with a bar if they have to be downloaded."""
    if task.data != "published":
        return data.load(task)
    with terminal.phase("download") as phase:
        return data.load(task, progress=phase.update)


def encode_texts(sweep: Sweep) -> None:
    """Step 2: the frozen encoder's features."""
    from jobs import features
    from orchestrator import cluster

    for job in sweep.plan.features:
        if not job.held:
            with sweep.terminal.phase("features") as phase:
                cluster.run(features.run, sweep.task, job.spec, sweep.store, phase=phase)


def train_teachers(sweep: Sweep) -> None:
    """Step 2: the teacher's soft labels."""
    from jobs import teacher
    from orchestrator import cluster

    for job in sweep.plan.teachers:
        if not job.held:
            config = {
                "task": sweep.task.model_dump(mode="json"),
                "teacher": job.spec.model_dump(mode="json"),
                "store": sweep.store.uri,
            }
            with sweep.terminal.phase("teacher") as phase:
                cluster.train(
                    teacher.train_loop,
                    config,
                    name=job.fingerprint,
                    folder=sweep.home / "checkpoints",
                    phase=phase,
                )
            # Its result is published, so its checkpoints only take room.
            shutil.rmtree(sweep.home / "checkpoints" / job.fingerprint)


def check_teachers(sweep: Sweep) -> None:
    """Step 3: raise TeacherError where a teacher's validation accuracy is below the floor."""
    labels_N = sweep.dataset.validation.labels_N
    majority = max(Counter(labels_N.tolist()).values()) / len(labels_N)
    floor = sweep.definition.teacher_floor
    if floor is None:
        floor = min(majority + TEACHER_MARGIN, 1.0)
    for job in sweep.plan.teachers:
        record = sweep.store.record("soft-labels", job.fingerprint)
        assert record is not None, "a teacher that failed has raised"
        accuracy = record.summary["accuracy"]["validation"]
        if accuracy < floor:
            raise TeacherError(
                f"the teacher reaches {accuracy:.4f} in validation, below the floor of "
                f"{floor:.4f}, so no student is trained; train it longer (--set "
                "teacher.epochs=…), change its learning rate (--set teacher.lr=…), or lower "
                "teacher_floor in the grid file"
            )
        sweep.terminal.print(report.teacher_line(record))


def open_tracker(sweep: Sweep) -> "Tracker":
    """Step 4: the sweep's run in MLflow."""
    with sweep.terminal.phase("mlflow") as phase:
        from orchestrator.tracking import Tracker

        phase.note = f"experiment {sweep.name}"
        return Tracker(
            tracking_uri(sweep.home),
            sweep.home / "artifacts",
            sweep.name,
            sweep.plan.name,
            {
                "grid": sweep.definition.name,
                "task": sweep.dataset.name,
                "texts": sweep.dataset.digest,
            },
        )


def tracking_uri(home: Path) -> str:
    """MLflow's database of a home folder."""
    return f"sqlite:///{home / 'mlflow.db'}"


def fit_references(sweep: Sweep) -> None:
    """Step 4: the classical references that stand beside the students."""
    for job in sweep.plan.probes:
        if not job.held:
            from jobs import probe
            from jobs.student import gather
            from orchestrator import cluster

            arrays = gather(sweep.store, **job.made_from, dataset=sweep.dataset)
            with sweep.terminal.phase("references") as phase:
                cluster.run(
                    probe.run,
                    job.spec,
                    job.fingerprint,
                    job.made_from,
                    arrays,
                    sweep.store,
                    phase=phase,
                )


def train_students(sweep: Sweep, tracker: "Tracker") -> dict[str, str]:
    """Step 4: the students. Returns the reason of each trial that failed, by fingerprint."""
    settings = axes(sweep.plan.trials)
    failures: dict[str, str] = {}
    groups: dict[tuple[str, str], list[Trial]] = {}

    def done(trial: Trial) -> None:
        if tracker.finished(trial.fingerprint):
            return
        record, tensors = sweep.store.load(trial.kind, trial.fingerprint)
        tracker.write_trial(Result(trial, record), settings[trial.fingerprint], tensors)

    for trial in sweep.plan.trials:
        if trial.held:
            done(trial)
        else:
            key = trial.made_from["features"], trial.made_from["soft_labels"]
            groups.setdefault(key, []).append(trial)
    if not groups:
        return failures

    from jobs.student import gather
    from orchestrator import search

    missing = sum(len(trials) for trials in groups.values())
    with sweep.terminal.phase("students", missing) as phase:

        def advance() -> None:
            note = f"{missing} trials" + (f", {len(failures)} failed" if failures else "")
            phase.update(phase.done + 1, note=note)

        def trained(trial: Trial) -> None:
            done(trial)
            advance()

        def failed(trial: Trial, reason: str) -> None:
            failures[trial.fingerprint] = reason
            tracker.write_failure(trial.fingerprint, settings[trial.fingerprint], reason)
            advance()

        for (features, soft_labels), trials in groups.items():
            search.run_list(
                trials,
                gather(sweep.store, features, soft_labels, sweep.dataset),
                sweep.store,
                folder=sweep.home,
                on_done=trained,
                on_error=failed,
            )
    return failures


def conclude(sweep: Sweep, tracker: "Tracker", failures: Mapping[str, str], seconds: float) -> None:
    """Step 5: the table, the champion, and what to do with them."""
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
        tracker.finish({}, time.time(), failed=True)
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
        max(result.record.created for result in results),
        failed=bool(failures),
    )
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    uri = shlex.quote(tracking_uri(sweep.home))
    show(
        f"look: {mlflow} ui --backend-store-uri {uri}",
        f"use:  MLFLOW_TRACKING_URI={uri} {mlflow} models predict -m {address} "
        "--env-manager local -t csv -i texts.csv",
        f"all of it took {duration(seconds)}; logs and results are in {sweep.home}",
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
            sweep.store,
            lambda _, done, total, note: phase.update(done, total, note),
        )
        record = sweep.store.record("evaluations", key)
    assert record is not None, "the evaluation has just been published"
    return record


def _register(sweep: Sweep, tracker: "Tracker", chosen: Result) -> str:
    """Register the champion's best seed by validation. Returns the model's address."""
    from qdllm import predictor

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

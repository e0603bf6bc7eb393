"""The steps of a sweep, in their order. Each computes what its plan lacks, and nothing else."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.store import Store
from orchestrator import report
from orchestrator.console import Terminal
from orchestrator.grid import Grid
from orchestrator.plan import Plan, Trial
from orchestrator.results import Result, axes, common
from qdllm import data
from qdllm.data import Dataset
from qdllm.errors import TeacherError
from qdllm.specs import TaskSpec

if TYPE_CHECKING:
    from orchestrator.tracking import Tracker

# Ray, MLflow and torch take seconds to import, so each step imports what it needs: a dry run needs
# none of them, and a sweep whose results are all held needs no Ray.

TEACHER_MARGIN = 0.1
"""A teacher must beat the majority class by ten points, or by half of what is left above it."""


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
                    workers=sweep.definition.teacher_workers,
                    phase=phase,
                )
                phase.note = "soft labels published"
            # Its result is published, so its checkpoints only take room.
            sweep.store.clear(f"checkpoints/{job.fingerprint}")


def check_teachers(sweep: Sweep) -> None:
    """Step 3: raise TeacherError where a teacher's validation accuracy is below the floor."""
    labels_N = sweep.dataset.validation.labels_N
    majority = max(Counter(labels_N.tolist()).values()) / len(labels_N)
    floor = sweep.definition.teacher_floor
    if floor is None:
        floor = majority + min(TEACHER_MARGIN, (1 - majority) / 2)
    for job in sweep.plan.teachers:
        record = sweep.store.record("soft-labels", job.fingerprint)
        assert record is not None, "a teacher that failed has raised"
        accuracy = record.summary["accuracy"]["validation"]
        if accuracy < floor:
            sweep.terminal.print(report.curve_table(record))
            raise TeacherError(
                f"the teacher reaches {accuracy:.4f} in validation, below the floor of "
                f"{floor:.4f}, so no student is trained; train it longer (--set "
                "teacher.epochs=…), change its learning rate (--set teacher.lr=…), or lower "
                "teacher_floor in the grid file"
            )
        sweep.terminal.print(report.teacher_line(record))


def open_tracker(sweep: Sweep) -> "Tracker":
    """Step 2: the sweep's run in MLflow, before anything is paid for."""
    with sweep.terminal.phase("mlflow") as phase:
        from orchestrator.tracking import Tracker

        phase.note = f"experiment {sweep.name}"
        return Tracker(
            tracking_uri(sweep.home),
            sweep.home / "artifacts",
            sweep.name,
            sweep.plan.name,
            {"grid": sweep.definition.name, "texts": sweep.dataset.digest}
            | common(sweep.plan.trials),
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
        for trial in sweep.plan.trials:
            known = trial.fingerprint in failures or tracker.finished(trial.fingerprint)
            if not known:
                failed(trial, "it ended without a result or a reason; see the log")
    return failures

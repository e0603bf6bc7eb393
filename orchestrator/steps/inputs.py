"""The steps of a sweep, in their order. Each computes what its plan lacks, and nothing else."""

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.fingerprints import SOFT_LABELS
from jobs.store import Record, Store
from orchestrator.console import Terminal
from orchestrator.grid import Grid
from orchestrator.plan import Job, Plan
from orchestrator.plan.ranking import common
from orchestrator.report import tables
from qdllm.errors import ConfigError, QdllmError, TeacherError
from qdllm.specs import TaskSpec, TeacherSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

if TYPE_CHECKING:
    from orchestrator.tracking import Tracker

# Ray, MLflow and torch take seconds to import, so each step imports what it needs: a dry run needs
# none of them, and a sweep whose results are all held needs no Ray. What a worker runs, the worker
# imports.

TEACHER_MARGIN = 0.1
"""A teacher must beat the majority class by ten points, or by half of what is left above it."""


@dataclass(frozen=True)
class Sweep:
    """One execution of a grid: what is asked, what it needs, and where things go."""

    definition: Grid
    dataset: Dataset
    store: Store
    plan: Plan
    missing: int
    """How many results are left to compute, a search's trials among them."""
    home: Path
    tracking: str
    """MLflow's address."""
    ray: str
    """A cluster's address, or `local`."""
    terminal: Terminal
    connect: Callable[[], object]
    """Starts Ray unless it runs: only a sweep that lacks something needs it."""

    @property
    def name(self) -> str:
        """What MLflow's experiment and registered model are called."""
        return f"{self.definition.name}-{self.dataset.name}"

    @property
    def task(self) -> TaskSpec:
        """The one task of all trials."""
        return (self.plan.trials or self.plan.bases)[0].spec.task


def load_texts(task: TaskSpec, terminal: Terminal) -> Dataset:
    """The task's texts, with a bar if they have to be downloaded."""
    if task.data != "published":
        return data.load(task)
    with terminal.phase("download") as phase:
        return data.load(task, progress=phase.update)


def check_nodes(sweep: Sweep) -> None:
    """Step 1: whether every kind of node can do what is missing, before anything is paid for.

    Raises ConfigError with a line for each thing that stands in the way.
    """
    if not sweep.missing:
        return
    teachers = sum(not job.held for job in sweep.plan.teachers)
    work = ["teacher"] * bool(teachers) + ["student"] * (sweep.missing > teachers)
    sweep.connect()
    from orchestrator.cluster import nodes

    if sweep.ray == "local":
        nodes.before(sweep.store, sweep.ray, work, lambda note: None)
        return
    with sweep.terminal.phase("nodes") as phase:
        nodes.before(sweep.store, sweep.ray, work, lambda note: phase.update(0, note=note))


def encode_texts(sweep: Sweep) -> None:
    """Step 2: the frozen encoder's features."""
    for job in sweep.plan.features:
        if not job.held:
            from orchestrator import cluster

            sweep.connect()
            with sweep.terminal.phase("features") as phase:
                asked = sweep.task, job.spec, sweep.store, sweep.dataset
                cluster.run("jobs.features", *asked, phase=phase)


def train_teachers(sweep: Sweep) -> dict[str, str]:
    """Steps 2 and 3: the soft labels, and whether each teacher has earned its students.

    Returns why teachers give none, by fingerprint. Where there is none left, raises the first one's
    ConfigError or TeacherError.
    """
    floor = _floor(sweep)
    lacking: dict[str, QdllmError] = {}
    for job in sweep.plan.teachers:
        try:
            if not job.held:
                _train_teacher(sweep, job)
            record = sweep.store.record(SOFT_LABELS, job.fingerprint)
            assert record is not None, "a teacher that failed has raised"
            if record.summary["accuracy"]["validation"] < floor:
                sweep.terminal.print(tables.curve_table(record))
                raise _below(record, floor)
            sweep.terminal.print(tables.teacher_line(record))
        except (ConfigError, TeacherError) as error:
            lacking[job.fingerprint] = error
            if len(sweep.plan.teachers) > 1:
                sweep.terminal.print(f"teacher {job.spec.model} gives no soft labels: {error}")
    if len(lacking) == len(sweep.plan.teachers):
        raise next(iter(lacking.values()))
    return {name: str(error) for name, error in lacking.items()}


def _train_teacher(sweep: Sweep, job: Job[TeacherSpec]) -> None:
    from orchestrator import cluster

    def train_loop(config: dict[str, Any]) -> QdllmError | None:
        from jobs import teacher

        return teacher.train_loop(config)

    sweep.connect()
    config = {
        "task": sweep.task.model_dump(mode="json"),
        "teacher": job.spec.model_dump(mode="json"),
        "store": sweep.store.uri,
    }
    with sweep.terminal.phase("teacher") as phase:
        cluster.train(
            train_loop,
            config,
            sweep.dataset,
            name=job.fingerprint,
            workers=sweep.definition.teacher_workers,
            phase=phase,
        )
        phase.note = f"soft labels of {job.spec.model} published"
    # Its result is published, so its checkpoints only take room.
    sweep.store.clear(f"checkpoints/{job.fingerprint}")


def _floor(sweep: Sweep) -> float:
    """The validation accuracy that a teacher must reach."""
    if sweep.definition.teacher_floor is not None:
        return sweep.definition.teacher_floor
    labels_N = sweep.dataset.validation.labels_N
    majority = max(Counter(labels_N.tolist()).values()) / len(labels_N)
    return majority + min(TEACHER_MARGIN, (1 - majority) / 2)


def _below(record: Record, floor: float) -> TeacherError:
    return TeacherError(
        f"the teacher reaches {record.summary['accuracy']['validation']:.4f} in validation, below "
        f"the floor of {floor:.4f}, so no student is trained; train it longer (--set "
        "teacher.epochs=…), change its learning rate (--set teacher.lr=…), or lower teacher_floor "
        "in the grid file"
    )


def open_tracker(sweep: Sweep) -> "Tracker":
    """Step 2: the sweep's run in MLflow, before anything is paid for."""
    with sweep.terminal.phase("mlflow") as phase:
        from orchestrator.tracking import Tracker

        phase.note = f"experiment {sweep.name}"
        tracker = Tracker(
            sweep.tracking,
            sweep.home / "artifacts",
            sweep.name,
            sweep.plan.name,
            {"grid": sweep.definition.name, "texts": sweep.dataset.digest}
            | common(sweep.plan.trials or sweep.plan.bases),
        )
        # Ray starts while MLflow opens its database.
        if sweep.missing:
            sweep.connect()
        tracker.ready()
        return tracker


def fit_references(sweep: Sweep, lacking: Container[str]) -> None:
    """Step 4: the classical references that stand beside the students."""
    for job in sweep.plan.probes:
        if not job.held and job.made_from["soft_labels"] not in lacking:
            from jobs.inputs import gather
            from orchestrator import cluster

            sweep.connect()
            arrays = gather(sweep.store, **job.made_from, dataset=sweep.dataset)
            with sweep.terminal.phase("references") as phase:
                cluster.run(
                    "jobs.probe",
                    job.spec,
                    job.fingerprint,
                    job.made_from,
                    arrays,
                    sweep.store,
                    phase=phase,
                )

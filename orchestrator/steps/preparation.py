"""Before the walk: what a sweep needs is named and shown, then what it stands on is opened."""

from collections.abc import Sequence
from functools import partial

from jobs import kinds
from orchestrator.grid import Grid
from orchestrator.plan import Searched, plan
from orchestrator.plan.forecast import needs
from orchestrator.plan.ranking import common
from orchestrator.plan.reading import cuts
from orchestrator.report import sweeps, tables
from orchestrator.steps.session import ARTIFACTS, REPORTS, Session, Sweep
from orchestrator.tracking import Tracker
from qdllm import families, outside
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.specs import TaskSpec, TrialSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset
from qdllm.texts.locations import is_download

LONGEST_NAME = 200
"""Bytes of a sweep's name: file systems take 255, and its fingerprint and a suffix are added."""


def prepare(
    session: Session, definition: Grid, task: TaskSpec, specs: Sequence[TrialSpec]
) -> Sweep:
    """Read the task's texts, name every result, and show what is held and what would run."""
    _try_evaluations(definition, specs)
    dataset = _load_texts(session, task)
    _check_name(f"{definition.name}-{dataset.name}")
    planned = plan(
        specs,
        dataset,
        session.store,
        definition.search,
        definition.scheduler,
        definition.champion.families,
        definition.asked_evaluations,
    )
    place, cpus = session.executor.place()
    lines = needs(definition, planned, session.history, len(dataset.texts), cpus)
    lost = cuts(planned, dataset.texts)
    session.terminal.print(
        *dataset.told(),
        *tables.cut_lines(lost),
        tables.plan_table(planned.name, lines, place),
        *sweeps.changes(session.history, definition, planned, dataset),
    )
    if session.executor.alone and definition.scheduler != "none":
        name = definition.scheduler
        session.terminal.print(f"scheduler {name} stops nothing without Ray: all run to their end")
    missing = sum(line.missing for line in lines)
    return Sweep(session, definition, dataset, planned, missing, lost)


def _try_evaluations(definition: Grid, specs: Sequence[TrialSpec]) -> None:
    """Raises ConfigError for what could not be made of a trial once it is the champion."""
    for name in filter(None, (*definition.evaluations, definition.champion.under)):
        kind, spec = kinds.evaluation(name)
        for each in filter(kind.suits, specs):
            kind.tried(spec, each)


def _check_name(name: str) -> None:
    """Raises ConfigError for a sweep's name that, with what is added, no file can have."""
    if len(name.encode()) > LONGEST_NAME:
        raise ConfigError(
            f"{shown(name)}, the grid's name and the task's, names files and has more than "
            f"{LONGEST_NAME} bytes: choose shorter ones with --set name=… and --task"
        )


def _load_texts(session: Session, task: TaskSpec) -> Dataset:
    """The task's texts, with a bar if they have to be downloaded."""
    if not is_download(task.data):
        return data.load(task)
    with session.terminal.phase("download") as phase:
        return data.load(task, progress=phase.update)


def check_places(sweep: Sweep) -> None:
    """Whether all can be written that will be, before anything is paid for.

    Raises ConfigError where it cannot. The log and the store were opened before.
    """
    home = sweep.session.locations.home
    outside.folder(home / REPORTS)
    if not sweep.session.locations.tracking.startswith("http"):
        outside.folder(home / ARTIFACTS)  # a server has its own


def open_tracker(sweep: Sweep) -> Tracker:
    """The sweep's run in MLflow, before anything is paid for."""
    locations = sweep.session.locations
    with sweep.terminal.phase("mlflow") as phase:
        phase.note = f"experiment {sweep.name}"
        tracker = Tracker(
            locations.tracking,
            locations.home / ARTIFACTS,
            sweep.name,
            sweep.plan.name,
            {"grid": sweep.definition.name, "texts": sweep.dataset.digest}
            | common(sweep.plan.sweep.asked),
            alone=sweep.session.executor.alone,
        )
        # Ray starts while MLflow opens its database.
        if sweep.missing:
            sweep.session.connect()
        note = tracker.ready()
    sweep.terminal.print(*filter(None, [note]))
    return tracker


def check_workers(sweep: Sweep) -> None:
    """Whether whoever would do what is missing can do it, before anything is paid for.

    Raises ConfigError with a line for each thing that stands in the way.
    """
    if not sweep.missing:
        return
    taught = sum(not job.held for job in sweep.plan.taught)
    asked = sweep.plan.sweep
    # A search may lack trials whose base is there.
    lacking = [job for job in asked.asked if isinstance(asked, Searched) or not job.held]
    long = [job for job in lacking if families.of(job.spec).long]
    work = ["teacher"] * bool(taught) + ["student"] * (sweep.missing > taught)
    work += ["body"] * bool(long)
    sweep.session.connect()
    cores = sweep.definition.resources.cpu if len(lacking) > len(long) else 0.0
    check = partial(sweep.session.executor.check, sweep.store, work, cores)
    if sweep.session.locations.ray in ("local", "none"):
        check(lambda note: None)
        return
    with sweep.terminal.phase("nodes") as phase:
        check(lambda note: phase.update(0, note=note))

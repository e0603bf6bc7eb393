"""What trials are made from: features, soft labels, and whatever else their families read.

Each is made if the store lacks it, after all that it is itself made from.
"""

from collections import Counter
from typing import Any

from jobs import kinds
from jobs.kinds import Job
from jobs.kinds.kind import none
from jobs.store import Record
from orchestrator.console import Phase
from orchestrator.plan import Trial
from orchestrator.report import tables
from orchestrator.steps import lock
from orchestrator.steps.session import Sweep
from qdllm.errors import ConfigError, JobError, TeacherError
from qdllm.intervals import share

TEACHER_MARGIN = 0.1
"""A teacher must beat the majority class by ten points, or by half of what is left above it."""

Lacking = dict[str, ConfigError | JobError | TeacherError]
"""Why results cannot be had, by fingerprint."""


def make_sources(sweep: Sweep) -> Lacking:
    """Make what is missing, and see whether each teacher has earned its students.

    Returns why some cannot be had. Raises the error after which no trial is left.
    """
    floor, lacking = _floor(sweep), Lacking()
    for job in sweep.plan.sources:
        first = next((name for name in job.made_from.values() if name in lacking), None)
        if not first and lacking and job.fingerprint not in _read(sweep, lacking):
            continue
        try:
            if first:
                raise lacking[first]
            record = _source(sweep, job)
            if job in sweep.plan.taught:
                _earn(sweep, record, floor)
        except (ConfigError, JobError, TeacherError) as error:
            lacking[job.fingerprint] = error
            if all(reason(trial, lacking) for trial in sweep.plan.sweep.asked):
                raise
            if not first:
                of = f" of {job.spec.model}" if job in sweep.plan.taught else ""
                label = kinds.kind(job.kind).label
                sweep.terminal.print(f"{label}{of} cannot be had: {error}")
        else:
            sweep.terminal.print(*filter(None, [kinds.kind(job.kind).line(record)]))
    return lacking


def make(sweep: Sweep, job: Job[Any], phase: Phase) -> Record:
    """A result's record, once it is made if the store lacks it. Raises what its maker raises.

    Another sweep that makes it at this moment is waited for: none pays for it twice.
    """
    record = sweep.store.record(job.kind, job.fingerprint)
    if record is None:
        sweep.session.connect()
        with lock.held(
            sweep.store,
            job.fingerprint,
            lambda other: phase.update(0, note=f"another sweep makes it: {other}"),
        ):
            if not sweep.store.has(job.kind, job.fingerprint):
                _run(sweep, job, phase)
        record = sweep.store.record(job.kind, job.fingerprint)
    assert record is not None, "a maker that failed has raised"
    return record


def _run(sweep: Sweep, job: Job[Any], phase: Phase) -> None:
    executor, made = sweep.session.executor, (job, sweep.dataset, sweep.store, phase)
    if kinds.kind(job.kind).holds == "workers":
        executor.train(*made, sweep.definition.teacher_workers)
    else:
        executor.run(*made)


def _source(sweep: Sweep, job: Job[Any]) -> Record:
    record = sweep.store.record(job.kind, job.fingerprint)
    if record is None:
        kind = kinds.kind(job.kind)
        with sweep.terminal.phase(kind.phase(job.spec)) as phase:
            record = make(sweep, job, phase)
            phase.note = kind.note(job.spec)
    return record


def _read(sweep: Sweep, lacking: Lacking) -> set[str]:
    """What is still wanted, by fingerprint: by trials that are left, directly or through other
    sources, or beside them."""
    wanted = {
        name
        for trial in sweep.plan.sweep.asked
        if not reason(trial, lacking)
        for name in trial.made_from.values()
    }
    for job in reversed(sweep.plan.sources):
        if job.fingerprint in wanted or kinds.kind(job.kind).beside is not none:
            wanted |= {job.fingerprint, *job.made_from.values()}
    return wanted


def reason(trial: Trial, lacking: Lacking) -> str:
    """Why a trial cannot be run: what it is made from is lacking. Empty if nothing is."""
    return next((str(lacking[name]) for name in trial.made_from.values() if name in lacking), "")


def _earn(sweep: Sweep, record: Record, floor: float) -> None:
    """Raise TeacherError for a teacher that may well be below the floor."""
    accuracy = kinds.kind(record.kind).metrics(record)["val.accuracy"]
    rows, epochs = len(sweep.dataset.validation.labels_N), len(record.summary.get("curve", ())) or 1
    if problem := shortfall(accuracy, rows, epochs, floor):
        sweep.terminal.print(tables.curve_table(record))
        raise TeacherError(problem)


def shortfall(accuracy: float, rows: int, epochs: int, floor: float) -> str:
    """Why a teacher has not earned its students; empty if it has.

    `accuracy`: of the best of its `epochs`, on so many validation `rows`. What counts is how low
    the truth may lie: the lower end of Wilson's 95 % interval, which is wider where the best of
    several epochs was chosen on the same rows (Bonferroni).
    """
    lowest, highest = share(round(accuracy * rows), rows, 1 - 0.05 / epochs)
    if lowest >= floor:
        return ""
    best = f", in the best of {epochs} epochs" if epochs > 1 else ""
    remedy = (
        "train it longer (--set teacher.epochs=…), change its learning rate (--set teacher.lr=…)"
        if accuracy < floor
        else "give more texts, or validation a larger share of them (--set task.split=[…])"
    )
    return (
        f"the teacher reaches {accuracy:.4f} in validation, on {rows:,} rows{best}: it may truly "
        f"be anywhere from {lowest:.4f} to {highest:.4f}, which begins below the floor of "
        f"{floor:.4f}, so no student is trained; {remedy}, or lower teacher_floor in the grid file"
    )


def _floor(sweep: Sweep) -> float:
    """The validation accuracy that a teacher must reach."""
    if sweep.definition.teacher_floor is not None:
        return sweep.definition.teacher_floor
    labels_N = sweep.dataset.validation.labels_N
    majority = max(Counter(labels_N.tolist()).values()) / len(labels_N)
    return majority + min(TEACHER_MARGIN, (1 - majority) / 2)

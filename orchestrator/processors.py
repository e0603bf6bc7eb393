"""Runs on real processors, as a person sees them: what one costs, that it goes on, what it gave."""

import time
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs import kinds
from jobs.store import Record, Store, parsed
from orchestrator import options
from orchestrator.console import Terminal, duration
from orchestrator.steps import lock
from qdllm import families
from qdllm.errors import ConfigError, QdllmError, TrackingError
from qdllm.messages import shown
from qdllm.texts import data
from qdllm.texts.data import Dataset

if TYPE_CHECKING:
    from jobs.devices.run import Shown


def ask(where: options.Locations, of: str, spec: Any, dry_run: bool, confirmed: str | None) -> int:
    """Plan a run of a student, and have it done if that is confirmed, or costs nothing.

    Returns 0, or 2 for a plan that waits to be confirmed.
    """
    from jobs.devices import run, runs
    from jobs.devices.runs import RunFolder

    dataset = texts(where.store, of)
    asked = run.processor(spec.target)
    with terminal(where) as screen:
        if confirmed:
            folder = RunFolder(where.store, confirmed)
            run.same(folder.plan(), of, spec)
        else:
            plan = run.prepare(where.store, of, spec, dataset, asked)
            screen.print(_table(plan))
            folder = plan.folder
            if dry_run or not asked.free:
                screen.print(f"nothing was sent; to send it: --confirm {folder.name}")
                return 0 if dry_run else 2
        with lock.held(
            where.store, f"device-{runs.label(folder.plan())}", what=f"run {folder.name}"
        ):
            return _go(where, screen, folder, dataset, asked, True)


def fetch(where: options.Locations) -> int:
    """Take what has come of every run that was begun. Returns 0, or 1 where some are not whole."""
    from jobs.devices import outcome, run, runs

    begun = runs.every(where.store)
    if not begun:
        print(f"no run was begun in {where.store.uri}")
        return 0
    left = 0
    with terminal(where) as screen:
        for folder in begun:
            try:
                if folder.event("opens-0") is None:
                    continue  # a plan alone
                plan = folder.plan()
                job = outcome.job_of(plan)
                if made := where.store.record(job.kind, job.fingerprint):
                    screen.print(f"run {folder.name} is whole: {job.kind}/{job.fingerprint}")
                    try:
                        tell(where, screen, made)  # MLflow may have been away
                    except TrackingError as error:
                        screen.print(str(error))
                    continue
                asked = run.processor(plan.measurement.target)
                dataset = texts(where.store, plan.student)
                left += _go(where, screen, folder, dataset, asked, False)
            except QdllmError as error:
                screen.print(f"run {folder.name}: {error}")
                left += 1
    return 1 if left else 0


def _go(
    where: options.Locations,
    screen: Terminal,
    folder: Any,
    dataset: Dataset,
    asked: Any,
    send: bool,
) -> int:
    from jobs.devices import run

    name = folder.plan().measurement.target
    with screen.phase(name) as phase:
        made = run.go(
            where.store,
            folder,
            dataset,
            asked,
            lambda done, total, note: phase.update(done, total, note),
            send,
        )
        if not isinstance(made, Record):
            unsent = f"; {made.unsent} circuits were never sent" if made.unsent else ""
            phase.note = f"run {folder.name}: {made.waiting} circuits are not done{unsent}"
            return 1
        phase.note = opinion(where.store, made)
    tell(where, screen, made)
    return 0


def _table(plan: "Shown") -> Table:
    """What would be sent, and what it costs."""
    spec = plan.plan.measurement
    table = Table(title=f"plan {plan.folder.name}", title_justify="left", show_header=False)
    for name, value in (
        ("processor", f"{spec.target}, {plan.limits.status}, calibrated {plan.chip.time}"),
        ("student", f"{plan.plan.student}, seed number {plan.plan.seed}; run {spec.label!r}"),
        ("texts", f"{plan.texts:,}"),
        ("tasks", f"{plan.plan.tasks:,} circuits in {len(plan.plan.chunks):,} parts"),
        ("shots", f"{spec.shots:,} each, {plan.plan.shots:,} in all"),
        ("time", f"about {duration(plan.plan.seconds)} on the processor, queues apart"),
        ("quota", plan.limits.quota or "not told"),
    ):
        table.add_row(name, value)
    return table


def terminal(where: options.Locations) -> Terminal:
    """A person's, with a log for everybody else's chatter."""
    return Terminal(where.home / "logs" / time.strftime("%Y-%m-%dT%H-%M-%S-device.log"))


def texts(store: Store, fingerprint: str) -> Dataset:
    """Those that a student was trained on."""
    return data.load(parsed(student(store, fingerprint), families.parse).task)


def student(store: Store, fingerprint: str) -> Record:
    """A student's record. Raises ConfigError where there is none."""
    record = store.record(families.family(families.DEFAULT).kind, fingerprint)
    if record is None:
        raise ConfigError(
            f"there is no student {shown(fingerprint)} in {store.uri}; give the store that its "
            "sweep had, with --store"
        )
    return record


def opinion(store: Store, made: Record) -> str:
    """What a measurement says, beside the student's own figures."""
    return kinds.kind(made.kind).opinion(made, student(store, made.made_from["student"]))


def tell(where: options.Locations, screen: Terminal, made: Record) -> None:
    """Say where a measurement is, and write it beside the student's figures in MLflow."""
    from orchestrator.tracking.models import annotate

    screen.print(f"it is {made.kind}/{made.fingerprint} in {where.store.uri}")
    figures = kinds.kind(made.kind).figures(made)
    runs = annotate(where.tracking, made.made_from["student"], figures)
    what = f"stands on the student's {runs} run{'s' * (runs != 1)}" if runs else "has no run of it"
    screen.print(f"MLflow {'now ' if runs else ''}{what}")

"""What a plan comes to, for each kind of result: how many are held, and where and how long the
others will run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs.fingerprints import FEATURES, PROBES, SOFT_LABELS, STUDENTS
from jobs.store import Store
from orchestrator.grid import Grid, Resources
from orchestrator.plan.estimate import Time, of_search, times
from orchestrator.plan.graph import Job, Plan
from orchestrator.plan.history import tried

NODE = "a node's CPUs"


class Need(NamedTuple):
    """One kind of result."""

    what: str
    held: int
    missing: int
    where: str
    """What each of them holds while it is made."""
    time: Time
    places: int | None
    """How many are made at once; None where only the cluster knows."""


def needs(definition: Grid, plan: Plan, store: Store, texts: int, cpus: int | None) -> list[Need]:
    """A line for each kind of result, in the order in which they are made.

    `texts`: how many the plan's task has. `cpus`: those of the machine; None on a cluster, which
    is not asked before the sweep joins it.
    """
    found = times(plan, store, texts)

    def need(
        what: str, kind: str, jobs: Sequence[Job[Any]], where: str, places: int | None
    ) -> Need:
        held = sum(job.held for job in jobs)
        return Need(what, held, len(jobs) - held, where, found.get(kind, Time()), places)

    inputs = [
        need("features", FEATURES, plan.features, NODE, 1),
        need("soft labels", SOFT_LABELS, plan.teachers, _of_teachers(definition), 1),
    ]
    each, places = _of_trials(definition.resources), _places(definition.resources, cpus)
    if definition.search:
        what, held, missing, time = "trials of the search", 0, 0, Time()
        for base in plan.bases:
            past = tried(store, definition.search, base, definition.scheduler)
            left = max(0, definition.search.trials - len(past))
            held, missing, time = held + len(past), missing + left, time + of_search(past, left)
        return [*inputs, Need(what, held, missing, each, time, places)]
    return [
        *inputs,
        need("classical references", PROBES, plan.probes, NODE, 1),
        need("trials", STUDENTS, plan.trials, each, places),
    ]


def _of_teachers(definition: Grid) -> str:
    """A teacher takes one GPU for each of its workers, where the cluster has some."""
    workers = definition.teacher_workers
    gpus = "all GPUs" if workers is None else f"{workers} GPU{'s' * (workers > 1)}"
    return f"{gpus}, or CPUs"


def _of_trials(resources: Resources) -> str:
    cpus = f"{resources.cpu:g} CPU{'s' * (resources.cpu > 1)}"
    gpus = f" and {resources.gpu:g} GPU{'s' * (resources.gpu > 1)}" if resources.gpu else ""
    return f"{cpus}{gpus} each"


def _places(resources: Resources, cpus: int | None) -> int | None:
    """How many trials run at once; how many GPUs there are, Ray alone can tell."""
    return None if cpus is None or resources.gpu else max(1, int(cpus / resources.cpu))

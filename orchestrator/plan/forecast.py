"""What a plan comes to, for each kind of result: how many are held, and where and how long the
others will run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs import kinds
from jobs.kinds import Job
from orchestrator.grid import Grid, Resources
from orchestrator.plan.estimate import Time, of_search, times
from orchestrator.plan.graph import Listed, Plan
from orchestrator.plan.history import History
from qdllm import families

NODE = "a node's CPUs"
LONG = f"a GPU, or {NODE}"


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


def needs(
    definition: Grid, plan: Plan, history: History, texts: int, cpus: int | None
) -> list[Need]:
    """A line for each kind of result, in the order in which they are made.

    `texts`: how many the plan's task has. `cpus`: those of the machine; None on a cluster, which
    is not asked before the sweep joins it.
    """
    expected = times(plan, history, texts)
    each, places = _of_trials(definition.resources), _places(definition.resources, cpus)

    def need(what: str, jobs: Sequence[Job[Any]], where: str, places: int | None) -> Need:
        held = sum(job.held for job in jobs)
        time = sum((expected.get(job.fingerprint, Time()) for job in jobs), Time())
        return Need(what, held, len(jobs) - held, where, time, places)

    lines = []
    for name in dict.fromkeys(job.kind for job in plan.sources):
        kind = kinds.kind(name)
        where = NODE if kind.holds == "node" else _of_workers(definition)
        made = [job for job in plan.sources if job.kind == name]
        lines.append(need(kind.label, made, where, 1))
    sweep = plan.sweep
    if isinstance(sweep, Listed):
        long = [job for job in sweep.trials if families.of(job.spec).long]
        return [
            *lines,
            need("classical references", sweep.references, each, places),
            need("trials", [job for job in sweep.trials if job not in long], each, places),
            *[need("long trials", long, LONG, 1)] * bool(long),
        ]
    for lasts, what, where, at_once in (
        (False, "trials of the search", each, places),
        (True, "long trials of the search", LONG, 1),
    ):
        bases = [base for base in sweep.bases if families.of(base.spec).long == lasts]
        held, missing, time = 0, 0, Time()
        for base in bases:
            past = history.tried(sweep.search, base, definition.scheduler)
            left = max(0, sweep.search.trials - len(past))
            held, missing, time = held + len(past), missing + left, time + of_search(past, left)
        lines += [Need(what, held, missing, where, time, at_once)] * bool(bases)
    return lines


def _of_workers(definition: Grid) -> str:
    """What is trained on workers takes one GPU for each of them, where the cluster has some."""
    workers = definition.teacher_workers
    gpus = "all GPUs" if workers is None else f"{workers} GPU{'s' * (workers > 1)}"
    return f"{gpus}, or CPUs"


def _of_trials(resources: Resources) -> str:
    return f"{resources.cpu:g} CPU{'s' * (resources.cpu > 1)} each"


def _places(resources: Resources, cpus: int | None) -> int | None:
    """How many trials run at once; of a cluster, Ray alone can tell."""
    return None if cpus is None else max(1, int(cpus / resources.cpu))

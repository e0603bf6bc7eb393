"""What the store knows of a search: every result in its space, whichever sweep made it."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jobs.fingerprints import PROBES, STOPPED, STUDENTS
from jobs.store import Store
from orchestrator.grid.space import Search, at, inside, point
from orchestrator.plan.graph import Job, Trial, probe_jobs
from orchestrator.plan.ranking import Result, ranked
from qdllm.specs import ProbeSpec, StudentSpec, fingerprint

READERS = 32
"""Records read at once: an object store answers each in tens of milliseconds."""
COMPARED = 10
"""After a search, its classical head is fitted in the ways of so many of the best trials."""

T = TypeVar("T")


def in_space(store: Store, search: Search, base: Trial, kind: str = STUDENTS) -> list[Result]:
    """All results that lie in a search's space around its base, ordered by fingerprint.

    With STOPPED as `kind`, the trials there that a scheduler has stopped and nobody has finished.
    """
    names = store.fingerprints(kind)
    if kind == STOPPED:
        names -= store.fingerprints(STUDENTS)

    def result(name: str) -> Result | None:
        record = store.record(kind, name)
        if record is None or record.made_from != base.made_from:
            return None
        spec = StudentSpec.parse(record.spec)
        near = at(base.spec, point(search, spec))
        if not inside(search, spec) or fingerprint(near, **base.made_from) != name:
            return None
        return Result(Trial(kind, name, spec, record.made_from, True), record)

    return read_all(result, sorted(names))


def tried(store: Store, search: Search, base: Trial, scheduler: str) -> list[Result]:
    """What a search need not try again: with a scheduler, also what one has stopped."""
    stopped = in_space(store, search, base, STOPPED) if scheduler != "none" else []
    return in_space(store, search, base) + stopped


def references(store: Store, tried: Sequence[Result]) -> tuple[Job[ProbeSpec], ...]:
    """The classical references beside a search's trials, fitted in the ways of its best ones."""
    groups: dict[tuple[str, str], list[StudentSpec]] = {}
    for one in ranked(tried):
        made_from = one.trial.made_from
        members = groups.setdefault((made_from["features"], made_from["soft_labels"]), [])
        if len(members) < COMPARED:
            members.append(one.trial.spec)
    return probe_jobs(groups, store.fingerprints(PROBES))


def read_all(read: Callable[[str], T | None], names: Iterable[str]) -> list[T]:
    """What `read` finds under each name, in their order, many at a time."""
    with ThreadPoolExecutor(READERS) as readers:
        return [one for one in readers.map(read, names) if one is not None]

"""How long what a plan lacks will take, judged by what the store holds of the same kind.

Nothing is known beforehand of models, texts and machines; but a record says how long its result
took. Of the records that are alike, the nearest ones are scaled by what drives the time: each kind
tells what makes two results alike, and what their time grows with beside the number of texts.

A record of another machine counts like any other, and a trial as if no scheduler stopped it.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from math import log
from statistics import fmean, median
from typing import Any, NamedTuple

from jobs import kinds
from jobs.kinds import Job
from jobs.store import Record, parsed
from jobs.store.inventory import peek
from jobs.store.record import DamagedError
from orchestrator.plan.graph import Plan
from orchestrator.plan.history import History, read_all
from orchestrator.plan.ranking import Result
from qdllm.spec import Spec, fingerprint

SAMPLE = 24
"""Records of a kind that are read at most: an object store answers each in tens of milliseconds."""
NEAREST = 5
"""Of those, the median of so many is taken."""


@dataclass(frozen=True)
class Time:
    """Seconds of work, as far as they are known."""

    total: float = 0.0
    """One result after another."""
    longest: float = 0.0
    """Of a single result."""
    unknown: int = 0
    """Results that the store holds nothing alike of."""

    def at_once(self, places: int) -> float:
        """Seconds until all is done, so many results at once."""
        return max(self.total / places, self.longest)

    def __add__(self, other: "Time") -> "Time":
        """One and then the other."""
        return Time(
            self.total + other.total,
            max(self.longest, other.longest),
            self.unknown + other.unknown,
        )


class Load(NamedTuple):
    """What decides how long a result takes."""

    alike: tuple[Any, ...]
    """Results that differ in this cannot be compared."""
    work: float
    """The time grows with it in proportion, but for the number of texts."""
    source: str
    """What the result is made from whose number of texts is known; empty where it is not."""


class Known(NamedTuple):
    """Another result's load and seconds."""

    load: Load
    seconds: float


def load(kind: str, spec: Spec, made_from: Mapping[str, str], texts: Mapping[str, int]) -> Load:
    """What decides how long it takes to make that from there; see `of_jobs` for `texts`."""
    tell = kinds.kind(kind).load
    source = next((each for each in made_from.values() if each in texts), "")
    return Load(*(tell(spec) if tell else ((), 0.0)), source if tell else "")


def of_jobs(
    jobs: Iterable[Job[Any]],
    records: Iterable[Record],
    texts: Mapping[str, int],
    held: Set[str] = frozenset(),
) -> dict[str, Time]:
    """How long each of the jobs takes that are not held, by fingerprint.

    `records`: results of the jobs' kind. `texts`: how many texts there are, by the fingerprint of
    a task and of what was made of it; a record whose texts are not among them is left out. `held`:
    the fingerprints of all results of that kind, some of which others go on from.
    """
    known = []
    for record in records:
        spec = kinds.kind(record.kind).spec
        assert spec, "a kind that is made has one"
        # What cannot be used is for the sweep to tell, when it needs it.
        with suppress(DamagedError):
            found = load(record.kind, parsed(record, spec.parse), record.made_from, texts)
            if found.source:
                known.append(Known(found, record.seconds))
    # Thousands of trials differ in a few loads only.
    seconds: dict[Load, float | None] = {}
    times = {}
    for job in jobs:
        if job.held:
            continue
        wanted = load(job.kind, job.spec, job.made_from, texts)
        for smaller in kinds.kind(job.kind).goes_on_from(job.spec):
            if fingerprint(smaller, **job.made_from) in held:
                done = load(job.kind, smaller, job.made_from, texts).work
                wanted = wanted._replace(work=wanted.work - done)
                break
        if wanted not in seconds:
            seconds[wanted] = _seconds(wanted, known, texts) if wanted.source else None
        took = seconds[wanted]
        times[job.fingerprint] = Time(unknown=1) if took is None else Time(took, took)
    return times


def of_search(tried: Sequence[Result], missing: int) -> Time:
    """How long a search's missing trials take: as long as those in its space, in the mean."""
    if not missing or not tried:
        return Time(unknown=missing)
    seconds = fmean(result.record.seconds for result in tried)
    return Time(missing * seconds, seconds)


def times(plan: Plan, history: History, texts: int) -> dict[str, Time]:
    """The time of each result that the plan lacks, by fingerprint. `texts`: how many its task has.

    Reads a few records of each kind, those of the plan first.
    """
    jobs: dict[str, list[Job[Any]]] = {}
    for job in plan.jobs:
        jobs.setdefault(job.kind, []).append(job)
    lacking = {kind: made for kind, made in jobs.items() if not all(job.held for job in made)}
    if not lacking:
        return {}
    counting = {name for name, kind in kinds.kinds().items() if kind.counts_texts}
    known = {kind: _sample(history, kind, jobs.get(kind, [])) for kind in {*counting, *lacking}}
    # Records of other features tell of how many texts they are.
    counts = dict.fromkeys(_sources(plan), texts)
    for kind in counting:
        for record in known[kind]:
            with suppress(DamagedError):
                for name in (record.fingerprint, record.made_from["task"]):
                    counts.setdefault(name, record.summary["texts"])
    found: dict[str, Time] = {}
    for kind, made in lacking.items():
        grows = any(kinds.kind(kind).goes_on_from(job.spec) for job in made)
        held = history.store.fingerprints(kind) if grows else frozenset()
        found |= of_jobs(made, known[kind], counts, held)
    return found


def _sources(plan: Plan) -> set[str]:
    """The task's fingerprint and those of what is made of it."""
    made = {job.fingerprint for job in plan.sources}
    return made | {job.made_from["task"] for job in plan.sources if "task" in job.made_from}


def _seconds(wanted: Load, known: Sequence[Known], texts: Mapping[str, int]) -> float | None:
    """The median of the nearest, from the same source first; None where nothing is alike."""

    def ratio(one: Known) -> float:
        return (wanted.work * texts[wanted.source]) / (one.load.work * texts[one.load.source])

    alike = [one for one in known if one.load.alike == wanted.alike]
    alike.sort(key=lambda one: (one.load.source != wanted.source, abs(log(ratio(one)))))
    return median(one.seconds * ratio(one) for one in alike[:NEAREST]) if alike else None


def _sample(history: History, kind: str, jobs: Sequence[Job[Any]]) -> list[Record]:
    """A few of the store's records of a kind: the plan's own, then others.

    In the order of their fingerprints, which is as good as drawn by lot, yet always the same.
    What is damaged is for the sweep to tell, when it needs it.
    """
    names = sorted(job.fingerprint for job in jobs if job.held)[:SAMPLE]
    if len(names) < SAMPLE:
        others = history.store.fingerprints(kind).difference(names)
        names += sorted(others)[: SAMPLE - len(names)]
    found = read_all(lambda name: peek(history.store, (kind, name)), names)
    return [record for record in found if isinstance(record, Record)]

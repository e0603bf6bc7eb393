"""How long what a plan lacks will take, judged by what the store holds of the same kind.

Nothing is known beforehand of models, texts and machines; but a record says how long its result
took. Of the records that are alike, the nearest ones are scaled by what drives the time:

| kind | alike: the same | driver |
|---|---|---|
| features | model and length of texts | texts |
| soft labels | model, length, precision, ZeRO stage, what is traded for memory | texts × epochs |
| references | | texts × seeds × epochs of all settings |
| students | ansatz, qubits, batch size | texts × seeds × epochs × (layers + 2) |

A record of another machine counts like any other, and a trial as if no scheduler stopped it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean, median
from typing import Any, NamedTuple

from jobs.fingerprints import FEATURES, PROBES, SOFT_LABELS, STUDENTS
from jobs.store import Record, Store
from jobs.store.inventory import peek
from orchestrator.plan.graph import Job, Plan
from orchestrator.plan.history import read_all
from orchestrator.plan.ranking import Result
from qdllm.specs import EncoderSpec, ProbeSpec, Spec, StudentSpec, TeacherSpec

SAMPLE = 24
"""Records of a kind that are read at most: an object store answers each in tens of milliseconds."""
NEAREST = 5
"""Of those, the median of so many is taken."""
BESIDE = 2
"""Layers that would take as long as the rest of a student does, measured on eleven qubits."""
KINDS: dict[str, type[Spec]] = {
    FEATURES: EncoderSpec,
    SOFT_LABELS: TeacherSpec,
    PROBES: ProbeSpec,
    STUDENTS: StudentSpec,
}


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
    """What the result is made from: the fingerprint of a task, or of features."""


class Known(NamedTuple):
    """Another result's load and seconds."""

    load: Load
    seconds: float


def load(spec: Spec, made_from: Mapping[str, str]) -> Load:
    """What decides how long it takes to make that from there."""
    source = made_from.get("features") or made_from["task"]
    match spec:
        case EncoderSpec():
            return Load((spec.model, spec.max_length), 1.0, source)
        case TeacherSpec():
            memory = spec.micro_batch_size, spec.gradient_checkpointing, spec.offload
            how = spec.model, spec.max_length, spec.precision, spec.zero_stage, *memory
            return Load(how, spec.epochs, source)
        case ProbeSpec():
            epochs = sum(fit.epochs for _, fit in spec.settings)
            return Load((), len(spec.seeds) * epochs, source)
        case StudentSpec():
            circuit, fit = spec.circuit, spec.fit
            work = len(spec.seeds) * fit.epochs * (circuit.layers + BESIDE)
            return Load((circuit.ansatz, circuit.qubits, fit.batch_size), work, source)
    raise AssertionError(f"{type(spec).__name__} is none of {', '.join(KINDS)}")


def of_jobs(jobs: Iterable[Job[Any]], records: Iterable[Record], texts: Mapping[str, int]) -> Time:
    """How long the jobs take that are not held.

    `records`: results of the jobs' kind. `texts`: how many texts there are, by the fingerprint of
    their task and of their features; a record whose texts are not among them is left out.
    """
    known = [
        Known(load(KINDS[record.kind].parse(record.spec), record.made_from), record.seconds)
        for record in records
    ]
    known = [one for one in known if one.load.source in texts]
    found = Time()
    # Thousands of trials differ in a few loads only.
    loads = Counter(load(job.spec, job.made_from) for job in jobs if not job.held)
    for wanted, count in loads.items():
        seconds = _seconds(wanted, known, texts)
        found += Time(unknown=count) if seconds is None else Time(count * seconds, seconds)
    return found


def of_search(tried: Sequence[Result], missing: int) -> Time:
    """How long a search's missing trials take: as long as those in its space, in the mean."""
    if not missing or not tried:
        return Time(unknown=missing)
    seconds = fmean(result.record.seconds for result in tried)
    return Time(missing * seconds, seconds)


def times(plan: Plan, store: Store, texts: int) -> dict[str, Time]:
    """The time of each kind of result that the plan lacks. `texts`: how many its task has.

    Reads a few records of each kind, those of the plan first.
    """
    needed: dict[str, Sequence[Job[Any]]] = {
        FEATURES: plan.features,
        SOFT_LABELS: plan.teachers,
        PROBES: plan.probes,
        STUDENTS: plan.trials,
    }
    lacking = {kind: jobs for kind, jobs in needed.items() if not all(job.held for job in jobs)}
    if not lacking:
        return {}
    # Records of other features tell of how many texts they are.
    known = {kind: _sample(store, kind, needed[kind]) for kind in {FEATURES, *lacking}}
    counts = {}
    for record in known[FEATURES]:
        counts[record.fingerprint] = counts[record.made_from["task"]] = record.summary["texts"]
    for job in plan.features:
        counts[job.fingerprint] = counts[job.made_from["task"]] = texts
    return {kind: of_jobs(jobs, known[kind], counts) for kind, jobs in lacking.items()}


def _seconds(wanted: Load, known: Sequence[Known], texts: Mapping[str, int]) -> float | None:
    """The median of the nearest, from the same source first; None where nothing is alike."""

    def ratio(one: Known) -> float:
        return (wanted.work * texts[wanted.source]) / (one.load.work * texts[one.load.source])

    alike = [one for one in known if one.load.alike == wanted.alike]
    alike.sort(key=lambda one: (one.load.source != wanted.source, abs(log(ratio(one)))))
    return median(one.seconds * ratio(one) for one in alike[:NEAREST]) if alike else None


def _sample(store: Store, kind: str, jobs: Sequence[Job[Any]]) -> list[Record]:
    """A few of the store's records of a kind: the plan's own, then others.

    In the order of their fingerprints, which is as good as drawn by lot, yet always the same.
    What is damaged is for the sweep to tell, when it needs it.
    """
    names = sorted(job.fingerprint for job in jobs if job.held)[:SAMPLE]
    if len(names) < SAMPLE:
        others = store.fingerprints(kind).difference(names)
        names += sorted(others)[: SAMPLE - len(names)]
    found = read_all(lambda name: peek(store, (kind, name)), names)
    return [record for record in found if isinstance(record, Record)]

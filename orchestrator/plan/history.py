"""What the store knows from before: records, each read once, and what lies in a search's space."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from jobs.kinds import Job
from jobs.kinds.job import Sources
from jobs.kinds.trials import STOPPED
from jobs.store import Record, Store, parsed
from jobs.store.inventory import peek
from orchestrator.grid.space import Search, at, inside, point
from orchestrator.plan.graph import Trial, grouped, references
from orchestrator.plan.ranking import Result, ranked
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.spec import fingerprint

READERS = 32
"""Records read at once: an object store answers each in tens of milliseconds."""
COMPARED = 10
"""After a search, its references are trained in the ways of so many of the best trials."""

T = TypeVar("T")


class History:
    """A store's records. They never change, so each is read once, and many at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[tuple[str, str], Record] = {}
        self._curves: dict[str, dict[str, np.ndarray]] = {}

    def records(self, kind: str, names: Iterable[str]) -> list[Record]:
        """The records that there are of a kind, in the order of their names.

        Raises DamagedError or VersionError for one that cannot be read.
        """
        return self._records(kind, names, self.store.record)

    def readable(self, kind: str) -> list[Record]:
        """All records of a kind, in the order of their names, but those that cannot be read: they
        may be another sweep's, or another version's. What is asked for by name raises."""
        return self._records(kind, sorted(self.store.fingerprints(kind)), self._peek)

    def _peek(self, kind: str, name: str) -> Record | None:
        found = peek(self.store, (kind, name))
        return found if isinstance(found, Record) else None

    def _records(
        self, kind: str, names: Iterable[str], read: Callable[[str, str], Record | None]
    ) -> list[Record]:
        names = list(names)
        new = [name for name in dict.fromkeys(names) if (kind, name) not in self._read]
        for record in read_all(lambda name: read(kind, name), new):
            self._read[kind, record.fingerprint] = record
        return [self._read[kind, name] for name in names if (kind, name) in self._read]

    def curves(self, trial: Trial) -> Mapping[str, np.ndarray]:
        """A trial's curves by metric, each of shape (seeds, epochs).

        Its parameters, which of a body are a thousand times as large, are not kept. Raises
        StoreError as `load` does.
        """
        if trial.fingerprint not in self._curves:
            _, tensors = self.store.load(trial.kind, trial.fingerprint)
            curves = {name: tensors[name] for name in tensors if name != "parameters"}
            self._curves[trial.fingerprint] = curves
        return self._curves[trial.fingerprint]

    def results(self, kind: str, names: Iterable[str]) -> list[Result]:
        """The same as trials with their records."""
        return [result_of(record) for record in self.records(kind, names)]

    def in_space(self, search: Search, base: Trial, kind: str = "") -> list[Result]:
        """All results that lie in a search's space around its base, ordered by fingerprint.

        With STOPPED's name as `kind`, the trials there that a scheduler has stopped and nobody has
        finished.
        """
        done = self.store.fingerprints(base.kind) if kind == STOPPED.name else frozenset[str]()
        alike = [
            result_of(record)
            for record in self.readable(kind or base.kind)
            if record.made_from == base.made_from and record.fingerprint not in done
        ]
        return [
            result
            for result in alike
            if type(result.trial.spec) is type(base.spec) and _lies_in(search, base, result.trial)
        ]

    def tried(self, search: Search, base: Trial, scheduler: str) -> list[Result]:
        """What a search need not try again: with a scheduler, also what one has stopped."""
        stopped = self.in_space(search, base, STOPPED.name) if scheduler != "none" else []
        return self.in_space(search, base) + stopped


def result_of(record: Record) -> Result:
    """A trial's record with the trial. Raises DamagedError for one that is none."""
    spec = parsed(record, families.parse)
    return Result(Job(record.kind, record.fingerprint, spec, record.made_from, held=True), record)


def _lies_in(search: Search, base: Trial, trial: Trial) -> bool:
    """Whether a trial is what the search would call by that name."""
    if not inside(search, trial.spec):
        return False
    try:
        near = at(base.spec, point(search, trial.spec))
    except ConfigError:
        return False  # the base is one that does not go together with this point
    return fingerprint(near, **base.made_from) == trial.fingerprint


def after_search(tried: Sequence[Result]) -> list[Trial]:
    """The references beside a search's trials, trained in the ways of its best ones."""
    groups: dict[Sources, list[Trial]] = {
        sources: members[:COMPARED]
        for sources, members in grouped(result.trial for result in ranked(tried)).items()
    }
    known = {result.trial.fingerprint for result in tried}
    return [trial for trial in references(groups) if trial.fingerprint not in known]


def read_all(read: Callable[[str], T | None], names: Iterable[str]) -> list[T]:
    """What `read` finds under each name, in their order, many at a time."""
    with ThreadPoolExecutor(READERS) as readers:
        return [one for one in readers.map(read, names) if one is not None]

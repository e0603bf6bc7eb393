"""When the trials of a sweep ran, from their records, and what lay between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from bench.clocks import Span
from jobs.store import RECORD, Store
from qdllm.families.quantum import FAMILY


class Trial(NamedTuple):
    """One trial's moments, in Unix time."""

    began: float
    trained: float
    """The end of the trial's own seconds."""
    published: float
    """Its record stands in the store."""
    heard: float
    """The driver is told of its end,"""
    told: float
    """and has told MLflow's writer."""


@dataclass(frozen=True)
class Timeline:
    """The trials of a sweep, `places` of them at once."""

    trials: Sequence[Trial]
    places: int

    @classmethod
    def read(cls, store: Store, names: Iterable[str], spans: Iterable[Span], places: int) -> Self:
        """Of the trials that have these names in the store, and `ended` among the spans."""
        written = {file.path: file.modified for file in store.files()}
        ends = {span.trial: span for span in spans if span.name == "ended"}
        trials = []
        for name in names:
            record, end = store.record(FAMILY.kind, name), ends[name]
            assert record is not None, "it has been listed"
            trials.append(
                Trial(
                    record.created - record.seconds,
                    record.created,
                    written[f"{FAMILY.kind}/{name}/{RECORD}"],
                    end.began,
                    end.ended,
                )
            )
        return cls(trials, places)

    @property
    def began(self) -> float:
        """The first trial's start."""
        return min(trial.began for trial in self.trials)

    @property
    def ended(self) -> float:
        """The last trial's end."""
        return max(trial.trained for trial in self.trials)

    @property
    def wall(self) -> float:
        """Seconds from the one to the other."""
        return self.ended - self.began

    @property
    def own(self) -> float:
        """A trial's own seconds: the median."""
        return float(np.median([trial.trained - trial.began for trial in self.trials]))

    @property
    def ideal(self) -> float:
        """Seconds that the trials themselves need, on all places side by side."""
        return sum(trial.trained - trial.began for trial in self.trials) / self.places

    def parts(self) -> dict[str, float]:
        """What `wall` has beyond `ideal`, as shares of `ideal` that sum up to the overhead.

        The place that the k-th end leaves free is taken by the k-th start after the first ones.
        """
        starts = sorted(trial.began for trial in self.trials)
        ends = sorted(self.trials, key=lambda trial: trial.trained)
        first, freed = starts[: self.places], ends[: -self.places]
        seconds = {
            "places that start after the first": sum(start - self.began for start in first),
            "publishing": sum(trial.published - trial.trained for trial in freed),
            "the way to the driver": sum(trial.heard - trial.published for trial in freed),
            "the driver's store, and its word to MLflow": sum(
                trial.told - trial.heard for trial in freed
            ),
            "the way to the next start": sum(starts[self.places :])
            - sum(trial.told for trial in freed),
            "places that are empty at the end": sum(
                self.ended - trial.trained for trial in ends[-self.places :]
            ),
        }
        return {part: value / (self.ideal * self.places) for part, value in seconds.items()}

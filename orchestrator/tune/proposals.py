"""What a search tries next, and what became of it, as the store says."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from jobs.kinds import Job
from jobs.kinds.trials import STOPPED
from jobs.store import Store
from orchestrator.grid.space import Search, at, point
from orchestrator.plan import Result, Trial
from orchestrator.tune.sampler import Suggestions
from qdllm.errors import ConfigError, StoreError

REPEATS = 10
"""After a sampler has named so many known points, one after another, points are drawn instead."""
DRAWS = 1000
"""After so many draws of known points there are no others."""


def trial_at(base: Trial, coordinates: Mapping[str, Any]) -> Trial:
    """The trial that a point of a search's space means, around its base."""
    return Job.of(base.kind, at(base.spec, coordinates), base.made_from)


class Proposals:
    """A search that is asked for points nobody has tried, under names of the asker's own."""

    def __init__(self, search: Search, base: Trial, past: Sequence[Result], store: Store) -> None:
        """`past`: what lies in the search's space, trials that a scheduler has stopped among it."""
        self._search, self._base, self._store = search, base, store
        self._suggestions = Suggestions(search, pauses=len(past))
        self._known: dict[str, list[float] | None] = {}
        """What the points that were tried are worth, by fingerprint; None: no result."""
        self._running: dict[str, tuple[int, Trial]] = {}
        for result in past:
            if result.trial.kind == STOPPED.name:
                self._stopped(result.trial, result.record.summary)
            else:
                values = result.objectives(search.objectives)
                self._known[result.trial.fingerprint] = values
                self._suggestions.know(point(search, result.trial.spec), values)

    def next(self, name: str) -> dict[str, Any] | None:
        """A point that nobody has tried, for whoever goes by that name; None where none is left."""
        running = {trial.fingerprint for _, trial in self._running.values()}
        for attempt in range(REPEATS + DRAWS):
            drawn = None if attempt < REPEATS else self._suggestions.draw()
            number, suggested = self._suggestions.ask(drawn)
            try:
                trial = trial_at(self._base, suggested)
            except ConfigError:
                # Values that go with the base each, but not with one another.
                self._suggestions.tell(number, None)
                continue
            if trial.fingerprint not in self._known.keys() | running:
                self._running[name] = number, trial
                return suggested
            self._suggestions.tell(number, self._known.get(trial.fingerprint))
        return None

    def ended(self, name: str, last: Mapping[str, Any] | None, failed: bool = False) -> None:
        """Learn what a point is worth by its record; one without a record failed or was stopped.

        `last`: its trial's last report.
        """
        number, trial = self._running.pop(name)
        values = None
        # A store that is away for a while costs the sampler this one point.
        with suppress(StoreError):
            record = None if failed else self._store.record(trial.kind, trial.fingerprint)
            if record:
                values = Result(trial, record).objectives(self._search.objectives)
            elif last and "epoch" in last:
                self._stopped(trial, last)
        self._known[trial.fingerprint] = values
        self._suggestions.tell(number, values)

    def _stopped(self, trial: Trial, last: Mapping[str, Any]) -> None:
        """A scheduler needs one objective, which every epoch brings."""
        metric = next(iter(self._search.objectives)).removesuffix(".mean")
        self._known[trial.fingerprint] = None
        self._suggestions.know_stopped(point(self._search, trial.spec), last["epoch"], last[metric])

"""Tune's side of a search: asks Optuna for points, tells it what the store says came of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray.tune.search import Searcher

from jobs.fingerprints import STOPPED
from jobs.store import Store
from orchestrator.grid.space import Search, point
from orchestrator.plan import Trial
from orchestrator.plan.ranking import Result
from orchestrator.tune.sampler import Suggestions
from qdllm.errors import StoreError

REPEATS = 10
"""After a sampler has named so many known points, one after another, points are drawn instead."""
DRAWS = 1000
"""After so many draws of known points there are no others."""


class Asking(Searcher):
    """Tune's side of a search: asks for points, tells what the store says came of them."""

    def __init__(
        self,
        search: Search,
        past: Sequence[Result],
        trial_of: Callable[[Mapping[str, Any]], Trial],
        store: Store,
    ) -> None:
        super().__init__()
        self._search, self._trial_of, self._store = search, trial_of, store
        self._suggestions = Suggestions(search, pauses=len(past))
        self._known: dict[str, list[float] | None] = {}
        """What the points that were tried are worth, by fingerprint; None: no result."""
        self._running: dict[str, tuple[int, Trial]] = {}
        for one in past:
            if one.trial.kind == STOPPED:
                self._stopped(one.trial, one.record.summary)
            else:
                values = one.objectives(search.objectives)
                self._known[one.trial.fingerprint] = values
                self._suggestions.know(point(search, one.trial.spec), values)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """A point that nobody has tried; the search's end where none is left."""
        running = {trial.fingerprint for _, trial in self._running.values()}
        for attempt in range(REPEATS + DRAWS):
            drawn = None if attempt < REPEATS else self._suggestions.draw()
            number, suggested = self._suggestions.ask(drawn)
            trial = self._trial_of({"point": suggested})
            if trial.fingerprint not in self._known.keys() | running:
                self._running[trial_id] = number, trial
                return {"point": suggested}
            self._suggestions.tell(number, self._known.get(trial.fingerprint))
        return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell what it is worth by its record; one without a record has failed or was stopped."""
        number, trial = self._running.pop(trial_id)
        values = None
        # A store that is away for a while costs the sampler this one point.
        with suppress(StoreError):
            record = None if error else self._store.record(trial.kind, trial.fingerprint)
            if record:
                values = Result(trial, record).objectives(self._search.objectives)
            elif result and "failed" not in result:
                self._stopped(trial, result)
        self._known[trial.fingerprint] = values
        self._suggestions.tell(number, values)

    def _stopped(self, trial: Trial, last: Mapping[str, Any]) -> None:
        """A scheduler needs one objective, which every epoch brings."""
        metric = next(iter(self._search.objectives)).removesuffix(".mean")
        self._known[trial.fingerprint] = None
        self._suggestions.know_stopped(point(self._search, trial.spec), last["epoch"], last[metric])

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: no sweep is ever restored from Tune's state."""

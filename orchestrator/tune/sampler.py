"""Optuna: what a search tries next, knowing all that came of what was tried.

The study lives in memory and is told its past from the store's records, so no trial is ever left
running in a database, and a search that was killed goes on with all that it had learnt.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from orchestrator.grid.space import Choices, Dimension, Integers, Search

SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "cma-es": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "nsga-ii": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
}

SEEDS = 2**32
"""How many seeds Optuna's samplers know."""


class Suggestions:
    """An Optuna study that is asked for points by number and told what they are worth."""

    def __init__(self, search: Search, pauses: int = 0) -> None:
        """`pauses`: a number that is another one whenever the search goes on."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = {
            key: _distribution(dimension) for key, dimension in search.dimensions.items()
        }
        # Another one after every pause, so that a sampler does not begin with the same points.
        seed = (search.seed + pauses) % SEEDS
        self._study = optuna.create_study(
            directions=list(search.objectives.values()),
            sampler=SAMPLERS[search.sampler](seed),
        )
        self._any = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    def know(self, point: Mapping[str, Any], values: Sequence[float]) -> None:
        """A point that was tried before, and its values in the order of the objectives."""
        if all(map(math.isfinite, values)):
            self._add(point, values=list(values))

    def know_stopped(self, point: Mapping[str, Any], epoch: int, value: float) -> None:
        """A point whose trial a scheduler ended: the objective's value at its last epoch."""
        if math.isfinite(value):
            self._add(point, state=TrialState.PRUNED, intermediate_values={epoch: value})

    def _add(self, point: Mapping[str, Any], **outcome: Any) -> None:
        params = {key: point[key] for key in self._distributions}
        self._study.add_trial(
            create_trial(params=params, distributions=self._distributions, **outcome)
        )

    def ask(self, point: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """The next point to try, by dotted key, and its number; or a number for a given point."""
        if point is not None:
            self._study.enqueue_trial(dict(point))
        trial = self._study.ask(self._distributions)
        return trial.number, dict(trial.params)

    def draw(self) -> dict[str, Any]:
        """Any point of the space, whatever is known."""
        return dict(self._any.ask(self._distributions).params)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """What a point is worth; None, or a value that is not finite, for one that has none."""
        if values is not None and all(map(math.isfinite, values)):
            self._study.tell(number, list(values))
        else:
            self._study.tell(number, state=TrialState.FAIL)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, Integers):
        return IntDistribution(
            int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1)
        )
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)

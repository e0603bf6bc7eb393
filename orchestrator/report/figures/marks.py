"""Trials as marks on a scale of validation accuracies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from orchestrator.plan.ranking import OBJECTIVE, Result
from orchestrator.report.figures.canvas import MARKERS, MUTED, PAPER, SERIES
from orchestrator.report.findings import Findings
from orchestrator.report.tables import label

WIDE = 4.0
"""Largest over smallest value from which a scale is logarithmic."""


@dataclass(frozen=True)
class Scale:
    """A vertical scale of mean validation accuracies that ruined trials do not squeeze."""

    floor: float
    """The lowest mean that it shows."""
    top: float

    @property
    def limits(self) -> tuple[float, float]:
        """What the frame shows, with room for marks at its ends."""
        height = max(self.top - self.floor, 0.01)
        return self.floor - 0.08 * height, self.top + 0.05 * height

    def below(self, found: Findings) -> str:
        """How many trials there are, and how many of them the frame leaves out."""
        sunk = sum(mean(one) < self.floor for one in found.order)
        told = f"; {sunk} lie below the frame (▽ where one would carry a mark)" if sunk else ""
        return f"{len(found.order)} trials{told}"


def scale(found: Findings) -> Scale:
    """The scale that suits the finished trials, of which there is at least one."""
    means = [mean(one) for one in found.order]
    best, median = means[0], means[len(means) // 2]
    floor = min(each for each in means if each >= best - 4 * max(best - median, 0.01))
    spread = [one.over_seeds(OBJECTIVE) for one in found.order]
    tops = [at.mean + (at.ci95 if at.n > 1 else 0) for at in spread if at.mean >= floor]
    heights = [height for _, height in references(found).values()]
    return Scale(floor, min(max(best, *tops, *heights), 1.0))


def dots(ax: Axes, places: Sequence[float], found: Findings) -> None:
    """All trials, best first, at their places."""
    means = [mean(one) for one in found.order]
    ax.plot(places, means, ".", color=MUTED, alpha=0.5, markersize=3.5, zorder=2)


def marks(
    ax: Axes, trials: dict[float, Result], number: int, name: str, floor: float, joined: bool
) -> None:
    """Trials by their place, with intervals over seeds; an open mark stands for one below."""
    colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
    places = sorted(trials)
    spread = [trials[place].over_seeds(OBJECTIVE) for place in places]
    ax.errorbar(
        places,
        # A bar or line whose mark is out of sight would be taken for another's.
        [at.mean if at.mean >= floor else np.nan for at in spread],
        [at.ci95 for at in spread],
        fmt=f"-{marker}" if joined else marker,
        color=colour,
        markersize=4,
        linewidth=1.1,
        label=name,
        zorder=3,
    )
    sunk = [place for place, at in zip(places, spread, strict=True) if at.mean < floor]
    low = [floor] * len(sunk)
    ax.plot(sunk, low, "v", color=colour, markerfacecolor=PAPER, markersize=5, zorder=4)


def named(value: Any) -> str:
    """What a place or line of an axis is called: —, where a family has no such setting."""
    return label(value) or "—"


def references(found: Findings) -> dict[str, tuple[int, float]]:
    """The best reference of each name: its parameters and mean validation accuracy."""
    best: dict[str, tuple[int, float]] = {}
    for standing in found.beside:
        accuracy = float(np.mean(standing.metrics[OBJECTIVE]))
        if standing.name not in best or accuracy > best[standing.name][1]:
            best[standing.name] = standing.parameters or 0, accuracy
    return best


def mean(one: Result) -> float:
    """A trial's mean validation accuracy."""
    return one.over_seeds(OBJECTIVE).mean

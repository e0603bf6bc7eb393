"""Validation accuracy over a swept axis."""

from typing import Any

import numpy as np

from orchestrator.plan.ranking import Result
from orchestrator.report.figures.canvas import (
    SERIES,
    Picture,
    legend,
    name_axes,
    name_places,
    sheet,
)
from orchestrator.report.figures.marks import WIDE, dots, marks, mean, named, scale
from orchestrator.report.findings import Findings
from orchestrator.report.tables import seeds_bar, spoken

FEW = 14
"""Values of an axis that have a place each; with more, an axis is a scale."""
LINES = len(SERIES)


def accuracy_over(found: Findings, key: str) -> Picture | None:
    """Accuracy over one axis, a line for each value of the axis that tells most beside it.

    A mean over the other axes would blend good settings with bad ones, so a mark is the best of
    them. None for an axis on which finished trials have a single value.
    """
    values = found.values(key)
    if len(values) < 2:
        return None
    if len(values) > FEW:
        return _cloud(found, key)
    beside = _telling(found, key)
    best: dict[tuple[str, str], Result] = {}
    for one in found.order:
        on = found.value(one, beside) if beside else None
        best.setdefault((repr(on), repr(found.value(one, key))), one)
    figure, (ax,) = sheet(2.9)
    height = scale(found)
    places = {repr(value): float(place) for place, value in enumerate(values)}
    dots(ax, [places[repr(found.value(one, key))] - 0.32 for one in found.order], found)
    lines = found.values(beside) if beside else [None]
    for number, line in enumerate(lines):
        shift = 0.4 * (number - (len(lines) - 1) / 2) / len(lines)
        trials = {places[at] + shift: one for (on, at), one in best.items() if on == repr(line)}
        name = named(line) if beside else "best"
        marks(ax, trials, number, name, height.floor, joined=_numbers(values))
    name_places(ax, [named(value) for value in values])
    ax.set_ylim(height.limits)
    name_axes(ax, spoken(key), "validation accuracy")
    if beside:
        legend(figure, ax, spoken(beside), columns=LINES)
    rest = [spoken(other) for other in found.axes if other not in (key, beside)]
    return Picture(
        f"accuracy-{key}",
        f"Accuracy over {spoken(key)}",
        "Mean validation accuracy"
        + (f", a line for each {spoken(beside)}" if beside else "")
        + ". A mark is one trial"
        + (f", the best over {' and '.join(rest)}" if rest else "")
        + f", with {seeds_bar(found.order)}. Dots are all {height.below(found)}.",
        figure,
    )


def _cloud(found: Findings, key: str) -> Picture:
    """Accuracy over an axis whose values are too many for lines."""
    values = [found.value(one, key) for one in found.order]
    figure, (ax,) = sheet(2.9)
    height = scale(found)
    if _numbers(values):
        positions = [float(value) for value in values]
        if min(positions) > 0 and max(positions) > WIDE * min(positions):
            ax.set_xscale("log")
    else:
        distinct = found.values(key)
        positions = [float(distinct.index(value)) for value in values]
        name_places(ax, [named(value) for value in distinct])
    dots(ax, positions, found)
    place = dict(zip((one.trial.fingerprint for one in found.order), positions, strict=True))
    for number, what in enumerate(("champion", "best")):
        # Where the champion is the best, one mark is both.
        one = found.examples.get(what) or found.champion
        if one:
            marks(ax, {place[one.trial.fingerprint]: one}, number, what, height.floor, joined=False)
    ax.set_ylim(height.limits)
    name_axes(ax, spoken(key), "validation accuracy")
    legend(figure, ax)
    return Picture(
        f"accuracy-{key}",
        f"Accuracy over {spoken(key)}",
        f"Mean validation accuracy of all {height.below(found)}; champion and best with "
        f"{seeds_bar(found.order)}.{' The other axes vary too.' * (len(found.axes) > 1)}",
        figure,
    )


def _telling(found: Findings, key: str) -> str | None:
    """The other axis of few values between whose values accuracy differs most."""
    overall = np.mean([mean(one) for one in found.order])

    def between(other: str) -> float:
        groups: dict[str, list[float]] = {}
        for one in found.order:
            groups.setdefault(repr(found.value(one, other)), []).append(mean(one))
        return float(sum(len(each) * (np.mean(each) - overall) ** 2 for each in groups.values()))

    others = [other for other in found.axes if other != key]
    few = [other for other in others if 1 < len(found.values(other)) <= LINES]
    return max(few, key=between, default=None)


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)

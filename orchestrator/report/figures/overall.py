"""All trials in one picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orchestrator.plan.ranking import OBJECTIVE, Result
from orchestrator.report.figures.axes import FEW, LINES
from orchestrator.report.figures.canvas import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    TEXT,
    Picture,
    cells,
    legend,
    name_axes,
    name_cells,
    plain,
    sheet,
)
from orchestrator.report.figures.marks import WIDE, dots, marks, mean, named, references, scale
from orchestrator.report.findings import Findings
from orchestrator.report.tables import rule, seeds_bar, spoken


def pareto(found: Findings) -> Picture | None:
    """Accuracy against size: what more parameters buy, and what classical ones would.

    None where all trials are of one size.
    """
    sizes = [one.parameters for one in found.order]
    if not found.champion or len(set(sizes)) < 2:
        return None
    figure, (ax,) = sheet(3.3)
    height = scale(found)
    left, right = _room(min(sizes), max(sizes))
    if max(sizes) > WIDE * min(sizes):
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter("{x:,.0f}")
    dots(ax, sizes, found)
    front = _front(found.order)
    marks(ax, {one.parameters: one for one in front}, 0, "Pareto front", height.floor, joined=False)
    steps = [(one.parameters, mean(one)) for one in front] + [(right, mean(front[-1]))]
    ax.step(*zip(*steps, strict=True), where="post", color=SERIES[0], linewidth=1)
    _emblem(ax, found.champion.parameters, mean(found.champion), "*", SERIES[1], "champion")
    for number, (name, (size, accuracy)) in enumerate(references(found).items()):
        shape = "<" if size < left else ">" if size > right else "sDP"[number % 3]
        at = np.clip(size, left, right), max(accuracy, height.floor)
        _emblem(ax, *at, shape, SERIES[2 + number % 3], f"{name} ({size:,})")
    best = found.best.over_seeds(OBJECTIVE)
    lined = best.n > 1 and found.under is None
    if lined:
        bar = best.mean - best.standard_error
        ax.axhline(bar, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_xlim(left, right)
    ax.set_ylim(height.limits)
    name_axes(ax, "trainable parameters of a student", "validation accuracy")
    legend(figure, ax, columns=2)
    return Picture(
        "pareto",
        "Accuracy against size",
        f"Mean validation accuracy; blue marks are trials that no smaller one reaches, with "
        f"{seeds_bar(found.order)}. The champion is {rule(found)}."
        f"{' The dashed line lies one standard error below the best.' * lined} An arrow at the "
        "edge points to a reference of "
        f"another size. Dots are all {height.below(found)}.",
        figure,
    )


def heat_map(found: Findings) -> Picture | None:
    """Accuracy over the two axes with most values, one panel for each value of the third.

    None where there are no two such axes, or where most of their combinations have no trial.
    """
    counts = {key: len(found.values(key)) for key in found.axes}
    axes = sorted((key for key in counts if 1 < counts[key] <= FEW), key=lambda key: -counts[key])
    if len(axes) < 2:
        return None
    across, down, *others = axes
    third = others[0] if others and counts[others[0]] <= LINES else None
    columns, rows = found.values(across), found.values(down)
    panels = found.values(third) if third else [None]
    best: dict[tuple[str, ...], Result] = {}
    for one in found.order:
        panel = found.value(one, third) if third else None
        place = (panel, found.value(one, down), found.value(one, across))
        best.setdefault(tuple(map(repr, place)), one)
    # Axes that were varied one at a time leave a cross of cells.
    if 2 * len(best) < len(panels) * len(rows) * len(columns):
        return None
    figure, sheets = sheet(0.6 + len(panels) * (0.25 + 0.25 * len(rows)), len(panels))
    floor, top = scale(found).floor, mean(found.order[0])
    for ax, panel in zip(sheets, panels, strict=True):
        trials = [[best.get((repr(panel), repr(row), repr(at))) for at in columns] for row in rows]
        means = np.array([[mean(one) if one else np.nan for one in line] for line in trials])
        cells(ax, means, floor, top, [[_cell(one, found) for one in line] for line in trials])
        last = ax is sheets[-1]
        name_cells(ax, [named(at) if last else "" for at in columns], [named(at) for at in rows])
        if third:
            name = plain(f"{spoken(third)} {named(panel)}")
            ax.set_title(name, fontsize=TEXT, color=INK, loc="left")
    name_axes(sheets[-1], spoken(across), "")
    figure.supylabel(plain(spoken(down)), fontsize=TEXT, color=INK)
    rest = [spoken(key) for key in found.axes if key not in (across, down, third)]
    bar = np.median([one.over_seeds(OBJECTIVE).ci95 for one in found.order if mean(one) >= floor])
    return Picture(
        "heat-map",
        f"Accuracy over {spoken(across)} and {spoken(down)}",
        "Mean validation accuracy"
        + (f", in each cell the best over {' and '.join(rest)}" if rest else "")
        + (f"; typically ± {bar:.3f}, {seeds_bar(found.order)}" if bar > 0 else "")
        + f". ★ is the champion, [ ] the best. Lighter is better; all below {floor:.3f} is equally "
        "dark.",
        figure,
    )


def _emblem(ax: Axes, x: float, y: float, marker: str, colour: str, name: str) -> None:
    """One mark that stands out, also on the edge of the frame."""
    ax.plot(
        x,
        y,
        marker,
        color=colour,
        markersize=12 if marker == "*" else 6,
        markeredgecolor=PAPER,
        clip_on=False,
        label=name,
        zorder=5,
    )


def _room(low: int, high: int) -> tuple[float, float]:
    """Limits of a scale of sizes, with room at both ends."""
    if high > WIDE * low:
        return low / 1.3, high * 1.3
    return low - 0.12 * (high - low), high + 0.12 * (high - low)


def _front(order: Sequence[Result]) -> list[Result]:
    """The trials that no trial of their size or smaller reaches, by size."""
    front: list[Result] = []
    for one in sorted(order, key=lambda one: (one.parameters, -mean(one))):
        if not front or mean(one) > mean(front[-1]):
            front.append(one)
    return front


def _cell(one: Result | None, found: Findings) -> str:
    if one is None:
        return ""
    text = f"{mean(one):.3f}"
    if one is found.order[0]:
        text = f"[{text}]"
    return f"★ {text}" if one is found.champion else text

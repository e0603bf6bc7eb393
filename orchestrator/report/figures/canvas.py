"""How pictures look, and how they become files: at home on a phone, on paper, by day and night."""

import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from qdllm.visible import visible

WIDTH = 3.6
"""Inches: 346 CSS pixels, so that a phone shows type at its own size."""
TEXT, SMALL = 8.0, 7.5
"""Points."""
LETTERS = 40
"""How many of them stand side by side below an axes."""

INK, MUTED, FAINT, PAPER = "#1f2328", "#656d76", "#d8dee4", "#ffffff"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b58900")
"""After Okabe and Ito, told apart by colour-blind readers; on paper the markers tell them apart."""
MARKERS = "osD^v"
ON_LIGHT, ON_DARK = "#111111", "#fafafa"
"""Type on a coloured cell, by day and night."""
NIGHT = {INK: "#e6edf3", MUTED: "#9198a1", FAINT: "#30363d", PAPER: "#0d1117"} | dict(
    zip(SERIES, ("#56b4e9", "#f0883e", "#3fb98f", "#d98cc7", "#e3b341"), strict=True)
)
"""What each colour turns into where a reader prefers dark pages."""


@dataclass(frozen=True)
class Picture:
    """A figure, and the words that belong to it."""

    name: str
    """Of its file, without the ending."""
    title: str
    caption: str
    figure: Figure


def sheet(
    height: float, rows: int = 1, ratios: tuple[float, ...] = ()
) -> tuple[Figure, list[Axes]]:
    """A figure `height` inches high, with as many axes one below the other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)
    grid = figure.subplots(
        rows, squeeze=False, gridspec_kw={"height_ratios": ratios} if ratios else None
    )
    axes = list(grid[:, 0])
    for ax in axes:
        ax.set_facecolor(PAPER)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(labelsize=SMALL, labelcolor=INK, color=MUTED, length=3)
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def name_axes(ax: Axes, x: str, y: str) -> None:
    """Say what an axes shows."""
    ax.set_xlabel(plain(x), fontsize=TEXT, color=INK)
    ax.set_ylabel(plain(y), fontsize=TEXT, color=INK)


def legend(figure: Figure, ax: Axes, title: str = "", columns: int = 4) -> None:
    """The legend of one axes, above everything, in so many columns as have room."""
    handles, labels = ax.get_legend_handles_labels()
    for count in range(min(columns, len(labels)), 0, -1):
        made = figure.legend(
            handles,
            [plain(name) for name in labels],
            title=plain(title) or None,
            loc="outside upper center",
            ncols=count,
            fontsize=SMALL,
            title_fontsize=SMALL,
            labelcolor=INK,
            frameon=False,
            handlelength=1.4,
            columnspacing=1.2,
        )
        made.get_title().set_color(INK)
        if count == 1 or made.get_window_extent().width <= figure.bbox.width:
            break
        made.remove()


def cells(ax: Axes, values: np.ndarray, low: float, high: float, texts: list[list[str]]) -> None:
    """A matrix as coloured cells, the first row on top, each with its text."""
    colours = matplotlib.colormaps["cividis"]
    ax.pcolormesh(values, cmap=colours, vmin=low, vmax=high, edgecolors=PAPER, linewidth=1.5)
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        share = (value - low) / (high - low) if high > low else 1.0
        ax.text(
            column + 0.5,
            row + 0.5,
            texts[row][column],
            ha="center",
            va="center",
            fontsize=SMALL,
            color=ON_LIGHT if share > 0.5 else ON_DARK,
        )


def name_cells(ax: Axes, columns: list[str], rows: list[str]) -> None:
    """Labels for the columns and rows of `cells`."""
    ax.set_xticks(np.arange(len(columns)) + 0.5, [plain(name) for name in columns])
    ax.set_yticks(np.arange(len(rows)) + 0.5, [plain(name) for name in rows])
    _slant(ax, columns)


def name_places(ax: Axes, names: list[str]) -> None:
    """Labels for places 0, 1, 2, … along x, slanted where they would touch."""
    ax.set_xticks(range(len(names)), [plain(name) for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    _slant(ax, names)


def plain(text: str) -> str:
    """The text as it may be shown, and so that matplotlib takes no part of it for a formula."""
    return visible(text).replace("$", r"\$")


def _slant(ax: Axes, names: list[str]) -> None:
    if sum(map(len, names)) > LETTERS:
        ax.tick_params(axis="x", labelrotation=35)
        for tick in ax.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")


def png(picture: Picture) -> bytes:
    """For MLflow, slides and print, on white."""
    told = {"Title": picture.title, "Description": picture.caption}
    return _saved(picture, format="png", dpi=200, metadata=told)


def svg(picture: Picture) -> str:
    """For a page: it follows the reader's choice of light or dark, and is the same each time."""
    # Without a salt, ids in the file are drawn at random. Type stays type: a reader's device has
    # fonts for scripts that matplotlib's own lacks.
    with matplotlib.rc_context({"svg.hashsalt": picture.name, "svg.fonttype": "none"}):
        drawn = _saved(picture, format="svg", metadata={"Date": None}).decode()
    names = {day: f"--c{number}" for number, day in enumerate(NIGHT)}
    drawn = re.sub("|".join(NIGHT), lambda found: f"var({names[found[0]]})", drawn)
    day = "".join(f"{name}:{colour};" for colour, name in names.items())
    night = "".join(f"{name}:{NIGHT[colour]};" for colour, name in names.items())
    style = f"<style>svg{{{day}}}@media(prefers-color-scheme:dark){{svg{{{night}}}}}</style>"
    return drawn.replace("<defs>", f"{style}<defs>", 1)


def _saved(picture: Picture, **how: Any) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings():
        # Names of classes may be in any script; where a font lacks it, boxes say so.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        if isinstance(picture.figure.get_layout_engine(), ConstrainedLayoutEngine):
            # Done once, for it never puts things to the last bit where they were.
            picture.figure.draw_without_rendering()
            picture.figure.set_layout_engine("none")
        picture.figure.savefig(buffer, **how)
    return buffer.getvalue()

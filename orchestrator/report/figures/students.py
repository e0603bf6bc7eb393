"""Pictures of single students. Each is None where it would have nothing to show."""

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from orchestrator.plan.ranking import OBJECTIVE, by_seed
from orchestrator.report.figures.canvas import (
    INK,
    MARKERS,
    MUTED,
    SERIES,
    SMALL,
    Picture,
    cells,
    legend,
    name_axes,
    name_cells,
    sheet,
)
from orchestrator.report.findings import Findings
from orchestrator.report.tables import seeds_bar, told
from qdllm.intervals import interval, share
from qdllm.visible import visible

BINS = 15
"""Of the reliability diagram: those of qdllm.metrics, which cannot be imported without torch."""
SCANT = 10
"""Texts below which a bin's accuracy says next to nothing."""
MANY = 12
"""Classes from which a confusion matrix has no room for numbers."""


def learning_curves(found: Findings) -> Picture | None:
    """How a few trials learnt, epoch by epoch."""
    if not found.champion:
        return None
    figure, (top, bottom) = sheet(4.2, 2, (3, 2))
    heights = []
    for number, (what, one) in enumerate(found.examples.items()):
        for ax, metric in ((top, OBJECTIVE), (bottom, "train.loss")):
            curve_SE = found.curves[one.trial.fingerprint][metric].astype(float)
            spread = [interval(values_S.tolist()) for values_S in curve_SE.T]
            mean_E = np.array([at.mean for at in spread])
            bar_E = np.array([at.ci95 for at in spread])
            epochs = np.arange(1, len(spread) + 1)
            colour, marker = SERIES[number], MARKERS[number]
            ax.plot(
                epochs, mean_E, f"-{marker}", color=colour, markersize=3, linewidth=1.2, label=what
            )
            low_E, high_E = mean_E - bar_E, mean_E + bar_E
            ax.fill_between(epochs, low_E, high_E, color=colour, alpha=0.18, linewidth=0)
            # The last may be a ruin, whose curve would flatten the others'.
            if ax is top and what != "last":
                heights += mean_E.tolist()
    low, high = min(heights), max(heights)
    room = 0.15 * max(high - low, 0.01)
    top.set_ylim(low - room, high + room)
    bottom.set_yscale("log")
    bottom.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bottom.yaxis.set_major_formatter("{x:g}")
    bottom.yaxis.set_minor_locator(NullLocator())
    for ax in (top, bottom):
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    name_axes(top, "", "validation accuracy")
    name_axes(bottom, "epoch", "training loss")
    legend(figure, top)
    named = "; ".join(f"{what}: {told(found.place(one))}" for what, one in found.examples.items())
    return Picture(
        "learning-curves",
        "Learning curves",
        f"Means over seeds; a band is {seeds_bar(found.order)}. Losses of different α or T are "
        f"not on one scale. The upper frame is fitted to all but the last. {named.capitalize()}.",
        figure,
    )


def confusion(found: Findings) -> Picture | None:
    """What the champion takes for what, on the test split."""
    if found.logits_SNC is None:
        return None
    logits_NC, seed = _served(found)
    classes, labels_N = found.sweep.summary["classes"], found.labels["test"]
    counts_CC = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts_CC, (labels_N, logits_NC.argmax(-1)), 1)
    shares_CC = counts_CC / counts_CC.sum(1, keepdims=True)
    seen = map(visible, classes)
    names = [name if len(name) <= 14 else f"{name[:13]}…" for name in seen]
    figure, (ax,) = sheet(min(1.0 + 0.42 * len(classes), 4.4))
    texts = [[f"{n}" if len(classes) <= MANY else "" for n in row_C] for row_C in counts_CC]
    cells(ax, shares_CC, 0, 1, texts)
    name_cells(ax, names, names)
    name_axes(ax, "class that the student names", "true class")
    return Picture(
        "confusion",
        "The champion's confusion matrix",
        f"{counts_CC.sum():,} test texts, {counts_CC.trace() / counts_CC.sum():.4f} of them "
        f"right. Seed {seed}, the champion's best in validation and the one that is served. A "
        "cell's light is its share of its row.",
        figure,
    )


def reliability(found: Findings) -> Picture | None:
    """Whether the champion is as often right as it is confident, on the test split."""
    if found.logits_SNC is None or found.simulated is None or found.champion is None:
        return None
    logits_NC, seed = _served(found)
    bins = calibration_bins(logits_NC, found.labels["test"])
    figure, (top, bottom) = sheet(4.0, 2, (3, 1))
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    few = bins["count"] < SCANT
    for chosen, colour in ((few, MUTED), (~few, SERIES[0])):
        confidence, accuracy = bins["confidence"][chosen], bins["accuracy"][chosen]
        bars = np.abs(bins["bounds"][:, chosen] - accuracy)
        top.errorbar(confidence, accuracy, bars, fmt="o", color=colour, markersize=4, linewidth=1)
    seeds = found.champion.trial.spec.seeds
    errors = by_seed(found.simulated, "test.calibration_error", seeds)
    error = errors[found.champion.best_seed]
    top.text(
        0.97,
        0.05,
        f"expected calibration error {error:.4f}",
        transform=top.transAxes,
        ha="right",
        fontsize=SMALL,
        color=INK,
    )
    bottom.bar(
        (bins["bin"] + 0.5) / BINS, bins["count"], width=0.9 / BINS, color=SERIES[0], alpha=0.6
    )
    start = np.floor(10 / len(found.sweep.summary["classes"])) / 10
    for ax in (top, bottom):
        ax.set_xlim(start, 1)
    top.set_ylim(-0.02, 1.02)
    name_axes(top, "", "accuracy")
    name_axes(bottom, "confidence: the largest probability", "texts")
    mean = interval(errors)
    over = f" (over all {mean.n} seeds {mean.mean:.4f} ± {mean.ci95:.4f})" if mean.n > 1 else ""
    return Picture(
        "reliability",
        "The champion's calibration",
        f"{len(logits_NC):,} test texts in {BINS} bins of confidence; seed {seed}, the one that is "
        "served. Bars are 95 % intervals (Wilson) of the accuracy in a bin, grey where it holds "
        f"fewer than {SCANT} texts. On the dashed line the student is right as often as it "
        f"claims. Expected calibration error {error:.4f}{over}.",
        figure,
    )


def calibration_bins(logits_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, np.ndarray]:
    """The bins of equal width that hold a text: their number, how many texts they hold, these
    texts' mean confidence and accuracy, and the accuracy's Wilson interval of shape (2, B)."""
    logits_NC = logits_NC.astype(float)
    weights_NC = np.exp(logits_NC - logits_NC.max(-1, keepdims=True))
    confidence_N = weights_NC.max(-1) / weights_NC.sum(-1)
    right_N = logits_NC.argmax(-1) == labels_N
    bin_N = np.minimum((confidence_N * BINS).astype(int), BINS - 1)
    bins, of_bin_N, n = np.unique(bin_N, return_inverse=True, return_counts=True)
    right = np.bincount(of_bin_N[right_N], minlength=len(bins))
    bounds = [share(k, of) for k, of in zip(right.tolist(), n.tolist(), strict=True)]
    return {
        "bin": bins,
        "count": n,
        "confidence": np.bincount(of_bin_N, confidence_N) / n,
        "accuracy": right / n,
        "bounds": np.array(bounds).T,
    }


def _served(found: Findings) -> tuple[np.ndarray, int]:
    """Test logits_NC of the student that is served, and its seed."""
    assert found.champion, "where there are logits there is a champion"
    assert found.logits_SNC is not None
    position = found.champion.best_seed
    return found.logits_SNC[position], found.champion.trial.spec.seeds[position]

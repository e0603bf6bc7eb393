"""Pictures show the numbers that the store holds, and nothing where there is nothing to show."""

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import small_sweep
from PIL import Image
from small_sweep import CLASSES, SmallSweep, sweep

from orchestrator.report import figures
from orchestrator.report.figures.canvas import NIGHT, legend, sheet
from orchestrator.report.figures.students import BINS, calibration_bins
from orchestrator.report.findings import Findings
from qdllm import metrics


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SmallSweep:
    return sweep(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def found(small) -> Findings:
    return small.found


def made_up(folder, axes: dict, accuracy, seeds=(0, 1, 2)) -> Findings:
    return small_sweep.made_up(folder, axes, accuracy, seeds).found


def written(picture: figures.Picture) -> list[str]:
    """All type in a picture, as it is drawn."""
    drawn = figures.svg(picture)
    return [part.strip() for part in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)]


def test_every_picture_is_drawn_and_says_what_it_shows(found):
    drawn = {picture.name: picture for picture in figures.pictures(found)}
    assert list(drawn) == [
        "pareto",
        "accuracy-circuit.layers",
        "accuracy-loss.alpha",
        "accuracy-fit.lr",
        "heat-map",
        "learning-curves",
        "confusion",
        "reliability",
    ]
    for name, picture in drawn.items():
        if name not in ("confusion", "reliability"):
            assert "95 % interval of the mean over 3 seeds" in picture.caption
    for picture in drawn.values():
        image = Image.open(BytesIO(figures.png(picture)))
        assert image.width == 720
        assert image.text["Description"] == picture.caption


def test_a_legend_is_no_wider_than_its_picture():
    names = ("champion", "logistic regression on TF-IDF (37,908)", "classical head (8,507)")
    figure, (ax,) = sheet(2.0)
    for name in names:
        ax.plot([0], label=name)
    legend(figure, ax)
    (made,) = figure.legends
    assert [text.get_text() for text in made.get_texts()] == list(names)
    assert made.get_window_extent().width <= figure.bbox.width


def test_a_picture_is_the_same_each_time_and_keeps_its_place(found):
    first, second = figures.pareto(found), figures.pareto(found)
    drawn = figures.svg(first)
    figures.png(first)
    assert figures.svg(first) == drawn == figures.svg(second)


def test_a_picture_follows_the_readers_choice_of_colours(found):
    drawn = figures.svg(figures.learning_curves(found))
    style = drawn[drawn.index("<style>") : drawn.index("</style>")]
    rest = drawn.replace(style, "")
    for day, night in NIGHT.items():
        assert f":{day};" in style
        assert f":{night};" in style
        assert day not in rest
    assert "prefers-color-scheme:dark" in style


def test_a_mark_over_an_axis_is_the_best_of_the_others(found):
    picture = figures.accuracy_over(found, "circuit.layers")
    (ax,) = picture.figure.axes
    drawn = sorted(
        value for bar in ax.containers for value in bar.lines[0].get_ydata() if value == value
    )
    beside = "fit.lr" if "each learning rate" in picture.caption else "loss.alpha"
    best: dict = {}
    for one in found.order:
        key = found.value(one, "circuit.layers"), found.value(one, beside)
        best.setdefault(key, one.over_seeds("val.accuracy").mean)
    floor = min(drawn)
    np.testing.assert_allclose(drawn, sorted(mean for mean in best.values() if mean >= floor))


def test_the_heat_map_holds_every_trial_and_marks_the_champion(found):
    said = written(figures.heat_map(found))
    for one in found.order:
        number = f"{one.over_seeds('val.accuracy').mean:.3f}"
        assert any(number in text for text in said)
    chosen = f"{found.champion.over_seeds('val.accuracy').mean:.3f}"
    assert [text.strip("★ []") for text in said if "★" in text] == [chosen]
    assert "learning rate 0.01" in said
    assert len([text for text in said if re.search(r"0\.\d{3}$|0\.\d{3}\]$", text)]) == 7


def test_the_front_holds_what_no_smaller_trial_reaches(tmp_path):
    heights = {1: 0.80, 2: 0.79, 3: 0.85, 4: 0.85}
    found = made_up(
        tmp_path, {"circuit.layers": tuple(heights)}, lambda spec: heights[spec.circuit.layers]
    )
    (ax,) = figures.pareto(found).figure.axes
    front = ax.containers[0].lines[0]
    np.testing.assert_array_equal(front.get_xdata(), [1000, 3000])
    np.testing.assert_allclose(front.get_ydata().astype(float), [0.80, 0.85])


def test_ruined_trials_do_not_squeeze_the_others(tmp_path):
    heights = {0.003: 0.88, 0.01: 0.87, 0.02: 0.875, 0.06: 0.30}
    found = made_up(tmp_path, {"fit.lr": tuple(heights)}, lambda spec: heights[spec.fit.lr])
    picture = figures.accuracy_over(found, "fit.lr")
    assert picture.figure.axes[0].get_ylim()[0] > 0.8
    assert "Dots are all 4 trials; 1 lie below the frame" in picture.caption


def test_an_axis_of_many_values_is_a_scale(tmp_path):
    rates = tuple(round(0.001 * 1.3**step, 6) for step in range(15))
    found = made_up(tmp_path, {"fit.lr": rates}, lambda spec: 0.9 - spec.fit.lr)
    (ax,) = figures.accuracy_over(found, "fit.lr").figure.axes
    assert ax.get_xscale() == "log"
    dots = next(line for line in ax.lines if len(line.get_xdata()) == 15)
    np.testing.assert_allclose(sorted(dots.get_xdata()), rates)
    assert figures.heat_map(found) is None
    assert figures.pareto(found) is None


def test_factors_moved_one_at_a_time_make_no_heat_map(found, tmp_path):
    values = tuple(range(1, 7))
    whole = made_up(tmp_path, {"circuit.layers": values, "fit.epochs": values}, lambda spec: 0.5)
    assert figures.heat_map(whole) is not None
    cross = [
        name
        for name, at in whole.settings.items()
        if at["circuit.layers"] == 1 or at["fit.epochs"] == 1
    ]
    crossed = replace(
        whole,
        settings={name: whole.settings[name] for name in cross},
        order=[one for one in whole.order if one.trial.fingerprint in cross],
    )
    assert figures.heat_map(crossed) is None


def test_a_single_seed_has_no_interval(tmp_path):
    found = made_up(tmp_path, {"circuit.layers": (1, 2)}, lambda spec: 0.6, seeds=(1,))
    for picture in figures.pictures(found):
        assert "nan" not in picture.caption
        figures.png(picture)


def test_confusion_counts_every_test_text(found):
    picture = figures.confusion(found)
    said = written(picture)
    counts = [int(text) for text in said if text.isdigit()]
    assert sum(counts) == len(found.labels["test"])
    right = sum(counts[:: len(CLASSES) + 1]) / sum(counts)
    recorded = found.evaluations[0].summary["metrics"]["test.accuracy"][found.champion.best_seed]
    assert right == pytest.approx(recorded)
    assert {"$dear$", r"安い\x1b[7m"} <= set(said)
    assert "&lt;script&gt;alert…" in said


def test_the_bins_are_those_of_the_calibration_error(found):
    assert BINS == metrics.BINS
    for seed, logits_NC in enumerate(found.logits_SNC):
        bins = calibration_bins(logits_NC, found.labels["test"])
        gaps = bins["count"] * np.abs(bins["accuracy"] - bins["confidence"])
        recorded = found.evaluations[0].summary["metrics"]["test.calibration_error"][seed]
        assert gaps.sum() / bins["count"].sum() == pytest.approx(recorded, abs=1e-6)


def test_the_calibration_error_is_that_of_the_logits(found):
    """A processor's measurement, of one seed, may be older than what has simulated the champion."""
    metrics = {"metrics": {"test.calibration_error": [0.5]}}
    noisy = found.simulated.model_copy(update={"summary": metrics})
    picture = figures.reliability(replace(found, evaluations=[noisy, *found.evaluations]))
    assert picture.caption == figures.reliability(found).caption


def test_wilsons_interval_is_the_one_in_the_books():
    # Agresti and Coull (1998): 0 of 10 and 9 of 10.
    logits_NC = np.array([[2.0, 0.0]] * 20)
    labels_N = np.array([1] * 20)
    low, high = calibration_bins(logits_NC[:10], labels_N[:10])["bounds"][:, 0]
    assert (low, high) == (pytest.approx(0, abs=1e-12), pytest.approx(0.2775, abs=1e-4))
    labels_N[:9] = 0
    low, high = calibration_bins(logits_NC[:10], labels_N[:10])["bounds"][:, 0]
    assert (low, high) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))


def test_without_results_there_is_nothing_to_see(tmp_path):
    early = sweep(tmp_path, left_out=8)
    assert figures.pictures(early.found) == []

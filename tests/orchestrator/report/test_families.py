"""A sweep of several families: what each has, whose the champion is, and how that is told."""

import shutil

import numpy as np
import pytest
from rich.table import Table
from small_sweep import SmallSweep, made_up, sweep

from orchestrator.grid import Grid, specs
from orchestrator.plan import plan
from orchestrator.report import command, figures, page, tables
from orchestrator.report.findings import Findings
from qdllm import families
from qdllm.specs import TrialSpec

AXES = {"family": ("quantum", "tanh"), "angles": ("raw", "minmax"), "fit.lr": (0.01, 0.1)}
HEIGHTS = {"quantum": 0.8, "tanh": 0.9, "linear": 0.95}


def height(spec: TrialSpec) -> float:
    return HEIGHTS[spec.family]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> SmallSweep:
    """Of tanh and quantum trials, the former are the better ones."""
    return made_up(tmp_path_factory.mktemp("mixed"), AXES, height)


@pytest.fixture(scope="module")
def found(mixed) -> Findings:
    return mixed.found


def column(table: Table, heading: str) -> list[str]:
    """A column's cells, without those of references."""
    (one,) = (one for one in table.columns if one.header == heading)
    return [str(cell) for cell in one.cells]


def test_each_trial_has_the_settings_of_its_family(mixed, found):
    assert found.axes == ["family", "angles", "fit.lr"]
    assert [one.spec.family for one in mixed.trials] == ["quantum"] * 4 + ["tanh"] * 2
    assert list(found.settings.values()) == [
        *(
            {"family": "quantum", "angles": angles, "fit.lr": lr}
            for angles in ("raw", "minmax")
            for lr in (0.01, 0.1)
        ),
        {"family": "tanh", "fit.lr": 0.01},
        {"family": "tanh", "fit.lr": 0.1},
    ]
    assert found.sweep.summary["families"] == {
        one.fingerprint: one.spec.family for one in mixed.trials
    }
    assert {one.trial.kind for one in found.order} == {
        families.family(name).kind for name in ("quantum", "tanh")
    }
    assert {type(one.trial.spec) for one in found.order} == {
        families.family(name).spec for name in ("quantum", "tanh")
    }


def test_what_a_family_has_not_is_an_empty_cell(found):
    best, last = found.order[0], found.order[-1]
    assert (found.value(best, "family"), found.value(best, "angles")) == ("tanh", "")
    assert found.value(last, "angles") in ("raw", "minmax")
    table = tables.trials_table(found, "a title", wide=True)
    assert column(table, "family") == ["tanh"] * 2 + ["quantum"] * 4
    assert column(table, "angles")[:2] == ["", ""]
    assert set(column(table, "angles")[2:]) == {"raw", "minmax"}
    assert "" not in column(table, "lr")
    rows = [page._trial(found, rank, one) for rank, one in enumerate(found.order, start=1)]
    place = page._head(found).index("angles")
    assert [row[place] for row in rows[:2]] == ["", ""]
    assert {row[place] for row in rows[2:]} == {"raw", "minmax"}


def test_values_of_an_axis_end_in_that_of_families_without_it(found):
    assert found.values("family") == ["quantum", "tanh"]
    assert found.values("angles") == ["raw", "minmax", ""]
    assert found.values("fit.lr") == [0.01, 0.1]


def test_numbers_stay_in_order_where_a_family_has_none(tmp_path):
    axes = {"family": ("linear", "quantum"), "fit.lr": (0.1, 0.01)}
    assert made_up(tmp_path, axes, height).found.values("fit.lr") == [0.01, 0.1, ""]


def test_the_champion_is_a_quantum_student_unless_the_grid_says_otherwise(found, tmp_path):
    assert found.champion.trial.spec.family == "quantum"
    assert found.best.trial.spec.family == "quantum"
    assert found.order[0].trial.spec.family == "tanh"
    for chosen in (["tanh"], ["quantum", "tanh"]):
        folder = tmp_path / "-".join(chosen)
        other = made_up(folder, AXES, height, champion={"families": chosen}).found
        assert other.champion is other.best is other.order[0]
        assert other.champion.trial.spec.family == "tanh"
        # It is a sweep of its own, with the same trials.
        assert other.sweep.fingerprint != found.sweep.fingerprint
        assert list(other.settings) == list(found.settings)


def test_without_a_quantum_student_any_may_be_champion(tmp_path):
    alone = made_up(tmp_path, {"family": ("tanh",), "fit.lr": (0.01, 0.1)}, height).found
    assert alone.champion is not None
    assert alone.champion is alone.best


def test_where_none_of_its_families_has_finished_there_is_no_champion(tmp_path, capsys):
    """The heads of that sweep are asked for, and not there yet."""
    early = made_up(tmp_path, AXES, height, champion={"families": ["tanh"]})
    for trial in early.trials:
        if trial.kind == "tanh":
            shutil.rmtree(tmp_path / "store" / "tanh" / trial.fingerprint)
    found = early.found
    assert {one.trial.spec.family for one in found.order} == {"quantum"}
    assert found.champion is None
    assert found.evaluations == []
    command.show(found)
    line = "no trial of the families that it may be of has finished, so there is no champion"
    assert line in capsys.readouterr().out
    assert f"<p>N{line[1:]}.</p>" in page.render(found, figures.pictures(found))


def test_one_that_is_better_and_may_not_be_champion_is_told_with_its_family(found):
    names = [row[0] for row in page.standing(found)]
    assert "best by validation (classical head)" in names
    assert f"{found.champion.parameters:,} parameters" in page._lines(found)[1]


def test_pictures_have_a_place_for_those_without_a_setting(found):
    drawn = {picture.name: picture for picture in figures.pictures(found)}
    assert {"accuracy-family", "accuracy-angles", "accuracy-fit.lr"} <= drawn.keys()
    (ax,) = drawn["accuracy-angles"].figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["raw", "minmax", "—"]
    for picture in drawn.values():
        assert "nan" not in picture.caption
        figures.png(picture)


def test_an_axis_of_many_numbers_has_such_a_place_too(tmp_path):
    rates = tuple(round(0.001 * 1.3**step, 6) for step in range(15))
    one = made_up(tmp_path, {"family": ("quantum", "linear"), "fit.lr": rates}, height)
    (ax,) = figures.accuracy_over(one.found, "fit.lr").figure.axes
    assert ax.get_xticklabels()[-1].get_text() == "—"
    dots = next(line for line in ax.lines if len(line.get_xdata()) == 16)
    np.testing.assert_array_equal(sorted(dots.get_xdata()), range(16))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> SmallSweep:
    """All three families, really trained."""
    axes = {"family": ("quantum", "tanh", "linear"), "fit.lr": (0.01, 0.1)}
    champion = {"families": ["tanh"]}
    return sweep(tmp_path_factory.mktemp("trained"), axes, left_out=0, champion=champion)


def test_every_family_is_trained_told_and_shown(trained, tmp_path, capsys):
    found = trained.found
    assert trained.references == ()
    assert [one.trial.spec.family for one in found._in_order] == [
        *["quantum"] * 2,
        *["tanh"] * 2,
        "linear",
    ]
    # What only some families have, and all of those alike, is no axis.
    assert found.axes == ["family", "fit.lr"]
    assert found.champion.trial.spec.family == "tanh"
    assert found.evaluations == []
    assert found.logits_SNC is None
    command.show(found)
    printed = capsys.readouterr().out
    assert "± is the 95 % interval of the mean over 3 seeds" in printed
    row = next(line for line in printed.splitlines() if " linear " in line)
    # Rank, family, parameters, two accuracies, agreement with the others' teacher, s/epoch.
    assert len(row.split()) == 7
    text = page.write(found, tmp_path).read_text(encoding="utf-8")
    assert "classical head" in text
    key = {name: said for name, _, said in page._key(found)}
    assert key["its parameters"] == "classical head"
    costs = {row[0]: row[1] for row in page._costs(found)}
    assert {name: costs[name] for name in ("students", "classical heads")} == {
        "students": "2",
        "classical heads": "2",
    }
    assert costs["logistic regressions"] == "1"


def test_the_grid_on_the_page_makes_the_same_sweep_again(trained):
    again = Grid.parse(trained.record.spec)
    made = plan(specs(again), trained.dataset, trained.store, champion=again.champion.families)
    assert made.name == trained.plan.name
    default = again.model_copy(update={"champion": Grid(name="other").champion})
    other = plan(specs(default), trained.dataset, trained.store, champion=None)
    assert other.name != made.name
    assert "champion:" in page.render(trained.found, [])

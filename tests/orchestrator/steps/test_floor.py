"""A teacher earns its students by what is known of it, not by what was counted."""

import re

import pytest

from orchestrator.steps.sources import shortfall


@pytest.mark.parametrize(
    ("accuracy", "rows", "epochs", "floor"),
    [
        (0.95, 240, 2, 0.35),  # the demo's
        (0.78125, 240, 2, 0.6),
        (0.875, 24, 2, 0.6),
        (1.0, 12, 3, 0.6),
        (0.0, 5, 1, 0.0),
    ],
)
def test_what_is_beyond_doubt_is_enough(accuracy, rows, epochs, floor):
    assert shortfall(accuracy, rows, epochs, floor) == ""


def test_a_teacher_that_only_looked_good_is_told_to_look_at_more_rows():
    """0.78 on 32 rows was 0.50 in test, with a floor of 0.6."""
    told = shortfall(25 / 32, 32, 2, 0.6)
    said = re.search(r"be anywhere from (0\.\d+) to (0\.\d+), which begins below the floor", told)
    lowest, highest = map(float, said.groups())
    assert lowest < 0.6 < 25 / 32 < highest
    assert told.startswith(
        "the teacher reaches 0.7812 in validation, on 32 rows, in the best of 2 epochs: "
    )
    assert (
        "validation a larger share of them (--set task.split=[…]), or lower teacher_floor" in told
    )
    assert "teacher.lr" not in told


def test_a_teacher_below_the_floor_is_told_to_be_trained_otherwise():
    told = shortfall(0.55, 2000, 1, 0.6)
    assert told.startswith("the teacher reaches 0.5500 in validation, on 2,000 rows: it may truly")
    assert "train it longer (--set teacher.epochs=…), change its learning rate" in told
    assert "split" not in told


def test_the_luckiest_of_many_epochs_must_be_better():
    enough = [shortfall(0.7, 100, epochs, 0.6) == "" for epochs in (1, 100)]
    assert enough == [True, False]

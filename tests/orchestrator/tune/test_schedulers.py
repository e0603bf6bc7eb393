"""Tune's schedulers, as a grid asks for them, on curves made up by hand."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
from ray.tune.schedulers import TrialScheduler

from orchestrator.grid import Grid
from orchestrator.grid.space import Search
from orchestrator.tune.tuner import scheduler_of

EPOCHS = 4
SPACE = {"fit.lr": {"low": 0.001, "high": 0.1}}


class Trial(NamedTuple):
    """All that a scheduler looks at."""

    trial_id: str


def stopped(scheduler: TrialScheduler, metric: str, *levels: float) -> dict[int, int]:
    """Which of the curves, each at its level throughout, is ended, and after how many epochs."""
    controller = SimpleNamespace(get_live_trials=list)
    trials = [Trial(str(number)) for number in range(len(levels))]
    found: dict[int, int] = {}
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    for epoch in range(1, EPOCHS + 1):
        for number, level in enumerate(levels):
            if number not in found:
                result = {"epoch": epoch, metric: level}
                told = scheduler.on_trial_result(controller, trials[number], result)
                if told == TrialScheduler.STOP:
                    found[number] = epoch
    return found


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_trial_that_is_behind_in_validation_is_stopped_after_two_epochs(name):
    levels = [0.9] * 6 + [0.5]
    assert stopped(scheduler_of(Grid(name="g", scheduler=name)), "val.accuracy", *levels) == {6: 2}


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_search_is_judged_by_its_own_objective(name):
    search = Search(space=SPACE, objectives={"val.ece.mean": "minimize"})
    scheduler = scheduler_of(Grid(name="g", scheduler=name, search=search))
    assert stopped(scheduler, "val.ece", *[0.1] * 6, 0.4) == {6: 2}


def test_without_one_no_trial_is_stopped():
    assert scheduler_of(Grid(name="g")) is None

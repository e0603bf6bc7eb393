"""Tune's schedulers, as a grid asks for them, on curves made up by hand."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import readings
from ray.tune.schedulers import TrialScheduler

from jobs import features, tokens
from jobs.inputs import gather
from jobs.store import Store
from orchestrator.grid import Grid
from orchestrator.grid.space import Search
from orchestrator.plan import plan
from orchestrator.tune import tuner
from orchestrator.tune.schedulers import scheduler_of
from qdllm import families
from qdllm.texts import data

EPOCHS = 4
ENCODER = {"model": readings.tiny(), "max_length": 16, "hidden_layers": [1]}
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


@pytest.mark.parametrize("name", ["asha", "median"])
def test_what_ends_without_an_epoch_puts_no_scheduler_out(name):
    """A trial that failed, or that another sweep has published meanwhile."""
    scheduler = scheduler_of(Grid(name="g", scheduler=name))
    controller = SimpleNamespace(get_live_trials=list)
    ended, other = Trial("ended"), Trial("other")
    for trial in (ended, other):
        scheduler.on_trial_add(controller, trial)
    scheduler.on_trial_complete(controller, ended, {"failed": "it diverged"})
    told = {"epoch": 2, "val.accuracy": 0.9}
    assert scheduler.on_trial_result(controller, other, told) == TrialScheduler.CONTINUE


def test_without_one_no_trial_is_stopped():
    assert scheduler_of(Grid(name="g")) is None


@pytest.mark.parametrize("family", ["tanh", "hard"])
def test_what_tells_its_epochs_when_it_is_trained_tells_no_scheduler(family, tmp_path, monkeypatch):
    """There is nothing left to save then."""
    task = readings.task(tmp_path)
    own = families.family(family)
    settings = readings.settings(own) | {"task": task.model_dump(), "seeds": [0]}
    if not own.long:
        settings |= {"fit": {"epochs": 2}, "teacher": {"model": "none"}, "loss": {"alpha": 0}}
    spec, dataset = own.spec.parse(settings | {"encoder": ENCODER}), data.load(task)
    store, told = Store(str(tmp_path / "store")), []
    made = plan([spec], dataset, store)
    (trial,) = made.sweep.asked
    for job in made.sources:
        if job.fingerprint in trial.made_from.values():
            {"features": features, "tokens": tokens}[job.kind].run(job, dataset, store)
    arrays = {trial.sources: gather(store, trial.made_from, dataset)}
    monkeypatch.setattr(tuner.tune, "report", told.append)
    monkeypatch.setattr(tuner.ray, "get", lambda here: here)
    tuner._train({}, lambda config: trial, arrays, store.uri, watched=True)
    assert [one["epoch"] for one in told] == ([] if own.long else [1])
    assert store.has(trial.kind, trial.fingerprint)

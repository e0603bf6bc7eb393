import json
import re
import time

import pytest

import bench.planning
from bench import sweep
from bench.clocks import Clocks, Recording, Span
from bench.planning import planning
from bench.sweep import Sizes
from bench.timeline import Timeline, Trial
from jobs.store import Store
from orchestrator.grid import Grid, specs
from orchestrator.plan import plan
from qdllm.texts import data


def test_the_parts_make_up_the_overhead():
    """Two places; a second for each way, two for publishing, three for the driver."""
    trials = [
        Trial(began, ended, ended + 2, ended + 3, ended + 6)
        for began, ended in ((0, 10), (5, 15), (17, 20), (22, 32), (27, 40))
    ]
    timeline = Timeline(trials, places=2)
    assert timeline.wall == 40
    assert timeline.ideal == 23
    parts = {name: share * 2 * 23 for name, share in timeline.parts().items()}
    assert parts == pytest.approx(
        {
            "places that start after the first": 5,
            "publishing": 3 * 2,
            "the way to the driver": 3 * 1,
            "the driver's store, and its word to MLflow": 3 * 3,
            "the way to the next start": 3 * 1,
            "places that are empty at the end": 8,
        }
    )
    assert sum(timeline.parts().values()) == pytest.approx(40 / 23 - 1)


def test_a_trial_is_read_from_its_record_its_file_and_the_drivers_span(tmp_path):
    store = Store(str(tmp_path))
    record = store.publish(
        "students", "a", tensors={}, spec={}, made_from={}, summary={}, seconds=7.0
    )
    heard = time.time()
    spans = [Span("plan", 0, 0), Span("ended", heard, heard + 1, "a")]
    (trial,) = Timeline.read(store, ["a"], spans, places=1).trials
    assert trial.trained - trial.began == pytest.approx(7)
    assert list(trial) == sorted(trial)
    assert trial.trained == record.created
    assert trial.told == heard + 1


def test_clocks_tell_who_computed_and_when(tmp_path):
    clocks = Clocks()
    with clocks.span("work", "a"):
        until = time.process_time() + 1.5
        while time.process_time() < until:
            pass
    clocks.write(tmp_path / "clocks.json")
    found = Recording(tmp_path / "clocks.json")
    span = found.span("work")
    assert span.trial == "a"
    assert found.cpu(span.began, span.ended)["driver"] == pytest.approx(1.5, abs=0.3)
    assert found.cpu(span.ended + 5, span.ended + 9)["driver"] == 0
    assert found.started("driver") < span.began


def test_others_are_whoever_the_command_did_not_start(tmp_path):
    file = tmp_path / "clocks.json"
    processes = [
        {"role": "driver", "times": [0, 10], "cpu": [0, 2]},
        {"role": "trials", "times": [0, 10], "cpu": [0, 4]},
        {"role": "trials", "times": [5, 10], "cpu": [0, 5]},
    ]
    machine = {"times": [0, 10], "cpu": [100, 120]}
    file.write_text(json.dumps({"spans": [], "processes": processes, "machine": machine}))
    used = Recording(file).cpu(5, 10)
    assert used == {"driver": 1, "trials": 7, "others": 2}


@pytest.fixture
def once(monkeypatch) -> None:
    monkeypatch.setattr(bench.planning, "REPEATS", 1)


@pytest.mark.slow
def test_the_plan_is_timed_before_and_after_all_is_held(once, tmp_path):
    definition = Grid(name="tiny", axes={"fit.lr": [0.01, 0.02], "circuit.layers": [1, 2]})
    results = planning(tmp_path, definition)
    assert list(results) == ["nothing held", "all trials held"]
    for seconds in results.values():
        assert 0 < seconds.specs + seconds.plan < seconds.command
    every = specs(definition)
    planned = plan(every, data.load(every[0].task), Store(str(tmp_path / "store")))
    assert all(trial.held for trial in planned.sweep.trials)


@pytest.mark.slow
def test_everything_is_measured_on_a_real_sweep(once, tmp_path, capsys):
    sweep.run(Sizes(short=6, long=4, long_epochs=1, planned=100), tmp_path)
    output = capsys.readouterr().out
    for title in ("short: 6 trials", "long: 4 trials", "100 trials"):
        assert title in output
    for name in ("short", "long"):
        part = output.split(f"{name}: ")[2].split("load average")[0]
        overhead = float(re.search(r"overhead +│ +(\S+)%", part)[1])
        shares = [float(share) for share in re.findall(r"│   \S.+│ +(-?[\d.]+)%", part)][:6]
        assert sum(shares) == pytest.approx(overhead, abs=0.4)
        assert float(re.search(r"trials a second +│ +(\S+) ", part)[1]) > 0
        beginning = output.split(f"{name}: ")[1].split("load average")[0]
        steps = [float(each) for each in re.findall(r"[│┃] +(-?[\d.]+) [│┃]", beginning)]
        assert sum(steps[:7]) == pytest.approx(steps[7], abs=0.4)
    store = Store(str(tmp_path / "store"))
    assert len(store.fingerprints("students")) >= 10

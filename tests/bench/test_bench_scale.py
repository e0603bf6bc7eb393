"""The parts of `bench.scale` by themselves, and all of it on little."""

import os
import re
from unittest.mock import patch

import pytest

from bench import loopback, scale, storing
from bench.asked import Asked, divided
from bench.growth import Growth, Look, summary
from bench.loopback import Request, counted
from bench.tracked import trial
from orchestrator.tracking import CURVES
from orchestrator.tracking.runs import summarised

LOG = """
 * Running on http://127.0.0.1:5000
127.0.0.1 - - [20/Nov/2026 17:18:25] "PUT /scale/students/a/1.safetensors HTTP/1.1" 200 -
127.0.0.1 - - [20/Nov/2026 17:18:25] "PUT /scale/students/a/record.json HTTP/1.1" 200 -
127.0.0.1 - - [20/Nov/2026 17:18:26] "GET /scale?list-type=2&prefix=students%2F HTTP/1.1" 200 -
127.0.0.1 - - [20/Nov/2026 17:18:26] "GET /scale?list-type=2 HTTP/1.1" 200 -
127.0.0.1 - - [20/Nov/2026 17:18:27] "POST /scale?delete HTTP/1.1" 200 -
"""


def test_requests_are_read_from_a_servers_log():
    assert counted(LOG) == {
        Request("PUT", "students", "a"): 2,
        Request("LIST", "students"): 1,
        Request("LIST", ""): 1,
        Request("POST", ""): 1,
    }


def test_a_trials_own_requests_are_told_from_the_sweeps():
    """Three trials; the sweep's end reads the best one twice more."""
    found = counted(LOG.replace("/a/", "/best/"))
    for name in ("best", "b", "c"):
        found[Request("GET", "students", name)] += 5
    found[Request("GET", "students", "best")] += 2
    found[Request("GET", "features", "x")] += 4
    for name in ("b", "c"):
        found[Request("PUT", "students", name)] += 2
    assert divided(found) == {
        "GET": Asked(5, 2 + 4),
        "LIST": Asked(0, 2),
        "POST": Asked(0, 1),
        "PUT": Asked(2, 0),
    }


def test_growth_is_what_the_later_trials_left_behind():
    """A hundred trials, of which a tenth end in each of ten seconds."""
    ends = [index / 10 for index in range(101)]
    looks = [Look(second, {"driver": 1000 + 90 * second, "GCS": 7}) for second in range(11)]
    found = summary(looks, ends, lambda began, ended: ended**2 - began**2)
    assert found.first == pytest.approx((10, 0.1))
    assert found.last == pytest.approx((10, 10**2 / 10 - 9**2 / 10))
    assert found.growth["driver"] == Growth(1090, 1900, pytest.approx(810 / 91))
    assert found.growth["GCS"].per_trial == 0
    assert found.growth["raylet"].peak == 0


def test_a_made_up_trial_is_one_that_the_writer_can_write():
    result, curves = trial(3)
    shape = len(result.trial.spec.seeds), result.trial.spec.fit.epochs
    assert {name: curve_SE.shape for name, curve_SE in curves.items()} == dict.fromkeys(
        CURVES, shape
    )
    assert 0 < summarised(result.record)["val.accuracy.mean"] < 1


@pytest.mark.slow
def test_a_process_of_its_own_tells_the_memory_of_its_work_alone(tmp_path):
    uri, size = str(tmp_path / "store"), 4 * 20 * 200_000
    for cost in (storing.publish(uri, "rows", 200_000, 20), storing.load(uri, "rows")):
        assert size <= cost.peak < 4 * size
        assert cost.seconds > 0


@pytest.mark.slow
def test_everything_is_measured(tmp_path, capsys):
    assert loopback.installed()
    with patch.dict(os.environ):  # MLflow's settings stay there
        scale.run(scale.QUICK, tmp_path)
    output = capsys.readouterr().out
    for title in (
        "50 trials that do nothing",
        "file: 10,000 rows of soft labels",
        "S3: 10,000 rows of soft labels",
        "4 processes",
        "MLflow: each of 10 trials",
        "S3: requests of a sweep",
        "S3: requests of the same command again",
        "S3: 50 students listed",
    ):
        assert title in output
    trials, again = (part.split("load average")[0] for part in output.split("S3: requests of")[1:3])
    assert re.search(r"│ 10 +│.*\n│ 50 +│", output), "a copied trial is one that a sweep finds"
    # Data and record of each trial; nothing is written anew when all are held.
    assert re.search(r"PUT +│ +2 │", trials)
    assert re.search(r"PUT +│ +0 │", again)
    shared, loaded = (
        float(re.search(rf"{way} +│ +\S+ │ +(\S+) │", output)[1])
        for way in ("from Ray's object store", "each from disk")
    )
    assert shared < loaded

"""Sweeps that are killed, cut off and interrupted, and then run again: the real command.

The moments are random; QDLLM_SEED repeats them. QDLLM_INTERRUPTS says how often a teacher is
interrupted, then on a crowded machine, which nothing else in the run would get far on.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import driven
import obstore
import obstore.store
import pytest
from conftest import BUCKET, KEYS, free_port
from driven import (
    ALONE,
    BASE,
    KINDS,
    ONE_BY_ONE,
    RATES,
    REFERENCES,
    TRIALS,
    Driver,
    Sweep,
    alive,
    planned,
    table,
)
from gate import Gate
from mlflow import MlflowClient
from waiting import until

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("QDLLM_SEED", random.randrange(10**6)))
INTERRUPTS = int(os.environ.get("QDLLM_INTERRUPTS", 1))
"""How often a teacher is interrupted."""
LOAD = 25 if "QDLLM_INTERRUPTS" in os.environ else 0
"""Processes that keep the machine busy meanwhile."""
SPACE = f"search: {{space: {{circuit.layers: [1, 2], fit.lr: [{RATES}]}}, trials: 6}}\n"


@pytest.fixture(scope="module")
def moment() -> random.Random:
    print(f"QDLLM_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Sweep, str]:
    return driven.undisturbed(tmp_path_factory)


@pytest.fixture(scope="module")
def warm(undisturbed, tmp_path_factory) -> Sweep:
    """The same before its first trial: with features, teacher, references, and an empty MLflow."""
    sweep = undisturbed[0].copy(tmp_path_factory.mktemp("warm") / "a home")
    for kind in ("students", "evaluations", "sweeps"):
        shutil.rmtree(sweep.home / "store" / kind)
    for place in ("artifacts", "reports", "logs"):
        shutil.rmtree(sweep.home / place)
    for path in sweep.home.glob("mlflow.db*"):
        path.unlink()
    MlflowClient(f"sqlite:///{sweep.home / 'mlflow.db'}").search_experiments()
    return sweep


@pytest.fixture(scope="module")
def battered(warm, tmp_path_factory) -> Sweep:
    """The sweep that all the following happens to, one thing after the other."""
    sweep = warm.copy(tmp_path_factory.mktemp("battered") / "a home")
    for kind in REFERENCES:
        shutil.rmtree(sweep.home / "store" / kind)
    return sweep


@pytest.fixture(autouse=True)
def nothing_is_done_twice(request) -> None:
    """Whatever a test does to the battered sweep, the trials that it had keep their records."""
    if "battered" not in request.fixturenames:
        yield
        return
    sweep = request.getfixturevalue("battered")
    before = sweep.created()
    yield
    after = sweep.created()
    assert {name: after[name] for name in before} == before


def test_a_killed_driver_leaves_nothing_behind_and_its_sweep_is_free(battered, moment):
    driver = battered.start()
    driver.wait_for(lambda: driver.results_beyond({}))
    for worker in (workers := driver.training()):
        worker.suspend()  # so that the sweep does not end while another one is refused
    assert held(battered)
    refused = battered.run(status=2)
    assert f"held by process {driver.process.pid} on " in refused
    for worker in workers:
        worker.resume()
    pause(moment, 0.5)
    kill(driver)


@pytest.mark.parametrize(
    ("name", "place"), [("gcs_server", "Ray's head"), ("raylet", "Ray on this machine")]
)
def test_without_ray_it_ends_and_says_so(battered, moment, name, place):
    driver = battered.start(*ONE_BY_ONE)
    driver.wait_for(driver.training)
    pause(moment, 0.5)
    (part,) = driver.children(name)
    part.kill()
    output = driver.ended(1)
    assert output.endswith(
        f"error: {place} is gone; run the same command again to go on from here\n"
    )


def test_a_second_interrupt_lets_it_put_nothing_away(battered, moment):
    driver = battered.start(*ONE_BY_ONE)
    driver.wait_for(driver.training)
    pause(moment, 0.5)
    driver.interrupt()
    time.sleep(0.1)
    driver.interrupt()
    driver.ended(130)
    assert held(battered), "it was not to give its lock back"


def test_an_interrupt_puts_everything_away_and_says_how_to_go_on(battered, moment):
    driver = battered.start()
    driver.wait_for(driver.training)
    pause(moment, 0.5)
    driver.interrupt()
    output = driver.ended(130)
    assert output.endswith("interrupted; run the same command again to go on from here\n")
    statuses = {name: status for (_, name), (status, _) in battered.runs().items()}
    assert statuses.pop("sweep") == "KILLED"
    assert set(statuses.values()) <= {"FINISHED"}
    assert not held(battered)


def test_after_all_that_it_ends_as_if_nothing_had_been(battered, undisturbed, moment):
    """And one of its workers is killed on the way."""
    driver = battered.start()
    (worker, *_) = driver.wait_for(driver.training)
    pause(moment, 0.5)
    worker.kill()
    output = driver.ended(0)
    assert planned(output)[1] > 0
    sweep, expected = undisturbed
    assert table(output) == table(expected)
    for kind in ("students", *REFERENCES, "evaluations"):
        assert battered.results(kind) == sweep.results(kind) != {}, kind
    assert set(battered.runs()) == set(sweep.runs())
    assert set(battered.runs().values()) == {("FINISHED", "")}


@pytest.mark.parametrize("number", range(INTERRUPTS))
def test_an_interrupt_of_a_teacher_is_told(warm, moment, tmp_path, number):
    """Ray's own threads may still be in its client when everything ends."""
    sweep = warm.copy(tmp_path / "a home")
    for kind in ("soft-labels", "adapters"):
        shutil.rmtree(sweep.home / "store" / kind)
    driver = sweep.start("--set", "teacher.epochs=500")
    driver.wait_for(
        lambda: [one for one in sweep.store.files() if one.path.startswith("checkpoints/")]
    )
    idlers = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOAD)]
    try:
        pause(moment, 3)
        driver.interrupt()
        output = driver.ended(130)
    finally:
        for idler in idlers:
            idler.kill()
            idler.wait()
    assert output.endswith("interrupted; run the same command again to go on from here\n")
    assert {status for status, _ in sweep.runs().values()} == {"KILLED"}


def pause(moment: random.Random, longest: float) -> None:
    time.sleep(moment.uniform(0, longest))


def held(sweep: Sweep) -> bool:
    """Whether a driver, alive or not, has its lock."""
    return any(file.path.startswith("locks/") for file in sweep.store.files())


def kill(driver: Driver) -> None:
    """Kill it with -9, and see all that it had started end by itself."""
    # Ray's agents want to tell its head first, for a minute.
    processes = [one for one in driver.children() if not one.name().endswith("Agent")]
    driver.process.kill()
    driver.process.communicate()
    until(lambda: not alive(processes))


def test_a_search_that_was_killed_goes_on_and_can_be_made_longer(warm, moment, tmp_path):
    """Its space has twelve points, which is where it ends by itself."""
    (tmp_path / "seek.yaml").write_text(BASE + SPACE)
    search = replace(warm.copy(tmp_path / "a home"), grid=tmp_path / "seek.yaml")
    driver = search.start()
    driver.wait_for(lambda: driver.results_beyond({}))
    pause(moment, 1)
    kill(driver)
    before = search.created()
    output = search.here(*ALONE)
    assert planned(output) == (len(before), 6 - len(before))
    six = search.created()
    assert len(six) == len(table(output)) - 3 == 6
    assert before.items() <= six.items()
    output = search.here("--trials", "20", *ALONE)
    assert planned(output) == (6, 14)
    assert len(search.created()) == 12
    assert six.items() <= search.created().items()
    assert {name for _, name in search.runs()} >= search.created().keys()
    assert set(search.runs().values()) == {("FINISHED", "")}


def test_a_cluster_that_is_not_there_is_refused(warm, tmp_path):
    sweep = warm.copy(tmp_path / "a home")
    for address in ("nonsense", "ray://127.0.0.1:10001", f"127.0.0.1:{free_port()}"):
        output = sweep.here(status=2, RAY_ADDRESS=address)
        assert f"error: no cluster can be used at {address} (" in output


def test_added_values_run_alone_and_a_trial_that_diverges_runs_once(undisturbed, tmp_path):
    sweep = undisturbed[0].copy(tmp_path / "a home")
    before = sweep.created()
    output = sweep.here("--set", f"fit.lr=[{RATES}, 0.1, 1.0e+38]", *ALONE, status=1)
    assert planned(output) == (TRIALS, 4)
    assert re.search(r"\naxes\.fit\.lr: \[0\.001, .* → \[0\.001, .*1e\+38\]\n", output)
    after = sweep.created()
    assert len(after) == TRIALS + 2
    assert before.items() <= after.items()
    failed = re.findall(r"trial ([0-9a-f]{16}) \(.*learning rate 1e\+38\): (.*)", output)
    assert len(failed) == 2
    runs = sweep.runs()
    for name, reason in failed:
        assert "diverged in epoch 1" in reason
        (told,) = [run for (_, trial), run in runs.items() if trial == name]
        assert told == ("FAILED", reason)


def test_a_trial_without_memory_is_tried_again_and_then_failed(undisturbed, tmp_path):
    """Every worker is too large for a node that counts as full from the beginning."""
    sweep = undisturbed[0].copy(tmp_path / "a home")
    evaluated = {
        sweep.store.record("evaluations", one).made_from["student"]
        for one in sweep.created("evaluations")
    }
    name = min(sweep.created().keys() - evaluated)
    shutil.rmtree(sweep.home / "store" / "students" / name)
    output = sweep.run(
        status=1, RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="100"
    )
    assert re.search(rf"trial {name} \(.*\): out of memory, 3 times; give trials more", output)
    assert planned(sweep.here("--dry-run")) == (TRIALS - 1, 1)


def test_a_store_that_is_away_for_a_while_costs_nothing(warm, undisturbed, s3, moment, tmp_path):
    """A bucket holds all: the features, the soft labels, and what is trained meanwhile."""
    gate = Gate(int(s3.rpartition(":")[2]))
    bucket = f"s3://{BUCKET}/{tmp_path.name}/a store"
    sweep = replace(warm, home=tmp_path / "a home", store_uri=bucket)
    there = obstore.store.from_url(sweep.store.uri, client_options={"allow_http": True})
    for file in warm.store.files():
        obstore.put(there, file.path, warm.home / "store" / file.path)
    settings = ("--set", "fit.lr=[0.001, 0.003, 0.01]")
    driver = sweep.start(*settings, AWS_ENDPOINT_URL=f"http://127.0.0.1:{gate.port}")
    driver.wait_for(lambda: driver.results_beyond({}))
    pause(moment, 1)
    gate.shut()
    time.sleep(25)  # a request is given up after 15
    gate.open()
    output = driver.ended(0)
    gate.close()
    assert planned(output) == (0, 6)
    assert len(sweep.results()) == 6
    assert sweep.results().items() <= undisturbed[0].results().items()
    assert {file.path.partition("/")[0] for file in sweep.store.files()} == KINDS
    assert not (sweep.home / "store").exists()
    written = [path.read_bytes() for path in sweep.home.rglob("*") if path.is_file()]
    for secret in KEYS.values():
        assert not any(secret.encode() in one for one in written)


def test_what_a_scheduler_stops_is_told_and_left_alone(warm, tmp_path):
    sweep = warm.copy(tmp_path / "a home")
    settings = ("--set", "fit.epochs=30", "--set", f"fit.lr=[{RATES}]")
    scheduled = (*settings, "--set", "scheduler=asha", *ONE_BY_ONE)
    failing = ("--set", f"fit.lr=[{RATES}, 1.0e+38]")
    output = sweep.run(*scheduled, *failing, status=1)
    assert len(re.findall(r"trial \w+ \(.*\): training diverged", output)) == 2
    finished, stopped = sweep.created(), sweep.created("stopped")
    assert len(finished) + len(stopped) == TRIALS
    told = re.findall(r"trial (\w+) \(.*\): stopped by asha after epoch \d+\n", output)
    assert set(told) == stopped.keys() > set()
    again = sweep.here(*scheduled)
    assert planned(again) == (TRIALS, 0)
    assert (sweep.created(), sweep.created("stopped")) == (finished, stopped)
    assert table(again) == table(output)
    assert planned(sweep.here(*settings, *ALONE)) == (len(finished), len(stopped))
    assert len(sweep.created()) == TRIALS
    assert {status for status, _ in sweep.runs().values()} == {"FINISHED", "FAILED"}


def test_another_grid_of_the_same_name_says_what_is_other(undisturbed):
    sweep = undisturbed[0]
    output = sweep.here("--set", "fit.epochs=7", "--set", "loss.alpha=0.5", "--dry-run")
    (last,) = sweep.store.fingerprints("sweeps")
    lines = output.splitlines()
    assert lines[-3] == f"another sweep than {last}, the last of tiny-notes:"
    assert set(lines[-2:]) == {"base.fit.epochs: 400 → 7", "base.loss.alpha: not set → 0.5"}
    assert "another sweep" not in sweep.here("--dry-run")

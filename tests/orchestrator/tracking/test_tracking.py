"""What MLflow holds after a sweep, whatever happens while it is written."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from checkout import ROOT
from conftest import KEYS, free_port
from mlflow import MlflowClient
from servers import kill, serving
from sweep_records import CREATED, contents, database, trial
from waiting import DEADLINE

from orchestrator import tracking
from orchestrator.tracking import Tracker
from orchestrator.tracking.process import Away, Refused
from orchestrator.tracking.runs import Runs
from qdllm.errors import ConfigError, TrackingError

EXPERIMENT, SWEEP = "grid-task", "5" * 16
SHARED = {"fit.epochs": "3"}


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """An MLflow database without anything in it."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def uri(template, tmp_path) -> str:
    return database(template, tmp_path)


def opened(uri: str, folder: Path) -> Runs:
    return Runs(uri, folder / "artifacts", EXPERIMENT, SWEEP, SHARED)


@contextmanager
def tracker(uri: str, folder: Path):
    tracker = Tracker(uri, folder / "artifacts", EXPERIMENT, SWEEP, SHARED)
    try:
        tracker.ready()
        yield tracker
    finally:
        tracker.close(None)


def write(runs: Runs, number: int, **size: int) -> None:
    """One trial, as a tracker writes it."""
    result, axes, tensors = trial(number, **size)
    runs.write_trial(result, axes, {name: tensors[name] for name in tracking.CURVES})


def write_all(runs: Runs, trials: int = 2) -> None:
    """A whole sweep, in which the last trial failed."""
    for number in range(trials):
        write(runs, number, seeds=1)
    runs.write_failure("f" * 16, {"circuit.layers": 99}, "TrialError: diverged", CREATED)
    runs.finish({"champion.val.accuracy": 0.75}, "FINISHED", CREATED + 100)


def test_a_trial_tells_everything_that_a_user_sorts_by(uri, tmp_path):
    result, axes, tensors = trial(1)
    opened(uri, tmp_path).write_trial(result, axes, tensors)
    held = contents(uri)
    run = held[result.trial.fingerprint]
    assert run["parent"] == "sweep"
    assert run["name"] == "layers=2"
    assert run["params"] == {"circuit.layers": "2"}
    assert held["sweep"]["params"] == SHARED
    assert run["times"] == ((CREATED + 1 - 1.5) * 1000, (CREATED + 1) * 1000)
    assert run["files"] == ["spec.json"]
    values = {metric: points[0][2] for metric, points in run["metrics"].items()}
    for split in ("val", "test"):
        for measure in ("accuracy", "precision", "recall", "f1", "agreement", "calibration_error"):
            found = result.over_seeds(f"{split}.{measure}")
            assert values[f"{split}.{measure}.mean"] == pytest.approx(found.mean)
            assert values[f"{split}.{measure}.std"] == pytest.approx(found.std)
            assert values[f"{split}.{measure}.ci95"] == pytest.approx(found.ci95)
    accuracy = result.over_seeds("test.accuracy").mean
    assert values["seeds"] == 2
    assert values["parameters"] == 8580
    assert values["accuracy_per_parameter"] == pytest.approx(accuracy / 8580)
    assert values["seconds_per_epoch"] == 0.25
    assert values["accuracy_per_t_kd"] == pytest.approx(accuracy / 0.25)
    assert values["inference_us"] == 12.5
    assert len(values) <= 60


def test_what_cannot_be_seen_reaches_mlflow_as_escapes(uri, tmp_path):
    axes = {"teacher.model": "a\x1b[31m\nmodel"}
    opened(uri, tmp_path).write_failure("f" * 16, axes, "one\x07\n\u202etwo", CREATED)
    run = contents(uri)["f" * 16]
    assert run["name"] == r"model=a\x1b[31m\nmodel"
    assert run["params"] == {"teacher.model": r"a\x1b[31m\nmodel"}
    assert run["tags"]["qdllm.failure"] == r"one\x07\n\u202etwo"


def test_a_seed_has_its_curves_and_its_final_values(uri, tmp_path):
    result, axes, tensors = trial(1, epochs=500)  # more points than one call takes
    curves = {name: tensors[name] for name in tracking.CURVES}
    opened(uri, tmp_path).write_trial(result, axes, curves)
    seed = contents(uri)[f"{result.trial.fingerprint}/1"]
    assert seed["parent"] == result.trial.fingerprint
    assert seed["params"] == {"seed": "1"}
    assert seed["status"] == "FINISHED"
    end = (CREATED + 1) * 1000
    for metric, over_seeds in result.record.summary["metrics"].items():
        points = seed["metrics"][metric]
        if metric in curves:
            assert points == [(step, end, value) for step, value in enumerate(curves[metric][1], 1)]
        else:
            assert points == [(1, end, over_seeds[1])]


def test_one_seed_has_no_interval(uri, tmp_path):
    result, axes, tensors = trial(0, seeds=1)
    opened(uri, tmp_path).write_trial(result, axes, tensors)
    metrics = contents(uri)[result.trial.fingerprint]["metrics"]
    assert "val.accuracy.mean" in metrics
    assert "val.accuracy.ci95" not in metrics


def test_the_spec_is_an_artifact(uri, tmp_path):
    result, axes, tensors = trial(0)
    opened(uri, tmp_path).write_trial(result, axes, tensors)
    (spec,) = (tmp_path / "artifacts").rglob("spec.json")
    assert json.loads(spec.read_text()) == result.record.spec


def test_writing_twice_changes_nothing(uri, tmp_path):
    write_all(opened(uri, tmp_path))
    before = contents(uri)
    write_all(opened(uri, tmp_path))
    assert contents(uri) == before
    assert {run["status"] for run in before.values()} == {"FINISHED", "FAILED"}


def test_what_changes_no_result_may_change_before_a_sweep_ends(uri, tmp_path):
    """A teacher that ran out of memory is asked to compute again, of texts that lie elsewhere."""
    result, axes, tensors = trial(0)
    name, before = result.trial.fingerprint, {"teacher.gradient_checkpointing": "False"}
    runs = Runs(uri, tmp_path / "artifacts", EXPERIMENT, SWEEP, SHARED | before)
    runs.write_failure(name, axes | {"teacher.model": "here"}, "out of memory", CREATED)
    runs.finish({}, "FAILED", CREATED)
    after = {"teacher.gradient_checkpointing": "True", "teacher.offload": "True"}
    again = Runs(uri, tmp_path / "artifacts", EXPERIMENT, SWEEP, SHARED | after)
    again.write_trial(result, axes | {"teacher.model": "there"}, tensors)
    held = contents(uri)
    assert held["sweep"]["params"] == SHARED | after | before
    assert held[name]["params"]["teacher.model"] == "here"
    assert held[name]["status"] == "FINISHED"


def test_a_search_that_goes_on_tells_what_it_has_found_since(uri, tmp_path):
    opened(uri, tmp_path).finish({"trials": 10, "champion.val.accuracy": 0.7}, "FINISHED", CREATED)
    before = contents(uri)
    opened(uri, tmp_path).finish({"trials": 10}, "FINISHED", CREATED + 1)
    assert contents(uri) == before
    opened(uri, tmp_path).finish({"trials": 20}, "FAILED", CREATED + 2)
    held = contents(uri)["sweep"]
    assert held["status"] == "FAILED"
    assert [value for *_, value in held["metrics"]["trials"]][-1] == 20


def test_a_trial_that_failed_and_then_succeeded_has_succeeded(uri, tmp_path):
    result, axes, tensors = trial(0)
    name = result.trial.fingerprint
    opened(uri, tmp_path).write_failure(name, axes, "out of memory", CREATED)
    failed = contents(uri)[name]
    assert failed["status"] == "FAILED"
    assert failed["tags"]["qdllm.failure"] == "out of memory"
    again = opened(uri, tmp_path)
    assert name not in again.opened().finished
    again.write_trial(result, axes, tensors)
    succeeded = contents(uri)[name]
    assert succeeded["status"] == "FINISHED"
    assert "qdllm.failure" not in succeeded["tags"]


class Broken(BaseException):
    """What stands for a kill -9 in the middle of a call."""


CALLS = ("create_run", "log_batch", "log_artifacts", "set_terminated", "update_run")


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_writing_goes_on_wherever_it_broke_off(template, tmp_path, monkeypatch, lost):
    """Every call to MLflow is broken off once, before it arrives or before its answer does."""

    def break_off(at: int) -> int:
        """Have the call with that number fail. Returns how many calls there were."""
        calls = 0

        def breaking(original):
            def call(self, *arguments, **keywords):
                nonlocal calls
                calls += 1
                if calls == at and lost == "request":
                    raise Broken
                answer = original(self, *arguments, **keywords)
                if calls == at:
                    raise Broken
                return answer

            return call

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(MlflowClient, name, breaking(getattr(MlflowClient, name)))
            with suppress(Broken):
                write_all(opened(uri, tmp_path), trials=1)
        return calls

    (tmp_path / "whole").mkdir()
    uri = database(template, tmp_path / "whole")
    total = break_off(0)
    expected = contents(uri)
    assert total > 10
    for at in range(1, total + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        uri = database(template, folder)
        assert break_off(at) == at
        write_all(opened(uri, tmp_path), trials=1)
        assert contents(uri).keys() == expected.keys()
        for name, run in contents(uri).items():
            if name == "sweep":  # its run begins when it is opened
                run["times"] = expected[name]["times"]
            assert run == expected[name], (at, name)


def test_of_two_runs_of_one_trial_the_finished_one_stays(uri, tmp_path):
    runs = opened(uri, tmp_path)
    result, axes, tensors = trial(0)
    runs.write_trial(result, axes, tensors)
    before = contents(uri)
    client = MlflowClient(uri)
    number = client.get_experiment_by_name(EXPERIMENT).experiment_id
    for name, kind in ((result.trial.fingerprint, "trial"), ("sweep", "sweep")):
        tags = {"qdllm.id": name, "qdllm.sweep": SWEEP, "qdllm.kind": kind}
        client.create_run(number, tags=tags)
    opened(uri, tmp_path)
    assert contents(uri) == before


def test_an_artifact_store_that_fails_is_away(uri, tmp_path, monkeypatch):
    """Its client's errors are no MLflow errors, or even that it is not installed."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    MlflowClient(uri).create_experiment(EXPERIMENT, "s3://nowhere/at/all")
    runs = opened(uri, tmp_path)
    with pytest.raises(Away, match=r"EndpointConnectionError|ModuleNotFoundError"):
        runs.write_file("grid.yaml", b"axes: {}")


def test_a_deleted_experiment_is_named(uri, tmp_path):
    opened(uri, tmp_path)
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    with pytest.raises(ConfigError, match="mlflow experiments restore -x 1"):
        opened(uri, tmp_path)


def test_a_tracker_writes_behind_the_drivers_back(uri, tmp_path):
    done = []
    with tracker(uri, tmp_path) as writing:
        for number in range(10):
            writing.write_trial(*trial(number))
        writing.write_file("figures/a.png", b"\x89PNG")
        writing.write_file("grid.yaml", "axes: {}\n")
        writing.finish({"trials": 10}, failed=False)
        assert writing.finished(f"{9:016x}")
        writing.wait(lambda so_far, total: done.append((so_far, total)))
    assert done[-1] == (13, 13)
    assert [file.name for file in tmp_path.glob("mlflow.db*")] == ["mlflow.db"]
    held = contents(uri)
    assert len(held) == 1 + 10 * 3
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    assert held["sweep"]["files"] == ["figures", "grid.yaml"]
    assert list((tmp_path / "artifacts").rglob("figures/a.png"))
    assert f"{9:016x}" in opened(uri, tmp_path).opened().finished


def test_a_sweep_that_was_interrupted_is_killed_and_can_go_on(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.tracker, "GRACE", DEADLINE)
    interrupted = Tracker(uri, tmp_path / "artifacts", EXPERIMENT, SWEEP, SHARED)
    interrupted.ready()
    for number in range(50):
        interrupted.write_trial(*trial(number))
    interrupted.close(KeyboardInterrupt)
    held = contents(uri)
    assert held["sweep"]["status"] == "KILLED"
    assert len(held) < 1 + 50 * 3, "it was to drop what was not begun"
    again = opened(uri, tmp_path)
    assert contents(uri)["sweep"]["status"] == "RUNNING"
    for number in range(2):
        write(again, number)
    again.finish({}, "FINISHED", CREATED)
    assert {run["status"] for run in contents(uri).values()} == {"FINISHED"}


def test_a_locked_database_holds_up_nothing_and_loses_nothing(uri, tmp_path):
    with tracker(uri, tmp_path) as writing:
        lock = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        for number in range(3):
            writing.write_trial(*trial(number))
        with pytest.raises(TrackingError, match=r"did not take 3 trials.*the same command writes"):
            writing.wait(patience=1)
        lock.close()
        writing.wait()
    assert len(contents(uri)) == 1 + 3 * 3


def test_a_writing_process_that_was_killed_starts_again(uri, tmp_path):
    with tracker(uri, tmp_path) as writing:
        for number in range(10):
            writing.write_trial(*trial(number))
        while len(writing._queue.waiting) > 5:
            time.sleep(0.01)
        os.kill(writing._queue._process._process.pid, signal.SIGKILL)
        writing.wait()
    held = contents(uri)
    assert len(held) == 1 + 10 * 3
    assert {name for name, run in held.items() if run["status"] != "FINISHED"} == {"sweep"}


def test_what_mlflow_refuses_is_told(uri, tmp_path):
    with tracker(uri, tmp_path) as writing:
        client = MlflowClient(uri)
        number = client.get_experiment_by_name(EXPERIMENT).experiment_id
        (run,) = client.search_runs([number])
        client.delete_run(run.info.run_id)
        writing.write_file("grid.yaml", "axes: {}\n")
        writing.finish({}, failed=False)
        with pytest.raises(TrackingError, match=r"the sweep's own figures: .*deleted"):
            writing.wait()


def test_a_deleted_sweep_run_leaves_no_orphans(uri, tmp_path):
    runs = opened(uri, tmp_path)
    result, axes, tensors = trial(0)
    runs.write_trial(result, axes, tensors)
    client = MlflowClient(uri)
    number = client.get_experiment_by_name(EXPERIMENT).experiment_id
    (run,) = client.search_runs([number], "tags.`qdllm.id` = 'sweep'")
    client.delete_run(run.info.run_id)
    opened(uri, tmp_path)
    assert contents(uri)[result.trial.fingerprint]["parent"] == "sweep"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mlruns", "unknown tracking address 'mlruns': give an MLflow server"),
        ("ftp://me:secret@host/db", "unknown tracking address 'ftp://host/db'"),
    ],
)
def test_an_unknown_address_is_named(given, message):
    with pytest.raises(ConfigError, match=message):
        tracking.address(given)


def test_a_relative_database_is_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking.address("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("http://127.0.0.1:1", "refused"),
        ("postgresql+nodriver://me:secret@host/db", "nodriver"),
        (f"sqlite:///{Path(__file__)}/mlflow.db", "none can be made"),
        (f"sqlite:///{Path(__file__)}", "not a database"),
    ],
)
def test_an_address_without_mlflow_is_told(tmp_path, monkeypatch, given, message):
    for name, value in tracking.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((Away, Refused), match=message):
        opened(given, tmp_path)


def test_no_secret_of_an_address_is_told(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"MLflow at http://127.0.0.1:1 cannot be used") as caught,
        tracker("http://me:secret@127.0.0.1:1?token=secret", tmp_path),
    ):
        pass
    assert "secret" not in str(caught.value)
    assert "refused" in str(caught.value)


@contextmanager
def server(uri: str, port: int, folder: Path):
    """A real MLflow server on loopback; yields a function that kills it."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(folder / "served")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    health, without = (
        f"http://127.0.0.1:{port}/health",
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    with serving(command, health, folder / "server.log", **without) as running:
        yield partial(kill, running)


@pytest.mark.slow
def test_a_server_may_be_killed_in_the_middle(uri, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with server(uri, port, tmp_path) as kill:
        address = f"http://127.0.0.1:{port}"
        writing = Tracker(address, tmp_path / "artifacts", EXPERIMENT, SWEEP, SHARED)
        writing.ready()
        for number in range(12):
            writing.write_trial(*trial(number))
        while len(writing._queue.waiting) > 8:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        kill()
    with pytest.raises(TrackingError, match=r"did not take \d trials"):
        writing.wait(patience=2)
    with server(uri, port, tmp_path):
        writing.wait()
        writing.finish({"trials": 12}, failed=False)
        writing.wait()
        writing.close(None)
        held = contents(address)
    assert len(held) == 1 + 12 * 3
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    assert len(list((tmp_path / "served").rglob("spec.json"))) == 12
    assert not (tmp_path / "artifacts").exists()
    (tmp_path / "undisturbed").mkdir()
    alone = f"sqlite:///{tmp_path / 'undisturbed' / 'mlflow.db'}"
    runs = opened(alone, tmp_path)
    for number in range(12):
        write(runs, number)
    for name, run in contents(alone).items():
        if name != "sweep":
            assert held[name] == run


WRITING = """
import sys
sys.path.insert(0, "tests/support")
from pathlib import Path
from sweep_records import trial
from orchestrator.tracking import Tracker
if __name__ == "__main__":
    tracker = Tracker(sys.argv[1], Path(sys.argv[2]), "grid-task", "5" * 16, {"fit.epochs": "3"})
    tracker.ready()
    for number in range(20):
        tracker.write_trial(*trial(number))
    print("begun", flush=True)
    tracker.finish({}, failed=False)
    tracker.wait()
    tracker.close(None)
"""


@pytest.mark.slow
def test_a_driver_may_be_killed_in_the_middle(uri, tmp_path):
    (tmp_path / "writing.py").write_text(WRITING)
    command = [sys.executable, str(tmp_path / "writing.py"), uri, str(tmp_path / "artifacts")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    written = []
    for _ in range(3):
        driver = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        assert driver.stdout.readline() == b"begun\n"
        time.sleep(random.uniform(0, 0.5))
        driver.kill()
        driver.wait()
        driver.stdout.close()
        written.append(len(contents(uri)))
    assert written[0] < 1 + 20 * 3
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    held = contents(uri)
    assert len(held) == 1 + 20 * 3
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    (tmp_path / "undisturbed").mkdir()
    alone = f"sqlite:///{tmp_path / 'undisturbed' / 'mlflow.db'}"
    runs = opened(alone, tmp_path)
    for number in range(20):
        write(runs, number)
    for name, run in contents(alone).items():
        if name != "sweep":
            assert held[name] == run

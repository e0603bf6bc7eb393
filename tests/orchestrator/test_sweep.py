"""The real command, end to end: real Ray, DeepSpeed, MLflow database and registered model."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import driven
import mlflow
import pandas as pd
import pytest
from checkout import ROOT
from commands import here
from driven import ALONE, BASE, ONE_BY_ONE, TEXTS, table
from mlflow import MlflowClient
from waiting import DEADLINE

from jobs.store import Store
from orchestrator.report import command

SMALL = [
    "teacher.epochs=3",
    "fit.epochs=2",
    "seeds=[0, 1]",
    "circuit.layers=[1, 2]",
    "loss.alpha=0.9",
    "fit.lr=0.01",
]


def small(home: Path, texts: Path, *arguments: str) -> list[str]:
    """The arguments of a small sweep."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    named = ("--grid", "ablation", "--home", str(home), "--task", str(texts))
    return [*named, *settings, *ONE_BY_ONE, *arguments]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> driven.Sweep:
    """Another grid, with the same teacher."""
    return driven.undisturbed(tmp_path_factory)[0]


@pytest.fixture(scope="module")
def texts(undisturbed) -> Path:
    return undisturbed.texts


@pytest.fixture(scope="module")
def swept(tmp_path_factory, undisturbed, texts) -> tuple[Path, str]:
    """A home folder with a finished sweep, and what the command printed."""
    home = tmp_path_factory.mktemp("a home")
    for kind in ("soft-labels", "adapters"):
        shutil.copytree(undisturbed.home / "store" / kind, home / "store" / kind)
    command = [sys.executable, "-m", "orchestrator.sweep", *small(home, texts)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


@pytest.fixture
def client(swept, monkeypatch) -> MlflowClient:
    uri = f"sqlite:///{swept[0] / 'mlflow.db'}"
    # MLflow sets it too, for good, and commands that other tests start would find it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def runs(client: MlflowClient):
    (experiment,) = [
        found for found in client.search_experiments() if found.name == "ablation-notes"
    ]
    return client.search_runs([experiment.experiment_id], max_results=1000)


def test_it_says_what_it_reads_and_what_it_found(swept):
    home, output = swept
    assert re.search(r"notes: 120 texts in 2 classes \(kitchen 60, weather 60\)", output)
    assert "split 72 / 24 / 24" in output
    assert re.search(r"teacher minilm, LoRA rank 64: validation \d\.\d{4}, test \d\.\d{4}", output)
    assert "logistic regression" in output
    assert "classical head" in output
    assert "all of it took" in output
    assert re.search(r"mindquantum .* no expectation differs by more than \d\.\de-0[678]", output)
    assert "models:/qdllm-ablation-notes@champion" in output
    assert f"ui --port 5000 --backend-store-uri 'sqlite:///{home / 'mlflow.db'}'" in output
    assert re.search(r"\n      then http://127\.0\.0\.1:5000/#/experiments/1/runs\?\S+\n", output)
    assert len(table(output)) == 5


def test_chatter_stays_in_the_log(swept):
    home, output = swept
    assert not re.search(r"\bINFO\b|WARNING|Warning|DeepSpeed|raylet|alembic", output)
    (log,) = (home / "logs").iterdir()
    assert log.stat().st_size > 0


def test_everything_lies_in_the_home(swept):
    # While this test's own client reads the database, SQLite keeps files beside it.
    found = {path.name.partition("-")[0] for path in swept[0].iterdir()}
    assert found == {"store", "mlflow.db", "artifacts", "logs", "reports"}
    assert not list((swept[0] / "store").glob("checkpoints/*"))
    assert not list((swept[0] / "store").glob("locks/*"))
    (page,) = (swept[0] / "reports").glob("*.html")
    assert "kitchen" in page.read_text(encoding="utf-8")


def test_the_store_holds_every_result(swept):
    store = Store(str(swept[0] / "store"))
    counts = {"features": 1, "soft-labels": 1, "linear": 1, "tanh": 1, "students": 2}
    for kind, count in counts.items():
        assert len(store.fingerprints(kind)) == count, kind


def test_mlflow_has_a_sweep_its_trials_and_their_seeds(client):
    by_parent: dict[str, list] = {}
    for run in runs(client):
        by_parent.setdefault(run.data.tags.get("mlflow.parentRunId", ""), []).append(run)
        assert run.info.status == "FINISHED"
    (whole,) = by_parent[""]
    below = by_parent[whole.info.run_id]
    beside = [run for run in below if run.data.tags["qdllm.kind"] == "reference"]
    assert {run.data.params["family"] for run in beside} == {"linear", "tanh"}
    trials = [run for run in below if run.data.tags["qdllm.kind"] == "trial"]
    assert len(trials) == 2
    assert len(below) == 4
    for trial in trials:
        metrics = trial.data.metrics
        assert set(trial.data.params) == {"circuit.layers"}
        assert whole.data.params["fit.epochs"] == "2"
        assert (
            metrics["parameters"]
            == 768 * 11 + 11 + 72 * int(trial.data.params["circuit.layers"]) + 11 * 2 + 2
        )
        seeds = by_parent[trial.info.run_id]
        assert {seed.data.params["seed"] for seed in seeds} == {"0", "1"}
        values = [seed.data.metrics["val.accuracy"] for seed in seeds]
        assert metrics["val.accuracy.mean"] == pytest.approx(sum(values) / 2)
        assert {"val.accuracy.std", "val.accuracy.ci95", "seconds_per_epoch"} <= set(metrics)
        for seed in seeds:
            curve = client.get_metric_history(seed.info.run_id, "train.loss")
            assert [point.step for point in curve] == [1, 2]
            assert curve[1].value < curve[0].value


def test_the_champion_maps_texts_to_labels_and_probabilities(client):
    model = mlflow.pyfunc.load_model("models:/qdllm-ablation-notes@champion")
    answer = model.predict(pd.DataFrame({"text": ["bake the soup slowly", "cold wind and rain"]}))
    assert list(answer.columns) == ["label", "probabilities"]
    for label, probabilities in zip(answer["label"], answer["probabilities"], strict=True):
        assert set(probabilities) == set(TEXTS)
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert label == max(probabilities, key=probabilities.get)


def test_mlflow_models_predict_answers(swept, tmp_path):
    # pandas reads three of these as missing.
    rows = 'text\nbake the bread slowly\nNA\nnull\n""\n7\n'
    (tmp_path / "texts.csv").write_text(rows, encoding="utf-8")
    (use,) = [line for line in swept[1].splitlines() if line.startswith("use: ")]
    variable, *command = shlex.split(use.removeprefix("use:"))
    done = subprocess.run(
        ["env", variable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    first, *missing, number = json.loads(done.stdout.splitlines()[-1])["predictions"]
    assert first["label"] in TEXTS
    assert number["label"] in TEXTS
    assert missing == 3 * [{"label": None, "probabilities": {}}]


def test_an_exported_champion_predicts_the_same_by_itself(swept, client, tmp_path):
    exported, moved = tmp_path / "exported", tmp_path / "elsewhere"
    assert command.main(["ablation-notes", "--home", str(swept[0]), "--export", str(exported)]) == 0
    exported.rename(moved)
    texts = ["bake the soup slowly", "cold wind and rain"]
    program = (
        "import json\nfrom pathlib import Path\nfrom qdllm.predictor import Predictor\n"
        f"found = Predictor(Path('.'))({texts!r})\n"
        "print(json.dumps([found.labels, found.probabilities_NC.tolist()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=moved,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    labels, probabilities_NC = json.loads(done.stdout)
    model = mlflow.pyfunc.load_model("models:/qdllm-ablation-notes@champion")
    registered = model.predict(pd.DataFrame({"text": texts}))
    assert labels == registered["label"].tolist()
    assert probabilities_NC == [list(each.values()) for each in registered["probabilities"]]


def test_the_same_command_again_computes_nothing_and_ends_with_the_same_table(swept, texts, client):
    home, output = swept
    before = {run.info.run_id: run.info.end_time for run in runs(client)}
    versions = len(client.search_model_versions("name = 'qdllm-ablation-notes'"))
    store = {path: path.stat().st_mtime_ns for path in (home / "store").rglob("*")}
    again = here("orchestrator.sweep", small(home, texts))
    assert table(again) == table(output)
    assert re.search(r"trials +│ +2 │ +0 │", again)
    assert {path: path.stat().st_mtime_ns for path in (home / "store").rglob("*")} == store
    assert {run.info.run_id: run.info.end_time for run in runs(client)} == before
    assert len(client.search_model_versions("name = 'qdllm-ablation-notes'")) == versions


def test_two_may_begin_at_the_same_moment_in_a_new_home(undisturbed, texts, tmp_path):
    """With the same teacher and features, which are made once, and one database for both."""
    both = []
    for layers in (1, 2):
        grid = tmp_path / f"of-{layers}.yaml"
        grid.write_text(f"{BASE}axes: {{circuit.layers: [{layers}], fit.lr: [0.01, 0.02]}}\n")
        both.append(driven.Sweep(grid, texts, tmp_path / "a new home"))
    fewer = ("--set", "fit.epochs=3", "--set", "teacher.epochs=1", *ALONE)
    drivers = [one.start(*fewer) for one in both]
    for driver in drivers:
        output = driver.ended(0)
        assert len(table(output)) == 2 + 3
    (one, other), store = both, both[0].store
    assert one.created("soft-labels") == other.created("soft-labels")
    for kind, count in {"features": 1, "soft-labels": 1, "adapters": 1, "students": 4}.items():
        assert len(store.fingerprints(kind)) == count
    assert set(one.runs().values()) == {("FINISHED", "")}
    assert len({sweep for sweep, _ in one.runs()}) == 2
    assert not list((tmp_path / "a new home" / "store").glob("locks/*"))


def test_a_dry_run_shows_what_an_added_value_would_cost(swept, texts):
    printed = here(
        "orchestrator.sweep",
        small(swept[0], texts, "--set", "circuit.layers=[1, 2, 3]", "--dry-run"),
    )
    assert re.search(r"trials +│ +2 │ +1 │", printed)
    assert re.search(r"soft labels +│ +1 │ +0 │", printed)


def test_a_teacher_below_the_floor_stops_the_sweep(swept, texts):
    """The one that is held: no floor was set when it was trained."""
    printed = here(
        "orchestrator.sweep", small(swept[0], texts, "--set", "teacher_floor=1.0"), status=1
    )
    assert "below the floor of 1.0000, so no student is trained" in printed
    assert re.search(r"epoch +train loss +validation accuracy +time", printed)


def test_a_search_goes_on_from_all_that_lies_in_its_space(swept, texts, tmp_path):
    """Its past is the fixture's sweep."""
    path = tmp_path / "near.yaml"
    path.write_text(
        "base: {encoder: {hidden_layers: [4, 6]}, fit: {epochs: 2, batch_size: 64, lr: 0.01},\n"
        "       teacher: {epochs: 3}, seeds: [0, 1]}\n"
        "search: {space: {circuit.layers: {low: 1, high: 2}, loss.alpha: {low: 0, high: 1}},\n"
        "         objectives: {val.accuracy.mean: maximize, parameters: minimize}, trials: 4}\n"
    )
    store = Store(str(swept[0] / "store"))
    before = store.fingerprints("students")
    printed = driven.Sweep(path, texts, swept[0]).here(*ALONE)
    assert re.search(r"trials of the search +│ +2 │ +2 │", printed)
    assert len(store.fingerprints("students") - before) == 2
    assert "4 trials of grid near on notes" in printed

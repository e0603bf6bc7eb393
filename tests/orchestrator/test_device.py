"""A trained student under shots and noise, by the real command, and where its figures stand."""

import csv
import importlib.abc
import json
import re
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
import small_sweep
from commands import here
from line_chip import line
from mlflow import MlflowClient
from qiskit import qasm2
from qiskit.quantum_info import Statevector
from safetensors.numpy import load_file
from small_sweep import SmallSweep

from jobs import kinds
from orchestrator.report import page, paper, tables
from orchestrator.report.evaluations import of_student
from orchestrator.tracking import Tracker
from qdllm.errors import ConfigError
from qdllm.processors import chips

AXES = {"circuit.layers": [1, 2]}
BASE = {"circuit": {"qubits": 4}, "fit": {"epochs": 4, "batch_size": 16, "lr": 0.05}}


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> SmallSweep:
    """Two trials of four qubits; the champion's shots and noise are measured with it."""
    return small_sweep.sweep(
        tmp_path_factory.mktemp("swept"),
        AXES,
        BASE,
        left_out=0,
        evaluations=["mindquantum", "shots:256", "baihua-noise"],
    )


@pytest.fixture(scope="module")
def place(swept) -> list[str]:
    """The flags that say where everything is, with MLflow's run of the champion."""
    home = Path(swept.store.uri.removeprefix("file://")).parent
    uri = f"sqlite:///{home / 'mlflow.db'}"
    tracker = Tracker(uri, home / "artifacts", "small", swept.plan.name, {}, alone=True)
    tracker.ready()
    champion = swept.found.champion
    tensors = swept.store.load(champion.trial.kind, champion.trial.fingerprint)[1]
    tracker.write_trial(champion, {}, tensors)
    tracker.wait()
    tracker.close(None)
    return ["--home", str(home), "--store", swept.store.uri, "--tracking", uri]


def champion(swept: SmallSweep) -> str:
    return swept.found.champion.trial.fingerprint


def test_evaluations_of_the_grid_stand_beside_the_exact_ones(swept):
    found = swept.found
    assert [one.kind for one in found.evaluations] == [
        "evaluations",
        "measurements",
        "measurements",
    ]
    names = [row[0] for row in page.standing(found)]
    assert "★ champion, 256 shots" in names
    assert "★ champion, baihua-noise, readout inverted" in names
    assert "★ champion, baihua-noise, raw" in names
    shown = page.render(found, [])
    assert "standard errors of one seed: shots 0.0" in shown
    assert "two-chains: " in shown
    found.sweep.summary["task"] = "thematic"
    theirs = next(one for one in paper.beside(found) if one.title.endswith("Fig. 5"))
    assert theirs.rows[0][1] == "0.6785 to 0.7375"
    assert [row[0] for row in theirs.rows[1:]] == [
        "★ champion, baihua-noise, readout inverted",
        "★ champion, baihua-noise, raw",
        "★ champion, exact expectations",
    ]


def test_what_was_measured_is_whole_and_says_how_sure_it_is(swept):
    _, shots, noise = swept.found.evaluations
    seeds, rows = len(swept.trials[0].spec.seeds), len(swept.dataset.test.texts)
    for record in (shots, noise):
        stored, tensors = swept.store.load(record.kind, record.fingerprint)
        assert tensors["expectations"].shape == (seeds, rows, 4)
        exact = stored.summary["exact"]["test.accuracy"]
        assert exact == swept.found.champion.record.summary["metrics"]["test.accuracy"]
        assert stored.summary["errors"]["texts"] == pytest.approx(
            [(a * (1 - a) / rows) ** 0.5 for a in stored.summary["metrics"]["test.accuracy"]]
        )
    exact, z = (swept.store.load("measurements", shots.fingerprint)[1][k] for k in ("exact", "raw"))
    apart = (z - exact) / np.sqrt(np.maximum(1 - exact**2, 1e-9) / 256)
    assert 0.8 < apart.std() < 1.2
    tensors = swept.store.load("measurements", noise.fingerprint)[1]
    damped = [
        float((tensors[name] * tensors["exact"]).sum() / (tensors["exact"] ** 2).sum())
        for name in ("raw", "expectations")
    ]
    assert damped[0] < damped[1] < 1
    costs = noise.summary["costs"]
    assert costs["two-chains"]["cz"] < costs["as-is"]["cz"]


def test_the_command_measures_once_and_tells_mlflow(swept, place):
    name = champion(swept)
    arguments = [name[:10], "--target", "baihua-sim", "--rows", "12", "--set", "shots=512"]
    printed = here("orchestrator.device", [*arguments, *place])
    assert re.search(
        r"readout inverted\), raw 0\.\d{4}, exact 0\.\d{4} on the same 12 texts", printed
    )
    assert "MLflow now stands on the student's 1 run" in printed
    record = of_student(swept.history, name)[-1]
    assert f"it is measurements/{record.fingerprint}" in printed
    assert record.summary["rows"] == 12
    labels = swept.dataset.test.labels_N[
        swept.store.load("measurements", record.fingerprint)[1]["rows"]
    ]
    assert np.bincount(labels).tolist() == [4, 4, 4]
    assert here("orchestrator.device", [*arguments, *place]).count(record.fingerprint) == 1
    client = MlflowClient(place[-1])
    (run,) = client.search_runs(["1"], f"tags.`qdllm.id` = '{name}'")
    told = kinds.kind(record.kind).figures(record)
    assert told.keys() <= run.data.metrics.keys()
    assert "baihua-sim-512-12-rows-readout.test.accuracy" in told
    assert "★ champion, baihua-sim, 512 shots, 12 texts, raw" in page.render(swept.found, [])
    assert tables.accuracy(record.summary["raw"]["test.accuracy"]) in page.render(swept.found, [])


def test_affine_recalibration_uses_validation_texts_and_says_so(swept, place):
    arguments = [champion(swept), "--target", "baihua-noise", "--set", "mitigation=affine"]
    printed = here("orchestrator.device", [*arguments, "--set", "calibration_texts=20", *place])
    assert "affine recalibration by exact validation texts" in printed


def test_exported_circuits_give_the_students_predictions(swept, place, tmp_path):
    folder = tmp_path / "exported"
    here("orchestrator.device", [champion(swept), "--export", str(folder), *place])
    described = json.loads((folder / "student.json").read_text())
    parts = load_file(folder / "student.safetensors")
    with (folder / "angles.csv").open() as file:
        names, *points = csv.reader(file)
    text, logits = (folder / "circuit.qasm").read_text(), []
    for point in points[:6]:
        bound = text
        for name, value in zip(names, point, strict=True):
            bound = bound.replace(f"{{{{{name}}}}}", value)
        made = qasm2.loads(bound)
        made.remove_final_measurements()
        p_X, index = Statevector(made).probabilities(), np.arange(16)
        z = [
            float(p_X @ (1 - 2 * (sum(index >> q & 1 for q in qubits) % 2)))
            for qubits in described["settings"][0]["qubits"]
        ]
        logits.append(parts["head"] @ np.array(z) + parts["head_bias"].ravel())
    at = swept.found.champion.best_seed
    student = swept.found.evaluations[0]
    theirs = swept.store.load("evaluations", student.fingerprint)[1]["test.logits"][at][:6]
    assert np.abs(np.array(logits) - theirs).max() < 1e-4
    assert f"Seed {described['seed']} of student" in (folder / "README.md").read_text()
    again = here("orchestrator.device", [champion(swept), "--export", str(folder), *place], 2)
    assert "there is something already; give a new folder" in again


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["x", "--target", "shots"],
            "'x' shall begin a student's fingerprint, but no student does",
        ),
        (["x"], "give --target NAME to measure the student, or --export DIR"),
        (["--target", "shots"], "give a student's fingerprint, or models:/NAME@champion"),
        (["x", "--target", "shot"], "unknown target 'shot'; did you mean 'shots'?"),
        (["x", "--target", "shots", "--set", "shots"], "'shots' has no '='"),
        (["x", "--target", "shots", "--set", "shots=1.5"], "shots must be a whole number"),
        (["x", "--target", "none.json-noise", "--rows", "3"], "'x' shall begin"),
        (["models:/none@champion", "--target", "shots"], "is no model of MLflow at"),
        (["models:/none/3", "--target", "shots"], "is no model of MLflow at"),
        (["models:/", "--target", "shots"], "write models:/NAME@champion, as a sweep prints it"),
        (["x", "--target", "shots:x"], "shots are a whole number, as in shots:1024"),
        (["x", "--target", "shots:9", "--set", "shots=8"], "shots is given twice"),
        (["x", "--target", "baihua-sim", "--label", "a"], "label: 'a' was given, but it changes"),
        (["x", "--export", "y", "--rows", "3"], "--export writes the student as it is; leave --ro"),
        (["x", "--export", "y", "--dry-run"], "leave --dry-run out"),
        (["--fetch", "--rows", "3"], "so it stands alone"),
        (["--fetch", "--confirm", "3"], "so it stands alone"),
    ],
)
def test_what_cannot_be_is_one_message(place, arguments, told):
    assert told in here("orchestrator.device", [*arguments, *place], 2)


class Without(importlib.abc.MetaPathFinder):
    """Answers for an interpreter in which some packages are not installed."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("target", "extra"),
    [
        ("quafu:Baihua", "quafu"),
        ("ibm:ibm_fez", "ibm"),
        ("ibm:fake_manila", "ibm"),
        ("fake_manila-noise", "ibm"),
        ("fake_manila-sim", "ibm"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(swept, place, monkeypatch, target, extra):
    lacking = Without("quafu", "qiskit_ibm_runtime", "qiskit")
    for name in [name for name in sys.modules if name.partition(".")[0] in lacking.names]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [lacking, *sys.meta_path])
    printed = here("orchestrator.device", [champion(swept), "--target", target, *place], 2)
    assert f"pip install 'qdllm-sweeps[{extra}]'" in printed
    assert printed.count("\n") == 1


def test_a_registered_champion_is_found_by_its_address(swept, place, tmp_path):
    client, name = MlflowClient(place[-1]), "small prices"
    client.create_registered_model(name)
    tags = {"qdllm.id": champion(swept)}
    version = client.create_model_version(name, swept.store.uri, tags=tags).version
    client.set_registered_model_alias(name, "champion", version)
    arguments = [f"models:/{name}@champion", "--target", "shots", "--set", "shots=256"]
    printed = here("orchestrator.device", [*arguments, *place])
    # The sweep has measured it.
    assert f"it is measurements/{swept.found.evaluations[1].fingerprint}" in printed
    numbered = [f"models:/{name}/{version}", "--target", "shots:256"]
    assert swept.found.evaluations[1].fingerprint in here(
        "orchestrator.device", [*numbered, *place]
    )
    client.create_registered_model("theirs")
    client.create_model_version("theirs", swept.store.uri)
    theirs = here("orchestrator.device", ["models:/theirs/1", "--target", "shots", *place], 2)
    assert "but no student of a sweep's" in theirs
    another = ["--store", str(tmp_path / "store"), "--tracking", place[-1]]
    for how in (["--target", "shots"], ["--export", str(tmp_path / "exported")]):
        told = here("orchestrator.device", [f"models:/{name}/1", *how, *another], 2)
        assert f"no student {champion(swept)!r} in" in told


def test_a_calibration_file_is_named_by_what_is_in_it(swept, place, tmp_path, monkeypatch):
    """Wherever it lies, and whatever it is called: MLflow takes few letters."""
    monkeypatch.chdir(tmp_path)
    plain = line(6).model_dump_json()
    names = ("my chip (1) 芯.json", "./other.json", str(tmp_path / "third.json"))
    results = set()
    for name in names:
        Path(name).write_text(plain)
        arguments = [champion(swept), "--target", f"{name}-noise", "--rows", "6", *place]
        printed = here("orchestrator.device", arguments)
        assert "MLflow now stands on the student's 1 run" in printed
        results.add(re.search(r"measurements/(\w+)", printed)[1])
    assert len(results) == 1
    Path(names[0]).write_text('{"chip": ')
    chips.calibration.cache_clear()
    printed = here(
        "orchestrator.device", [champion(swept), "--target", f"{names[0]}-sim", *place], 2
    )
    assert f"calibration {names[0]}: not JSON that can be used" in printed


def test_what_is_measured_otherwise_is_called_otherwise(swept, place):
    titles, figures = set(), set()
    more = ([], ["form=as-is"], ["seed=1"], ["trajectories=4"], ["mitigation=affine"])
    more += (["mitigation=affine", "calibration_texts=10"],)
    for settings in more:
        each = [part for one in settings for part in ("--set", one)]
        each += ["--set", "calibration_texts=12"] * (settings == ["mitigation=affine"])
        arguments = [champion(swept), "--target", "baihua-noise", "--rows", "6", *each, *place]
        name = re.search(r"measurements/(\w+)", here("orchestrator.device", arguments))[1]
        record = swept.store.record("measurements", name)
        titles |= {one.name for one in kinds.kind(record.kind).standing(record)[:1]}
        figures |= kinds.kind(record.kind).figures(record).keys()
    assert len(titles) == len(more)
    assert sum(name.endswith("readout.test.accuracy") for name in figures) == 1
    assert len([name for name in figures if "raw" in name]) == len(more)


def test_where_mlflow_is_not_what_was_measured_stays_in_the_store(swept, place, tmp_path):
    where = place[:4]
    arguments = [champion(swept), "--target", "shots:256", *where, "--tracking"]
    new = tmp_path / "new.db"
    assert "MLflow has no run of it" in here(
        "orchestrator.device", [*arguments, f"sqlite:///{new}"]
    )
    assert not new.exists()
    printed = here("orchestrator.device", [*arguments, "http://127.0.0.1:9"], 1)
    assert "nobody answers there (Connection refused)" in printed
    assert "Nothing is lost: it is in the store" in printed
    with sqlite3.connect(new) as database:
        database.execute("CREATE TABLE theirs (a)")
    database.close()
    printed = here("orchestrator.device", [*arguments, f"sqlite:///{new}"], 1)
    assert "the database is another program's" in printed


@pytest.mark.parametrize("arguments", [["--fetch"], ["x", "--target", "shots"]])
def test_where_there_was_nothing_there_is_nothing_after(tmp_path, arguments):
    home = tmp_path / "home"
    status = 0 if arguments == ["--fetch"] else 2
    here("orchestrator.device", [*arguments, "--home", str(home)], status)
    assert not home.exists()


def test_more_rows_than_there_are(swept, place):
    printed = here(
        "orchestrator.device", [champion(swept), "--target", "shots", "--rows", "999", *place], 2
    )
    assert "rows=999 were asked for, but the test split has 24 texts" in printed


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("evaluations=[quafu:Baihua]", "'quafu:Baihua' may cost something, so no sweep asks it"),
        ("champion.under=ibm:ibm_fez", "'ibm:ibm_fez' may cost something"),
        ("evaluations=[none.json-noise]", "cannot use 'none.json': No such file"),
        ("champion.under=two.json-noise", "chip 'line' has no 11 qubits that can be used together"),
        ("evaluations=[fake_manila-sim]", "'fake_manila' has no 11 qubits that can be used"),
        ("circuit.noise=fake_manila", "'fake_manila' has no 10 qubits that can be used together"),
        ("circuit.noise=fake_nope", "unknown fake chip 'fake_nope'"),
    ],
)
def test_what_a_sweep_could_not_measure_is_told_before_it(tmp_path, monkeypatch, setting, told):
    monkeypatch.chdir(tmp_path)
    Path("two.json").write_text(line(2).model_dump_json())
    arguments = ["--grid", "quickstart", "--dry-run", "--set", setting]
    assert told in here("orchestrator.sweep", arguments, 2)


def test_a_grids_evaluations_are_checked_when_it_is_read():
    with pytest.raises(ConfigError, match="unknown evaluation 'mindquantm'; did you mean"):
        small_sweep.Grid.parse({"name": "x", "evaluations": ["mindquantm"]})


def test_a_champion_under_noise_is_chosen_by_validation_there(tmp_path):
    small = small_sweep.sweep(
        tmp_path,
        AXES,
        BASE | {"circuit": {"qubits": 4, "ansatz": "all-to-all"}},
        left_out=0,
        champion={"under": "baihua-noise"},
        evaluations=["baihua-noise"],
    )
    found = small.found
    there = {name: one.mean for name, one in found.under.accuracies.items()}
    assert there.keys() == {one.fingerprint for one in small.trials}
    exact = {one.trial.fingerprint: one.over_seeds("val.accuracy").mean for one in found.order}
    assert there != exact
    best = max(there.values())
    margin = max(one.standard_error for one in found.under.accuracies.values() if one.mean == best)
    chosen = found.champion
    assert there[chosen.trial.fingerprint] >= best - margin
    smaller = [one for one in found.order if one.parameters < chosen.parameters]
    assert all(there[one.trial.fingerprint] < best - margin for one in smaller)
    (line,) = tables.chosen_lines(found)
    assert "best in validation under baihua-noise" in line
    # What was measured of validation texts stands in no table of the champion's test figures.
    assert [one.spec["split"] for one in found.evaluations] == ["test"]
    plain = small_sweep.Grid.parse({"name": "x"})
    assert plain.asked_evaluations is None
    assert small.definition.asked_evaluations == ("baihua-noise", "under baihua-noise")


@pytest.mark.parametrize(
    ("champion", "told"),
    [
        ({"under": "baihau-noise"}, "did you mean 'baihua-noise'"),
        ({"under": "mindquantum"}, "measures no validation texts; name a chip's noise"),
    ],
)
def test_what_a_champion_cannot_be_chosen_under(champion, told):
    with pytest.raises(ConfigError, match=told):
        small_sweep.Grid.parse({"name": "x", "champion": champion})

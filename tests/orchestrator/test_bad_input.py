"""Every mistake ends with status 2 and one message, before anything is trained."""

import pytest

from orchestrator.sweep import main

GRID = ["--grid", "ablation"]


def csv(folder, text):
    path = folder / "texts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def rows(classes, each):
    return "text,label\n" + "".join(
        f"text {number} of {label},{label}\n" for label in classes for number in range(each)
    )


CIRCUIT = """OPENQASM 3.0;
include "stdgates.inc";
input float x;
input float theta;
qubit[2] q;
rx(x) q;
ry(theta) q[1];
"""


def qasm(folder, old, new):
    """A circuit with a mistake."""
    assert old in CIRCUIT
    path = folder / "my.qasm"
    path.write_text(CIRCUIT.replace(old, new))
    return [*GRID, "--set", f"circuit.file={path}", "--set", "circuit.layers=1"]


CASES = {
    "unknown gate": (
        lambda folder: qasm(folder, "ry(", "yr("),
        "my.qasm:7: unknown gate 'yr'; did",
    ),
    "unnamed parameter": (
        lambda folder: qasm(folder, "input float theta;", ""),
        "my.qasm:7: unknown parameter 'theta'; declare it",
    ),
    "qubit out of range": (
        lambda folder: qasm(folder, "q[1];", "q[2];"),
        "my.qasm:7: q[2] is out of",
    ),
    "no weights": (
        lambda folder: qasm(folder, "input float theta;\n", "const float theta = 1;\n"),
        "has no weights, so there is nothing to train",
    ),
    "no angles": (
        lambda folder: qasm(folder, "input float x;\n", "const float x = 1;\n"),
        "has no features' angles, so no text",
    ),
    "many qubits": (lambda folder: qasm(folder, "[2]", "[21]"), "my.qasm:5: a circuit has 1 to 20"),
    "OpenQASM 2": (lambda folder: qasm(folder, "3.0", "2.0"), "my.qasm:1: this is OpenQASM 2, in"),
    "another include": (
        lambda folder: qasm(folder, "stdgates", "qelib1"),
        "my.qasm:2: only 'stdgates.inc' can be included, but 'qelib1.inc' was given",
    ),
    "measurement in the middle": (
        lambda folder: qasm(folder, "rx(x)", "bit c; c = measure q[1]; rx(x)"),
        "my.qasm:6: qubit 1 is measured here, but turned again in line 6",
    ),
    "observables": (
        lambda folder: [*qasm(folder, "q", "q"), "--set", "circuit.observables=[ZZ, ZZZ]"],
        "'ZZZ' has 3 letters, but the circuit has 2 qubits",
    ),
    "a circuit that is not there": (
        lambda folder: [*GRID, "--set", f"circuit.ansatz={folder}/none.qasm"],
        "none.qasm': No such file",
    ),
    "a circuit that is too large": (
        lambda folder: [*GRID, "--set", "circuit.qubits=20", "--set", "fit.batch_size=512"],
        "'published' on 20 qubits with 1 layer, trained for 5 seeds in batches of 512, takes",
    ),
    "grid": (lambda folder: ["--grid", "ablatoin"], "did you mean 'ablation'"),
    "task": (lambda folder: [*GRID, "--task", "sample-thematc"], "did you mean 'sample-thematic'"),
    "task without data": (lambda folder: [*GRID, "--task", "thematic"], "--data published"),
    "key": (lambda folder: [*GRID, "--set", "fit.epoch=2"], "did you mean 'epochs'"),
    "trials": (lambda folder: [*GRID, "--trials", "5"], "grid 'ablation' has no search"),
    "tracking": (
        lambda folder: [*GRID, "--tracking", "ftp://host"],
        "unknown tracking address 'ftp://host': give an MLflow server",
    ),
    "ansatz": (
        lambda folder: [*GRID, "--set", "circuit.ansatz=txtbook"],
        "did you mean 'textbook'",
    ),
    "folder": (lambda folder: [*GRID, "--data", str(folder / "nowhere")], "nowhere"),
    "text column": (
        lambda folder: [*GRID, "--task", csv(folder, rows("ab", 9).replace("text,", "txt,", 1))],
        "task.text_column",
    ),
    "one class": (lambda folder: [*GRID, "--task", csv(folder, rows("a", 9))], "class"),
    "few texts": (lambda folder: [*GRID, "--task", csv(folder, rows("ab", 2))], "10"),
    "not UTF-8": (
        lambda folder: [*GRID, "--task", csv(folder, rows("ab", 9).encode() + b"\xff,a\n")],
        "UTF-8",
    ),
    "address": (lambda folder: [*GRID, "--data", "s3://bucket/a.csv"], "is an address (s3:), but"),
    "task as an address": (lambda folder: [*GRID, "--task", "http://host/a.csv"], "(http:), but"),
    "path of Windows": (lambda folder: [*GRID, "--store", r"C:\store"], "a path of Windows"),
    "split": (lambda folder: [*GRID, "--set", "task.split=[0.8, 0.2]"], "three positive numbers"),
    "column": (lambda folder: [*GRID, "--set", "task.text_column=0"], "or its number from 1"),
    "encoding": (lambda folder: [*GRID, "--set", "task.encoding=cp9"], "such as cp1252"),
    "separator": (lambda folder: [*GRID, "--set", "task.separator=tba"], "did you mean 'tab'"),
    "long name": (
        lambda folder: [*GRID, "--data", csv(folder, rows("ab", 9)), "--task", "x" * 300],
        "choose shorter ones with --set name=… and --task",
    ),
    "teacher": (lambda folder: [*GRID, "--set", "teacher.model=minilmm"], "did you mean 'minilm'"),
    "encoder": (lambda folder: [*GRID, "--set", "encoder.model=minilmm"], "did you mean 'minilm'"),
    "hidden layer": (
        lambda folder: [*GRID, "--set", "encoder.hidden_layers=[4, 7]"],
        "hidden layer 7 of model 'minilm': it has 7, 0 (the embeddings) to 6",
    ),
    "long texts for an encoder": (
        lambda folder: [*GRID, "--set", "encoder.max_length=513"],
        "max_length 513 exceeds the 512 positions of model 'minilm'; give at most so many",
    ),
    "long texts for a teacher": (
        lambda folder: [*GRID, "--set", "teacher.max_length=513"],
        "max_length 513 exceeds the 512 positions of model 'minilm'; give at most so many",
    ),
    "long texts for a rival": (
        lambda folder: ["--grid", "rivals", "--set", "encoder.max_length=513"],
        "max_length 513 exceeds the 512 positions of model 'minilm'; give at most so many",
    ),
    "a deep head": (
        lambda folder: [*GRID, "--set", "family=tanh", "--set", "deeper=[200, 200]"],
        "deeper: [200, 200] leaves no unit for the first layer of a head that may have 8,579",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_message_and_status_2(case, tmp_path, capfd):
    arguments, message = CASES[case]
    home = tmp_path / "home"
    assert main([*arguments(tmp_path), "--home", str(home)]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    trained = [path for path in (home / "store").rglob("*") if path.is_file()]
    assert not trained


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("texts (1).csv", "texts_1"),
        ("R&D.csv", "R_D"),
        ("a [b] c.csv", "a_b_c"),
        ("cafe\u0301.csv", "caf\u00e9"),
        ("हिन्दी.csv", "हिन्दी"),
        ("\x1b[31m.csv", "31m"),
        ("!.csv", "texts"),
        ("x" * 240 + ".csv", "x" * 100),
    ],
)
def test_odd_names_of_files_name_tasks(file, name, tmp_path, capfd):
    path = tmp_path / file
    path.write_text(rows("ab", 30))
    assert main([*GRID, "--dry-run", "--home", str(tmp_path / "home"), "--task", str(path)]) == 0
    assert capfd.readouterr().out.startswith(f"{name}: 60 texts in 2 classes (a 30, b 30)")


def test_what_labels_hold_reaches_no_terminal(tmp_path, capfd):
    path = csv(tmp_path, rows(["\x1b[31mred\x07", "\u009b2Jblue"], 30))
    assert main([*GRID, "--dry-run", "--home", str(tmp_path / "home"), "--task", path]) == 0
    told = capfd.readouterr().out
    assert r"(\x1b[31mred\x07 30, \x9b2Jblue 30)" in told
    assert {"\x1b", "\x07", "\u009b"}.isdisjoint(told)


def test_an_empty_class_file_is_named(tmp_path, capfd):
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("\n")
    assert main([*GRID, "--data", str(tmp_path), "--home", str(tmp_path / "home")]) == 2
    assert "b.txt" in capfd.readouterr().err


@pytest.mark.parametrize(("name", "odd"), [("a?b", "'?'"), ("a%20b", "'%20'")])
def test_a_home_that_an_address_could_not_have_is_refused_before_anything(
    name, odd, tmp_path, capfd, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([*GRID, "--dry-run", "--home", str(tmp_path / name)]) == 2
    assert f"could not have the {odd}; choose another home" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*GRID, "--dry-run", "--home", str(tmp_path / "a#b 100% [c] & ह")]) == 0
    assert not list(tmp_path.iterdir())  # nor does a dry run leave anything


def test_a_home_that_is_a_file_is_one_message(tmp_path, capfd):
    (tmp_path / "home").write_text("")
    assert main([*GRID, "--home", str(tmp_path / "home")]) == 2
    assert "cannot make the store's folder" in capfd.readouterr().err


@pytest.mark.parametrize("place", ["reports", "artifacts"])
def test_places_are_tried_before_anything_is_trained(place, tmp_path, capfd):
    home = tmp_path / "home"
    home.mkdir()
    (home / place).write_text("")
    assert main(["--grid", "quickstart", "--home", str(home), "--address", "none"]) == 2
    printed = capfd.readouterr()
    assert f"error: cannot use {str(home / place)!r}: it is a file where a folder" in printed.err
    assert "Traceback" not in printed.err
    assert not (home / "mlflow.db").exists()
    assert not [path for path in (home / "store").rglob("*") if path.is_file()]

"""Circuits of people's own in grids: they are read where the grid is, and travel in it."""

from pathlib import Path

import pytest
import yaml

from orchestrator import grid
from orchestrator.grid.space import at, inside, point
from qdllm.circuits.openqasm import label
from qdllm.errors import ConfigError
from qdllm.families.quantum import StudentSpec
from qdllm.spec import fingerprint

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float theta;\nqubit[3] q;\n'
LAYER = HEAD + "ry(theta) q[1];\n"
WHOLE = HEAD + "input float x;\nrx(x) q;\ncry(theta) q[0], q[1];\n"
SET = ["circuit.ansatz=layer.qasm"]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("layer.qasm").write_text(LAYER)
    Path("whole.qasm").write_text(WHOLE)


def load(text: str, *settings: str) -> grid.Grid:
    Path("mine.yaml").write_text(text)
    return grid.override(grid.load("mine.yaml"), settings)


def test_files_stand_wherever_settings_do():
    written = load(
        "base: {circuit: {qubits: 3}}\n"
        "axes:\n"
        "  kind:\n"
        "    whole: {circuit.file: whole.qasm}\n"
        "    named: {circuit.ansatz: brick, circuit.layers: 1}\n"
        "one_at_a_time: {circuit.observables: [z, z+zz, [ZII, IXY]]}\n"
    )
    specs = grid.specs(written)
    assert [spec.circuit.ansatz for spec in specs] == ["file"] * 3 + ["brick"] * 3
    assert [spec.circuit.observables for spec in specs] == 2 * ["z", "z+zz", ("ZII", "IXY")]


@pytest.mark.parametrize(
    "text",
    [
        "axes: {circuit.ansatz: [published, layer.qasm], circuit.layers: [1, 2]}\n",
        "base: {circuit.ansatz: layer.qasm}\naxes: {circuit.layers: [1, 2, 3, 4]}\n",
        "search: {space: {circuit.ansatz: [brick, layer.qasm], circuit.layers: {low: 1, high: 9}}}",
    ],
)
def test_a_grid_that_is_stored_needs_its_files_no_more(text):
    written = load(text)
    names = [fingerprint(spec) for spec in grid.specs(written)]
    Path("layer.qasm").unlink()
    plain = yaml.safe_load(yaml.safe_dump(written.model_dump(mode="json")))
    assert [fingerprint(spec) for spec in grid.specs(grid.Grid.parse(plain))] == names


def test_a_search_finds_again_what_it_has_tried():
    written = load("search: {space: {circuit.ansatz: [brick, layer.qasm], fit.lr: [0.1, 0.2]}}\n")
    assert written.search
    tried = StudentSpec.parse({"circuit": {"ansatz": "layer.qasm"}, "fit": {"lr": 0.1}})
    other = StudentSpec.parse({"circuit": {"ansatz": "textbook"}, "fit": {"lr": 0.1}})
    assert inside(written.search, tried)
    assert not inside(written.search, other)
    assert at(StudentSpec(), point(written.search, tried)) == tried


def test_people_read_a_files_name_and_a_digest():
    old, new = (load("name: a\naxes: {circuit.layers: [1, 2]}\n", *more) for more in ([], SET))
    (line,) = grid.difference(old, new)
    spec = grid.specs(new)[0]
    assert isinstance(spec, StudentSpec)
    assert line == f"base.circuit.ansatz: not set → {label(spec.circuit.ansatz)}"
    assert label(spec.circuit.ansatz).startswith("layer.qasm ")


def test_what_cannot_be_used_is_told_with_both_lines():
    Path("layer.qasm").write_text(LAYER + "foo q[0];\n")
    with pytest.raises(ConfigError) as caught:
        grid.specs(load("axes:\n  circuit.ansatz:\n  - brick\n  - layer.qasm\n"))
    assert str(caught.value).startswith("mine.yaml:4: circuit.ansatz: ")
    assert "layer.qasm:6: unknown gate 'foo'" in str(caught.value)


def test_a_file_that_a_setting_replaces_need_not_be_there():
    specs = grid.specs(load("base: {circuit.ansatz: none.qasm}\n", "circuit.ansatz=brick"))
    assert specs[0].circuit.ansatz == "brick"


def test_a_built_in_grid_takes_a_circuit():
    layers = grid.specs(grid.override(grid.load("ablation"), SET))
    assert len(layers) == 60
    assert {spec.circuit.qubits for spec in layers} == {3}
    whole = ["circuit.file=whole.qasm", "circuit.layers=1"]
    assert len(grid.specs(grid.override(grid.load("ablation"), whole))) == 12
    with pytest.raises(ConfigError, match="is a whole circuit, with layers of its own"):
        grid.specs(grid.override(grid.load("ablation"), whole[:1]))

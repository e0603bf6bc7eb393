"""What of a circuit is live, against the gradients that it has."""

import pytest
import torch

import qdllm
from qdllm.circuits.__main__ import main, read
from qdllm.circuits.circuit import angle_count, circuit, observables
from qdllm.circuits.cones import cones, depth
from qdllm.circuits.gates import Circuit, Gate, angle, constant, weight
from qdllm.circuits.layers import ANSATZE
from qdllm.circuits.spec import CircuitSpec
from qdllm.mindquantum import jacobians


def at_random(spec: CircuitSpec, examples: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (examples, angle_count(spec)), (qdllm.weight_count(spec),)
    angles, weights = (torch.rand(shape, generator=generator).double() * 6 for shape in shapes)
    _, in_angles, in_weights = jacobians(spec, angles, weights)
    return in_angles, in_weights


@pytest.mark.parametrize("observed", ["z", "z+zz", ["XIIII", "IZYII"]])
@pytest.mark.parametrize("encoding", ["rx", "reuploading", "rz-ry"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_cones_are_where_derivatives_are_not_zero(ansatz, encoding, observed):
    settings = {"ansatz": ansatz, "encoding": encoding, "qubits": 5, "observables": observed}
    spec = CircuitSpec.parse(settings)
    found = cones(circuit(spec), observables(spec))
    in_angles, in_weights = at_random(spec, 4)
    for number, cone in enumerate(found.cones):
        for derivatives, live in ((in_angles, cone.angles), (in_weights, cone.weights)):
            moved = (derivatives[:, number].abs() > 1e-12).any(0).nonzero().flatten()
            assert set(moved.tolist()) == live


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_as_many_rotations_differ_as_there_are_directions_in_which_the_circuit_moves(ansatz):
    spec = CircuitSpec(ansatz=ansatz, qubits=5, layers=2, observables="z+all-zz")
    _, in_weights = at_random(spec, 30)
    rank = torch.linalg.matrix_rank(in_weights.flatten(0, 1), atol=1e-9)
    # A wall of bricks leaves the last qubit alone at first: it has RY, RZ, RY there, of which Z
    # alone, which is a direction, is read.
    spare = 1 if ansatz == "brick" else 0
    assert cones(circuit(spec), observables(spec)).merged == rank + spare


def test_what_the_published_circuit_wastes():
    for layers, weights, live, merged in ((2, 144, 108, 47), (11, 792, 729, 299)):
        spec = CircuitSpec(layers=layers)
        found = cones(circuit(spec), observables(spec))
        assert (qdllm.weight_count(spec), len(found.weights), found.merged) == (
            weights,
            live,
            merged,
        )
        assert (found.cones[10].angles, found.cones[10].weights) == ({10}, set())


def test_fixed_gates_are_seen_through():
    # H makes the second RZ one about X, which does nothing to |+⟩; the first does nothing to |0⟩.
    gates = [Gate("rz", (0,), (weight(0),)), Gate("h", (0,)), Gate("rx", (0,), (weight(1),))]
    gates += [Gate("cx", (1, 0)), Gate("s", (1,)), Gate("ry", (1,), (angle(0),))]
    gates += [Gate("cz", (0, 1)), Gate("rx", (1,), (weight(2),)), Gate("rz", (1,), (weight(3),))]
    made = Circuit(2, tuple(gates), ("x",), ("a", "b", "c", "d"))
    found = cones(made, ["IZ", "ZI"])
    assert [(cone.angles, cone.weights) for cone in found.cones] == [({0}, {2}), (set(), set())]
    assert found.merged == 1
    assert depth(made) == 9


def test_what_commutes_away_is_one_rotation():
    # RZ on the control passes a CNOT; RY between them would part them.
    turn = [Gate("rz", (0,), (weight(n),)) for n in range(3)]
    around = [Gate("h", (0,)), turn[0], Gate("cx", (0, 1)), turn[1]]
    apart = [*around, Gate("ry", (0,), (angle(0),)), turn[2]]
    for gates, merged in ((around, 1), (apart, 2)):
        made = Circuit(2, (*gates, Gate("h", (0,))), ("x",), ("a", "b", "c"))
        assert cones(made, ["ZI", "IZ"]).merged == merged
    # A fixed angle that is no quarter turn parts them as well as one that is trained.
    gates = [Gate("h", (0,)), turn[0], Gate("ry", (0,), (constant(0.3),)), turn[1]]
    assert cones(Circuit(1, tuple(gates), (), ("a", "b")), ["X"]).merged == 2


def test_the_command_tells_of_a_file(tmp_path, capsys):
    path = tmp_path / "mine.qasm"
    path.write_text(
        'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float x;\ninput float a;\ninput float b;\n'
        "qubit[3] q;\nrx(x) q[0];\nry(a) q[1];\nswap q[0], q[2];\nu(b, pi, 0) q[0];\n"
        "crx(0.5 - a) q[2], q[0];\nrz(a / 2 + 1) q[1];\n"
    )
    assert main([str(path), "observables=[ZII,IIZ]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("'mine.qasm ")
    assert lines[1:6] == [
        "gates           6 (1 rx, 1 ry, 1 swap, 1 u, 1 crx, 1 rz)",
        "depth           4",
        "input angles    1, 1 of them live",
        "weights         2, 2 of them live, in 3 different rotations",
        "observables     2, and what each depends on:",
    ]
    assert lines[6:9] == [
        "  ZII  2 weights, input angles 0",
        "  IIZ  0 weights, input angles 0",
        "",
    ]
    assert lines[9:] == [
        "0: ─[rx(x)]──[swap]──[u(b,3.14,0)]──[rx(-a+0.5)]────────────────",
        "1: ─[ry(a)]────│─────────────────────────│────────[rz(0.5·a+1)]─",
        "2: ──────────[swap]──────────────────────●──────────────────────",
    ]


def test_the_command_tells_of_a_layer_and_of_an_ansatz(tmp_path, capsys):
    path = tmp_path / "layer.qasm"
    path.write_text("input float a; qubit[2] q; ry(a) q[0]; cx q[0], q[1];")
    assert main([str(path), "layers=3"]) == 0
    assert "weights         3, 3 of them live" in capsys.readouterr().out
    assert main(["published", "qubits=4"]) == 0
    assert "dead weights    layer0.rz_alpha.3, " in capsys.readouterr().out
    assert read("brick", ["qubits=3", "observables=[ZZI, IXX]"]).observables == ("ZZI", "IXX")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.qasm"], "error: cannot use 'none.qasm': No such file"),
        (["brik"], "error: unknown ansatz 'brik'; did you mean 'brick'?"),
        (["brick", "layers"], "error: 'layers' has no '='; write KEY=VALUE, such as layers=4"),
        (["brick", "layer=2"], "unknown key 'layer'; did you mean 'layers'?"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err

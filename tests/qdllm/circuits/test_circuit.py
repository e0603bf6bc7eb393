"""The circuit as data: exact gate lists, weight order, and the fused steps that they compile to."""

import pytest

import qdllm
from qdllm.circuits.circuit import (
    angle_count,
    circuit,
    gates,
    observables,
    weight_count,
    weight_names,
)
from qdllm.circuits.gates import Gate, angle, weight
from qdllm.circuits.layers import ANSATZE, ENCODINGS
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.fusion import compile_gates


def spec(ansatz: str, qubits: int, layers: int = 1) -> CircuitSpec:
    return CircuitSpec.parse({"ansatz": ansatz, "qubits": qubits, "layers": layers})


def test_the_papers_student_has_792_circuit_weights():
    assert weight_count(spec("published", 11, 11)) == 792
    assert weight_count(spec("published", 11, 2)) == 144
    assert weight_count(spec("textbook", 11, 1)) == 33 + 10 + 33


def test_published_on_four_qubits_gate_by_gate():
    circuit = [Gate("rx", (q,), (angle(q),)) for q in range(4)]
    number = 0
    for j in range(3):
        for _ in range(3):
            circuit.append(Gate("ry", (j,), (weight(number),)))
            number += 1
        if j != 2:
            circuit.append(Gate("rzz", (j + 1, j + 2), (weight(number),)))
            number += 1
    for j in range(4):
        for _ in range(3):
            circuit.append(Gate("rz", (j,), (weight(number),)))
            number += 1
    circuit += [Gate("cx", (3, 0)), Gate("cx", (1, 2)), Gate("cx", (1, 0))]
    assert list(gates(spec("published", 4))) == circuit


def test_textbook_on_two_qubits_gate_by_gate():
    # Weights are numbered qubit by qubit, so the RZZ between the RYs of 0 and 1 has number 3.
    ry = [Gate("ry", (0,), (weight(w),)) for w in (0, 1, 2)]
    ry += [Gate("ry", (1,), (weight(w),)) for w in (4, 5, 6)]
    rz = [Gate("rz", (0,), (weight(w),)) for w in (7, 8, 9)]
    rz += [Gate("rz", (1,), (weight(w),)) for w in (10, 11, 12)]
    layer = [*ry, Gate("rzz", (0, 1), (weight(3),)), *rz, Gate("cx", (0, 1))]
    encoding = [Gate("rx", (q,), (angle(q),)) for q in range(2)]
    assert list(gates(spec("textbook", 2))) == encoding + layer


def test_weight_names_follow_the_published_programs_order():
    names = weight_names(spec("published", 3, 2))
    assert names[:7] == (
        "layer0.ry_alpha.0",
        "layer0.ry_beta.0",
        "layer0.ry_gamma.0",
        "layer0.rzz_delta.0",
        "layer0.ry_alpha.1",
        "layer0.ry_beta.1",
        "layer0.ry_gamma.1",
    )
    assert names[7:10] == ("layer0.rz_alpha.0", "layer0.rz_beta.0", "layer0.rz_gamma.0")
    assert names[16:18] == ("layer1.ry_alpha.0", "layer1.ry_beta.0")


@pytest.mark.parametrize("ansatz", ANSATZE)
@pytest.mark.parametrize("qubits", [2, 3, 11])
def test_every_weight_turns_exactly_one_gate(ansatz, qubits):
    turned = [one for gate in gates(spec(ansatz, qubits, 3)) for one in gate.angles]
    used = sorted(one.weight for one in turned if one.weight is not None)
    assert used == list(range(weight_count(spec(ansatz, qubits, 3))))


def live_weights(circuit: CircuitSpec) -> set[int]:
    program = compile_gates(gates(circuit), circuit.qubits)
    pairs = (pair for step in program.steps for pair in (*step.phases, *step.rotations))
    return {one.weight for _, one in pairs if one.weight is not None}


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_a_layer_is_one_step(ansatz):
    circuit = spec(ansatz, 11, 5)
    assert len(compile_gates(gates(circuit), 11).steps) == 5


def test_dead_weights_fall_away_in_compilation():
    # published: RZ of the last layer (33) and of the last qubit in the layers before (3 each).
    published, textbook = spec("published", 11, 11), spec("textbook", 11, 11)
    assert len(live_weights(published)) == 792 - 33 - 3 * 10
    # textbook: all of the last layer's RZZ and RZ.
    assert len(live_weights(textbook)) == 11 * 76 - 10 - 33


def test_strongly_entangling_reaches_further_with_every_layer():
    pairs = [gate.qubits for gate in gates(spec("strongly-entangling", 4, 4)) if gate.name == "cx"]
    reaches = [pairs[4 * layer : 4 * layer + 4] for layer in range(4)]
    assert reaches[0] == reaches[3] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert reaches[1] == [(0, 2), (1, 3), (2, 0), (3, 1)]
    assert reaches[2] == [(0, 3), (1, 0), (2, 1), (3, 2)]


def test_bricks_lie_over_the_gaps_of_the_layer_below():
    pairs = [gate.qubits for gate in gates(spec("brick", 5, 2)) if gate.name == "cz"]
    assert pairs == [(0, 1), (2, 3), (1, 2), (3, 4)]


def test_all_to_all_has_a_weight_for_every_pair():
    assert weight_count(spec("all-to-all", 11)) == 22 + 55
    pairs = {gate.qubits for gate in gates(spec("all-to-all", 5)) if gate.name == "rzz"}
    assert len(pairs) == 10


@pytest.mark.parametrize(
    ("encoding", "names", "count"),
    [("rx", "rx", 3), ("ry", "ry", 3), ("rz-ry", "ry rz", 6), ("reuploading", "rx", 3)],
)
def test_encodings_number_their_angles_gate_by_gate(encoding, names, count):
    made = CircuitSpec(encoding=encoding, qubits=3, layers=2, ansatz="brick")
    assert angle_count(made) == count == len(circuit(made).angles)
    first = [
        Gate(n, (q,), (angle(3 * g + q),)) for g, n in enumerate(names.split()) for q in range(3)
    ]
    assert list(gates(made)[:count]) == first
    inside = [g for g in gates(made)[count:] if any(one.angle is not None for one in g.angles)]
    assert inside == (first if encoding == "reuploading" else [])


def test_observables_by_name():
    assert observables(CircuitSpec(qubits=3)) == ("ZII", "IZI", "IIZ")
    assert observables(CircuitSpec(qubits=3, observables="z+zz"))[3:] == ("ZZI", "IZZ")
    assert observables(CircuitSpec(qubits=3, observables="z+all-zz"))[3:] == ("ZZI", "ZIZ", "IZZ")
    assert len(observables(CircuitSpec(observables="z+all-zz"))) == 66


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_what_is_built_in_takes_a_step_a_layer(ansatz, encoding):
    # Re-uploading turns qubits again before each layer but the first.
    made = CircuitSpec(ansatz=ansatz, encoding=encoding, layers=4)
    expected = 7 if encoding == "reuploading" else 4
    assert len(compile_gates(gates(made), 11).steps) == expected


def test_the_package_shows_its_face_lazily():
    assert qdllm.weight_count(qdllm.CircuitSpec(layers=11)) == 792
    assert "expectations" in dir(qdllm)
    with pytest.raises(AttributeError, match="no attribute 'expectation'"):
        _ = qdllm.expectation

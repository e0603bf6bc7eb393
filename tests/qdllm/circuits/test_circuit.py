"""The circuit as data: exact gate lists, weight order, and the fused steps that they compile to."""

from typing import get_args

import pytest

import qdllm
from qdllm.circuits.gates import ANSATZE, Gate, gates, weight_count, weight_names
from qdllm.engine.fusion import QUARTER_TURN, compile_gates
from qdllm.specs import CircuitSpec


def spec(ansatz: str, qubits: int, layers: int = 1) -> CircuitSpec:
    return CircuitSpec.parse({"ansatz": ansatz, "qubits": qubits, "layers": layers})


def test_the_ansaetze_are_those_of_the_spec():
    assert set(ANSATZE) == set(get_args(CircuitSpec.model_fields["ansatz"].annotation))


def test_the_papers_student_has_792_circuit_weights():
    assert weight_count(spec("published", 11, 11)) == 792
    assert weight_count(spec("published", 11, 2)) == 144
    assert weight_count(spec("textbook", 11, 1)) == 33 + 10 + 33


def test_published_on_four_qubits_gate_by_gate():
    circuit = [Gate("rx", (q,), angle=q) for q in range(4)]
    number = 0
    for j in range(3):
        for _ in range(3):
            circuit.append(Gate("ry", (j,), weight=number))
            number += 1
        if j != 2:
            circuit.append(Gate("rzz", (j + 1, j + 2), weight=number))
            number += 1
    for j in range(4):
        for _ in range(3):
            circuit.append(Gate("rz", (j,), weight=number))
            number += 1
    circuit += [Gate("cx", (3, 0)), Gate("cx", (1, 2)), Gate("cx", (1, 0))]
    assert list(gates(spec("published", 4))) == circuit


def test_textbook_on_two_qubits_gate_by_gate():
    # Weights are numbered qubit by qubit, so the RZZ between the RYs of 0 and 1 has number 3.
    ry = [Gate("ry", (0,), weight=w) for w in (0, 1, 2)]
    ry += [Gate("ry", (1,), weight=w) for w in (4, 5, 6)]
    rz = [Gate("rz", (0,), weight=w) for w in (7, 8, 9)]
    rz += [Gate("rz", (1,), weight=w) for w in (10, 11, 12)]
    layer = [*ry, Gate("rzz", (0, 1), weight=3), *rz, Gate("cx", (0, 1))]
    encoding = [Gate("rx", (q,), angle=q) for q in range(2)]
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
    circuit = gates(spec(ansatz, qubits, 3))
    used = sorted(gate.weight for gate in circuit if gate.weight is not None)
    assert used == list(range(weight_count(spec(ansatz, qubits, 3))))


def live_weights(circuit: CircuitSpec) -> set[int]:
    program = compile_gates(gates(circuit), circuit.qubits)
    pairs = (pair for step in program.steps for pair in (*step.phases, *step.rotations))
    return {weight for _, weight in pairs} - {QUARTER_TURN}


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


def test_the_package_shows_its_face_lazily():
    assert qdllm.weight_count(qdllm.CircuitSpec(layers=11)) == 792
    assert "expectations" in dir(qdllm)
    with pytest.raises(AttributeError, match="no attribute 'expectation'"):
        _ = qdllm.expectation

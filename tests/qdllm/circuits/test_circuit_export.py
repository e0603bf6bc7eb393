"""Circuits in OpenQASM, held against readers that are not ours."""

import random

import numpy as np
import pytest
import torch
from dense import dense
from qiskit import qasm2, qasm3
from qiskit.quantum_info import SparsePauliOp, Statevector

from qdllm.circuits.circuit import angle_count, circuit, observables, weight_count
from qdllm.circuits.export import bound, template
from qdllm.circuits.gates import GATES, Angle, Circuit, Gate
from qdllm.circuits.settings import settings
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import expectations

CLOSE = 1e-10
EXPERIMENTAL = "ignore:This is an experimental native version"


def every_gate(qubits: int) -> Circuit:
    """Each gate of the table, on angles without symmetry; weights, inputs and numbers."""
    randomly = random.Random(1)
    gates = [Gate("ry", (q,), (Angle(angle=q),)) for q in range(qubits)]
    for number, (name, kind) in enumerate(GATES.items()):
        sources = [
            Angle(weight=(number + k) % 5, factor=0.7, offset=randomly.uniform(-4, 4))
            if k % 2
            else Angle(angle=(number + k) % qubits, factor=-1.3, offset=randomly.uniform(-4, 4))
            for k in range(kind.angles)
        ]
        where = tuple(randomly.sample(range(qubits), kind.qubits))
        gates += [Gate(name, where, tuple(sources)), Gate("rx", where[:1], (Angle(offset=0.9),))]
    names = tuple(f"x{q}" for q in range(qubits)), tuple(f"w{k}" for k in range(5))
    return Circuit(qubits, tuple(gates), *names)


def read_by_qiskit(made, strings: tuple[str, ...]) -> np.ndarray:
    made.remove_final_measurements()
    state = Statevector(made)
    return np.array([state.expectation_value(SparsePauliOp(s[::-1])).real for s in strings])


@pytest.mark.filterwarnings(EXPERIMENTAL)
@pytest.mark.parametrize(
    ("version", "load"),
    [(2, qasm2.loads), (3, qasm3.loads), (3, qasm3.loads_experimental)],
)
def test_strict_readers_take_every_gate_of_the_table(version, load):
    made, generator = every_gate(4), torch.Generator().manual_seed(0)
    angles_A = torch.randn(4, generator=generator, dtype=torch.float64) * 3
    weights_W = torch.randn(5, generator=generator, dtype=torch.float64) * 3
    strings = ("ZIII", "IZII", "IIZI", "IIIZ", "XYZX")
    expected = dense(made.gates, 4, strings, angles_A[None], weights_W)[0]
    text = bound(made, weights_W.tolist(), angles_A.tolist(), version)
    assert np.abs(read_by_qiskit(load(text), strings) - expected.numpy()).max() < CLOSE


@pytest.fixture(scope="module")
def paper():
    """The paper's circuit with two layers, and one example."""
    spec, generator = CircuitSpec(layers=2), torch.Generator().manual_seed(0)
    angles_NA = torch.randn(2, angle_count(spec), generator=generator, dtype=torch.float64) * 3
    weights_W = torch.randn(weight_count(spec), generator=generator, dtype=torch.float64) * 2
    return spec, angles_NA, weights_W, expectations(spec, angles_NA, weights_W).numpy()


def test_a_template_has_eleven_named_angles_and_serves_a_table_of_texts(paper):
    spec, angles_NA, weights_W, exact = paper
    made = template(circuit(spec), weights_W.tolist())
    assert made.names == tuple(f"z{q}" for q in range(11))
    assert "rx({{z10}}) q[10];" in made.text
    assert made.text.endswith("measure q[10] -> c[10];\n")
    points = made.points(angles_NA.numpy())
    assert points.shape == (2, 11)
    assert (np.abs(points) <= np.pi).all()
    for point, expected in zip(points, exact, strict=True):
        values = read_by_qiskit(qasm2.loads(made.bound(point)), observables(spec))
        assert np.abs(values - expected).max() < CLOSE
    three = template(circuit(spec), weights_W.tolist(), 3)
    loaded = qasm3.loads(three.text).assign_parameters(
        dict(zip(three.names, points[1], strict=True))
    )
    assert np.abs(read_by_qiskit(loaded, observables(spec)) - exact[1]).max() < CLOSE


def test_mindquantum_reads_it(paper):
    from mindquantum.io import OpenQASM
    from mindquantum.simulator import Simulator

    spec, angles_NA, weights_W, exact = paper
    text = bound(circuit(spec), weights_W.tolist(), angles_NA[0].tolist())
    lines = [line for line in text.splitlines() if not line.startswith(("creg", "measure"))]
    simulator = Simulator("mqvector", 11)
    simulator.apply_circuit(OpenQASM().from_string("\n".join(lines) + "\n"))
    p_X = np.abs(simulator.get_qs()) ** 2
    index = np.arange(2**11)
    values = [float(p_X @ (1 - 2 * (index >> q & 1))) for q in range(11)]
    assert np.abs(values - exact[0]).max() < CLOSE


def test_pennylane_reads_it(paper):
    import pennylane as qml

    spec, angles_NA, weights_W, exact = paper
    text = bound(circuit(spec), weights_W.tolist(), angles_NA[0].tolist(), 3)
    lines = [line for line in text.splitlines() if not line.startswith(("include", "bit", "c["))]
    wires = [f"q[{q}]" for q in range(11)]

    @qml.qnode(qml.device("default.qubit", wires=wires))
    def run():
        qml.from_qasm3("\n".join(lines), {f"q[{q}]": f"q[{q}]" for q in range(11)})()
        return [qml.expval(qml.Z(wire)) for wire in wires]

    assert np.abs(np.array(run()) - exact[0]).max() < CLOSE


def test_an_angle_used_in_two_ways_has_two_places():
    made = Circuit(
        2,
        (
            Gate("rx", (0,), (Angle(angle=0),)),
            Gate("rx", (1,), (Angle(angle=0, factor=2.0, offset=0.5),)),
            Gate("rx", (0,), (Angle(angle=0),)),
        ),
        ("x0",),
        (),
    )
    found = template(made, ())
    assert found.names == ("z0", "z0_1")
    assert found.points(np.array([[0.25]])).tolist() == [[0.25, 1.0]]


def test_as_few_settings_as_bases_need():
    spec = CircuitSpec(qubits=4, layers=1, observables=["ZIII", "XXII", "IIYZ", "ZZII", "IIIZ"])
    found = settings(circuit(spec), observables(spec))
    assert [one.observables for one in found] == [(0, 2, 3, 4), (1,)]
    assert [one.masks for one in found] == [(0b0001, 0b1100, 0b0011, 0b1000), (0b0011,)]
    generator = torch.Generator().manual_seed(0)
    angles_NA = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    weights_W = torch.randn(weight_count(spec), generator=generator, dtype=torch.float64)
    exact = dense(circuit(spec).gates, 4, observables(spec), angles_NA, weights_W)[0]
    for one in found:
        strings = ["".join("IZ"[mask >> q & 1] for q in range(4)) for mask in one.masks]
        values = dense(one.circuit.gates, 4, strings, angles_NA, weights_W)[0]
        assert (values - exact[list(one.observables)]).abs().max() < CLOSE

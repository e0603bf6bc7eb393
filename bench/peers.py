"""The contenders: each turns a problem into a call that returns values and both gradients.

A call does what one training step needs of a simulator: all ⟨Z⟩ of a batch, and the gradients, in
every angle and every weight, of one scalar of them. PEERS at the end lists who takes part.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import qdllm
from qdllm.circuits.gates import Gate, gates

Array = NDArray[Any]


class Problem(NamedTuple):
    """One batch: the scalar is Σ factors · ⟨Z⟩."""

    spec: qdllm.CircuitSpec
    angles_NQ: Array
    weights_W: Array
    factors_NQ: Array


class Answer(NamedTuple):
    expectations_NQ: Array
    angle_grads_NQ: Array
    weight_grads_W: Array


Call = Callable[[], Answer]


class Peer(NamedTuple):
    name: str
    package: str
    """The installed distribution that it needs."""
    prepare: Callable[[Problem], Call]
    """Everything that is done once per circuit."""

    def version(self) -> str | None:
        """None where the package is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def engine(problem: Problem) -> Call:
    angles, weights = (
        torch.tensor(array, dtype=torch.float32, requires_grad=True)
        for array in (problem.angles_NQ, problem.weights_W)
    )
    factors = torch.tensor(problem.factors_NQ, dtype=torch.float32)

    def call() -> Answer:
        results = qdllm.expectations(problem.spec, angles, weights)
        grads = torch.autograd.grad(results, (angles, weights), factors)
        return Answer(results.detach().numpy(), *(grad.numpy() for grad in grads))

    return call


def grouped(circuit: Sequence[Gate], merge: bool) -> tuple[list[Gate], list[list[int]]]:
    """The circuit with weights numbered as its gates come, and which of ours each one sums.

    With `merge`, neighbouring rotations of one kind on one qubit become one.
    """
    result: list[Gate] = []
    groups: list[list[int]] = []
    for gate in circuit:
        if gate.weight is None:
            result.append(gate)
        elif merge and result[-1].weight is not None and result[-1][:2] == gate[:2]:
            groups[-1].append(gate.weight)
        else:
            result.append(gate._replace(weight=len(groups)))
            groups.append([gate.weight])
    return result, groups


def mindquantum_as_published(problem: Problem) -> Call:
    return _mindquantum_jacobian(problem, *grouped(gates(problem.spec), merge=False))


def mindquantum_merged(problem: Problem) -> Call:
    return _mindquantum_jacobian(problem, *grouped(gates(problem.spec), merge=True))


def _mindquantum_jacobian(
    problem: Problem, circuit: Sequence[Gate], groups: list[list[int]]
) -> Call:
    """As the published program does: one adjoint sweep for each of the observables."""
    import mindquantum
    from mindquantum.core.operators import Hamiltonian, QubitOperator
    from mindquantum.simulator import Simulator

    from qdllm.mindquantum import circuit_of

    qubits = problem.spec.qubits
    simulator = Simulator("mqvector", qubits, dtype=mindquantum.complex64)
    observables = [
        Hamiltonian(QubitOperator(f"Z{q}")).astype(mindquantum.complex64) for q in range(qubits)
    ]
    program = circuit_of(circuit)
    run = simulator.get_expectation_with_grad(observables, program, parallel_worker=1)
    sums = np.array([problem.weights_W[group].sum() for group in groups])

    def call() -> Answer:
        values, in_angles, in_weights = run(problem.angles_NQ, sums)
        return Answer(
            values.real,
            np.einsum("nq,nqa->na", problem.factors_NQ, in_angles.real),
            _spread(np.einsum("nq,nqw->w", problem.factors_NQ, in_weights.real), groups),
        )

    return call


def mindquantum_weighted(problem: Problem) -> Call:
    """What a user who knows would write: per example one Hamiltonian, so one adjoint sweep."""
    import mindquantum
    from mindquantum.core.operators import Hamiltonian, QubitOperator
    from mindquantum.simulator import Simulator

    from qdllm.mindquantum import circuit_of

    qubits = problem.spec.qubits
    circuit, groups = grouped(gates(problem.spec), merge=True)
    program = circuit_of(circuit)
    simulator = Simulator("mqvector", qubits, dtype=mindquantum.complex64)
    sums = np.array([problem.weights_W[group].sum() for group in groups])
    signs = 1 - 2 * (np.arange(2**qubits)[:, None] >> np.arange(qubits) & 1)

    def call() -> Answer:
        rows = []
        for angles_Q, factors_Q in zip(problem.angles_NQ, problem.factors_NQ, strict=True):
            simulator.reset()
            simulator.apply_circuit(program, np.concatenate([angles_Q, sums]))
            values = np.abs(simulator.get_qs()) ** 2 @ signs
            simulator.reset()
            operator = sum(
                (QubitOperator(f"Z{q}", float(factors_Q[q])) for q in range(qubits)),
                QubitOperator(),
            )
            hamiltonian = Hamiltonian(operator).astype(mindquantum.complex64)
            run = simulator.get_expectation_with_grad(hamiltonian, program, parallel_worker=1)
            _, in_angles, in_weights = run(angles_Q[None], sums)
            rows.append((values, in_angles.real[0, 0], in_weights.real[0, 0]))
        values, in_angles, in_weights = (np.stack(part) for part in zip(*rows, strict=True))
        return Answer(values, in_angles, _spread(in_weights.sum(0), groups))

    return call


def _spread(grads: Array, groups: list[list[int]]) -> Array:
    """Every weight of a merged rotation has that rotation's gradient."""
    result = np.empty(sum(map(len, groups)))
    for grad, group in zip(grads, groups, strict=True):
        result[group] = grad
    return result


def pennylane_lightning(problem: Problem) -> Call:
    import pennylane as qml

    qubits = problem.spec.qubits
    apply = {"rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rzz": qml.IsingZZ}
    device = qml.device("lightning.qubit", wires=qubits, c_dtype=np.complex64)

    @qml.qnode(device, interface="torch", diff_method="adjoint")
    def circuit(angles: torch.Tensor, weights: torch.Tensor) -> list[Any]:
        for gate in gates(problem.spec):
            if gate.name == "cx":
                qml.CNOT(wires=gate.qubits)
            else:
                angle = weights[gate.weight] if gate.angle is None else angles[gate.angle]
                apply[gate.name](angle, wires=gate.qubits)
        return [qml.expval(qml.PauliZ(q)) for q in range(qubits)]

    angles, weights = (
        torch.tensor(array, requires_grad=True) for array in (problem.angles_NQ, problem.weights_W)
    )
    factors = torch.tensor(problem.factors_NQ)

    def call() -> Answer:
        results = torch.stack([torch.stack(circuit(row, weights)) for row in angles])
        grads = torch.autograd.grad(results, (angles, weights), factors.to(results))
        return Answer(results.detach().numpy(), *(grad.numpy() for grad in grads))

    return call


ENGINE = Peer("this engine", "numba", engine)
PEERS = (
    Peer("MindQuantum, as published", "mindquantum", mindquantum_as_published),
    Peer("MindQuantum, merged rotations", "mindquantum", mindquantum_merged),
    Peer("MindQuantum, one weighted Hamiltonian", "mindquantum", mindquantum_weighted),
    Peer("PennyLane lightning, as published", "pennylane-lightning", pennylane_lightning),
)

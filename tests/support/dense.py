"""Any circuit of the gate table as dense matrices in double precision, from textbook definitions.

Nothing here knows how the engine writes a gate. All is differentiable by torch.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from qdllm.circuits.gates import Angle, Gate

PAULIS = {
    "I": torch.eye(2, dtype=torch.complex128),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}
FIXED = {
    "h": (PAULIS["X"] + PAULIS["Z"]) / math.sqrt(2),
    "x": PAULIS["X"],
    "y": PAULIS["Y"],
    "z": PAULIS["Z"],
    "s": torch.diag(torch.tensor([1, 1j], dtype=torch.complex128)),
    "sdg": torch.diag(torch.tensor([1, -1j], dtype=torch.complex128)),
    "t": torch.diag(torch.tensor([1, (1 + 1j) / math.sqrt(2)], dtype=torch.complex128)),
    "tdg": torch.diag(torch.tensor([1, (1 - 1j) / math.sqrt(2)], dtype=torch.complex128)),
    "sx": torch.tensor([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]], dtype=torch.complex128) / 2,
}
PERMUTED = {"ccx": [0, 1, 2, 7, 4, 5, 6, 3], "cswap": [0, 1, 2, 5, 4, 3, 6, 7]}


def pauli(string: str) -> Tensor:
    """(2^Q, 2^Q); the string's first letter is qubit 0's, the index's least significant bit."""
    return reduce(torch.kron, [PAULIS[letter] for letter in reversed(string)])


def rotation(string: str, angle: Tensor) -> Tensor:
    """exp(−iθP/2)."""
    identity = torch.eye(2 ** len(string), dtype=torch.complex128)
    return (angle / 2).cos() * identity - 1j * (angle / 2).sin() * pauli(string)


def single(name: str, angles: Sequence[Tensor]) -> Tensor:
    """A one-qubit gate's matrix."""
    if name in FIXED:
        return FIXED[name]
    if name == "p":
        return torch.diag(torch.stack([torch.ones_like(angles[0]) + 0j, (1j * angles[0]).exp()]))
    if name == "u":
        theta, phi, lam = angles
        c, s = (theta / 2).cos() + 0j, (theta / 2).sin() + 0j
        top = torch.stack([c, -(1j * lam).exp() * s])
        return torch.stack([top, torch.stack([(1j * phi).exp() * s, (1j * (phi + lam)).exp() * c])])
    return rotation(name[1].upper(), angles[0])


def local(name: str, angles: Sequence[Tensor]) -> Tensor:
    """A gate's matrix on its own qubits, the first of them the least significant bit."""
    if name in ("ccx", "cswap"):
        return torch.eye(8, dtype=torch.complex128)[PERMUTED[name]]
    if name == "swap":
        return torch.eye(4, dtype=torch.complex128)[[0, 2, 1, 3]]
    if name in ("rxx", "ryy", "rzz"):
        return rotation(name[1:].upper(), angles[0])
    if name[0] == "c":
        free, target = torch.eye(2, dtype=torch.complex128), single(name[1:], angles)
        zero, one = (torch.diag(torch.tensor(d, dtype=torch.complex128)) for d in ([1, 0], [0, 1]))
        return torch.kron(free, zero) + torch.kron(target, one)
    return single(name, angles)


def applied(state: Tensor, gate: Gate, angles: Sequence[Tensor], qubits: int) -> Tensor:
    """The gate on a state of shape (2^Q,)."""
    count = len(gate.qubits)
    matrix = local(gate.name, angles).reshape((2,) * (2 * count))
    # Axis a of the state belongs to qubit Q − 1 − a; of the matrix, the first qubit comes last.
    axes = [qubits - 1 - q for q in reversed(gate.qubits)]
    inner = list(range(count, 2 * count))
    out = torch.tensordot(matrix, state.reshape((2,) * qubits), dims=(inner, axes))
    return torch.movedim(out, list(range(count)), axes).reshape(-1)


def value(angle: Angle, angles_A: Tensor, weights_W: Tensor) -> Tensor:
    if angle.constant:
        return torch.tensor(angle.offset, dtype=torch.float64)
    source = angles_A[angle.angle] if angle.angle is not None else weights_W[angle.weight]
    return angle.factor * source + angle.offset


def dense(
    circuit: Sequence[Gate],
    qubits: int,
    strings: Sequence[str],
    angles_NA: Tensor,
    weights_W: Tensor,
) -> Tensor:
    """Expectations of the strings (N, M) on |0…0⟩."""
    measured = [pauli(string) for string in strings]
    rows = []
    for angles_A in angles_NA:
        state = torch.zeros(2**qubits, dtype=torch.complex128)
        state[0] = 1
        for gate in circuit:
            angles = [value(angle, angles_A, weights_W) for angle in gate.angles]
            state = applied(state, gate, angles, qubits)
        rows.append(torch.stack([torch.vdot(state, matrix @ state).real for matrix in measured]))
    return torch.stack(rows)

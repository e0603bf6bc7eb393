"""The same function in a circuit that is easier to lay out: without a qubit that is but a bit.

A qubit that is turned once from |0⟩, and from then on only controls gates or meets rotations about
Z, never leaves the mixture of its two bits that it had. So the circuit is a mixture of two, in
which that qubit is 0, and 1: a controlled X is there or not, a rotation about ZZ becomes one about
±Z, and the qubit itself is left out. Of `published` that is its last qubit, which makes a ring of
eleven two chains of ten, with no approximation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qdllm.circuits.gates import Angle, Circuit, Gate, steps

TURNS = ("rx", "ry")


class Form(NamedTuple):
    """A mixture of circuits: its branches, or the one circuit itself."""

    branches: tuple[Circuit, ...]
    bit: int | None
    """The qubit that is left out, and is 0 in the first branch and 1 in the second."""
    turn: Angle | None
    """By which it is turned; the first branch counts with cos² of half of it."""

    def shares(self, angles_NA: np.ndarray, weights_W: np.ndarray) -> np.ndarray:
        """(branches, N): how much each branch counts for each example."""
        if self.turn is None:
            return np.ones((1, len(angles_NA)))
        source = (
            angles_NA[:, self.turn.angle]
            if self.turn.angle is not None
            else np.full(
                len(angles_NA), 0.0 if self.turn.weight is None else weights_W[self.turn.weight]
            )
        )
        one_N = np.sin((source * self.turn.factor + self.turn.offset) / 2) ** 2
        return np.stack([1 - one_N, one_N])

    def left(self, mask: int) -> int:
        """A parity's qubits, as the branches number theirs."""
        if self.bit is None:
            return mask
        low = (1 << self.bit) - 1
        return mask & low | (mask >> 1) & ~low

    def signs(self, mask: int) -> tuple[float, ...]:
        """What the bit that is left out makes of a parity in each branch."""
        if self.bit is None:
            return (1.0,)
        return (1.0, -1.0 if mask >> self.bit & 1 else 1.0)


def formed(circuit: Circuit, form: str) -> Form:
    """The circuit without a qubit that is but a bit, if it has one and `form` is two-chains."""
    if form == "two-chains":
        for q in reversed(range(circuit.qubits)):
            turn = _turn(circuit, q)
            if turn is not None:
                return Form(tuple(_branch(circuit, q, bit) for bit in (0, 1)), q, turn)
    return Form((circuit,), None, None)


def _turn(circuit: Circuit, q: int) -> Angle | None:
    """By what a qubit is turned at first, if all that comes after leaves its bit alone."""
    of_qubit = [gate for gate in circuit.gates if q in gate.qubits]
    if circuit.qubits < 3 or not of_qubit or of_qubit[0].name not in TURNS:
        return None
    after = (step for gate in of_qubit[1:] for step in steps(gate) if q in step.qubits)
    diagonal = all(
        step.name in ("rz", "rzz") or (step.name == "cx" and step.qubits[0] == q) for step in after
    )
    return of_qubit[0].angles[0] if diagonal else None


def _branch(circuit: Circuit, q: int, bit: int) -> Circuit:
    found, turned = list[Gate](), False
    for gate in circuit.gates:
        if q not in gate.qubits:
            found.append(_renumbered(gate, q))
        elif not turned:
            turned = True
        else:
            found += [_renumbered(one, q) for step in steps(gate) for one in _given(step, q, bit)]
    return circuit._replace(qubits=circuit.qubits - 1, gates=tuple(found))


def _given(step: Gate, q: int, bit: int) -> Sequence[Gate]:
    """What a primitive comes to where the qubit's bit is known."""
    if q not in step.qubits:
        return [step]
    if step.name == "rz":
        return []
    (other,) = (each for each in step.qubits if each != q)
    if step.name == "cx":
        return [Gate("x", (other,))] if bit else []
    (angle,) = step.angles
    return [Gate("rz", (other,), (angle.times(-1) if bit else angle,))]


def _renumbered(gate: Gate, q: int) -> Gate:
    return gate._replace(qubits=tuple(each - (each > q) for each in gate.qubits))

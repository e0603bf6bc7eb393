"""Compiles a list of gates into the few fused steps that the engine runs.

CNOTs permute basis states linearly over GF(2), RZ and RZZ multiply by a sign-dependent phase
exp(∓iθ/2) whose sign is the parity of some of the index's bits (a mask), and RY is real. So every
circuit of these gates is a sequence of steps `permute, multiply by one diagonal, rotate qubits`:
a diagonal is pulled through a permutation by mapping its masks, and through the rotations of
other qubits as it is. What is left after the last rotation cannot change any ⟨Z⟩ and falls away;
a final permutation only says which parities the ⟨Z⟩ are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qdllm.circuits.gates import Gate

QUARTER_TURN = -1
"""Weight index of the constant phase −π/2: RX(z)|0⟩ is RZ(−π/2) RY(z)|0⟩ up to a global phase."""


class Step(NamedTuple):
    """new[y] = (rotations) of phase[y] · old[source(y)].

    `source` is linear: the XOR of `source[q]` over the bits q set in y. Each phase is a pair of
    mask and weight, each rotation a pair of qubit and weight; a weight may stand in several.
    """

    source: tuple[int, ...]
    phases: tuple[tuple[int, int], ...]
    rotations: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A product state ⊗ RY(angle q)|0⟩, then the steps, then ⟨Z_q⟩ of state[readout(y)]."""

    qubits: int
    steps: tuple[Step, ...]
    readout: tuple[int, ...]


def parity(bits: int) -> int:
    """1 where an odd number of bits is set."""
    return bits.bit_count() & 1


def compile_gates(circuit: Sequence[Gate], qubits: int) -> Program:
    """Fuse a circuit of our gates, in any order, that opens with the RX encoding of every qubit."""
    assert set(circuit[:qubits]) == {Gate("rx", (q,), angle=q) for q in range(qubits)}
    identity = tuple(1 << q for q in range(qubits))
    steps: list[Step] = []
    source, rotations = identity, list[tuple[int, int]]()
    phases = [(1 << q, QUARTER_TURN) for q in range(qubits)]
    turned = 0
    next_source, next_phases = list(identity), list[tuple[int, int]]()

    def close() -> None:
        """End the step. Phases that commute with its rotations move on: some fall off the end."""
        nonlocal source, phases, rotations, turned, next_source, next_phases
        stay = [term for term in phases if term[0] & turned]
        move = [
            (sum(parity(mask & next_source[q]) << q for q in range(qubits)), weight)
            for mask, weight in phases
            if not mask & turned
        ]
        steps.append(Step(source, tuple(stay), tuple(rotations)))
        source, phases = tuple(next_source), move + next_phases
        rotations, turned = [], 0
        next_source, next_phases = list(identity), []

    for gate in circuit[qubits:]:
        bits = sum(1 << q for q in gate.qubits)
        if gate.name == "ry":
            assert gate.weight is not None
            if tuple(next_source) != identity or any(mask & bits for mask, _ in next_phases):
                close()
            rotations.append((gate.qubits[0], gate.weight))
            turned |= bits
        elif gate.name in ("rz", "rzz"):
            assert gate.weight is not None
            early = tuple(next_source) == identity and not bits & turned
            (phases if early else next_phases).append((bits, gate.weight))
        else:
            assert gate.name == "cx", gate.name
            control, target = gate.qubits
            next_source[control] ^= next_source[target]
            next_phases = [
                (mask ^ ((mask >> target & 1) << control), weight) for mask, weight in next_phases
            ]
    close()
    return Program(qubits, tuple(steps), source)

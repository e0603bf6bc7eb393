"""Compiles a list of gates into the few fused steps that the engine runs.

Whatever the gate table holds is a sequence of five primitives. X and CNOT permute basis states,
affinely over GF(2); RZ and RZZ multiply by a phase exp(∓iθ/2) whose sign is the parity of some of
the index's bits (a mask); and RY is real. So every circuit is a sequence of steps `permute,
multiply by one diagonal, rotate qubits`: a gate goes as early as it commutes to, phases through
permutations by mapping their masks. What is left after the last rotation and commutes with all
observables cannot change them and falls away; a final permutation only maps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import NamedTuple

from qdllm.circuits.gates import Angle, Gate, constant, steps


class Step(NamedTuple):
    """new[y] = (rotations) of phase[y] · old[source(y ^ flip)].

    `source` is linear: the XOR of `source[q]` over the bits q set in y. Each phase is a pair of
    mask and angle, each rotation a pair of qubit and angle; a weight may stand in several.
    """

    source: tuple[int, ...]
    flip: int
    phases: tuple[tuple[int, Angle], ...]
    rotations: tuple[tuple[int, Angle], ...]


class Observable(NamedTuple):
    """Σ_x i^power (−1)^parity(z & x) conj(ψ[x ^ flip]) ψ[x] of the state after the last step."""

    flip: int
    z: int
    power: int


@dataclass(frozen=True, eq=False)
class Program:
    """A product state ⊗ RY(start q)|0⟩, then the steps, then the observables."""

    qubits: int
    start: tuple[Angle, ...]
    steps: tuple[Step, ...]
    observables: tuple[Observable, ...]
    readout: tuple[int, ...] | None
    """Where the observables are Z of every qubit in order: bit q of y is qubit q's where the state
    is taken as state[readout(y)]."""
    readout_flip: int
    """As a step's `flip`, for `readout`."""

    def memory(self, students: int, examples: int) -> int:
        """Bytes, nearly, that the kernels hold at once to train on a batch in single precision.

        Kept for the way back, of each student: a phase for each step and amplitude, and the last
        state of every example, in blocks of eight. Beside that once, for each step and amplitude,
        a sum and an entry of its permutation, where that is not another one's; and the two states
        of a block that are at work, and what they are made into.
        """
        maps = {step.source for step in self.steps}
        by_inputs = sum(any(a.angle is not None for _, a in step.phases) for step in self.steps)
        numbers = students * (2 * len(self.steps) + 16 * -(-examples // 8)) + 2 * 2 * 16
        entries = len(self.steps) + len(maps) + by_inputs + 2
        return (4 * numbers + 8 * entries) << self.qubits


def parity(bits: int) -> int:
    """1 where an odd number of bits is set."""
    return bits.bit_count() & 1


class _Permutation:
    """y ↦ source(y ^ flip), as it grows by gates that come after it."""

    def __init__(self, qubits: int) -> None:
        self.qubits = qubits
        self.source = [1 << q for q in range(qubits)]
        self._back = [1 << q for q in range(qubits)]
        self.flip = 0

    def cx(self, control: int, target: int) -> None:
        self.source[control] ^= self.source[target]
        self._back[target] ^= self._back[control]
        self.flip ^= (self.flip >> control & 1) << target

    def x(self, q: int) -> None:
        self.flip ^= 1 << q

    def moves(self, q: int) -> bool:
        """Whether a qubit takes part in anything but a flip of its own."""
        return any((column >> q & 1) != (q == p) for p, column in enumerate(self.source)) or (
            self.source[q] != 1 << q
        )

    def after(self, mask: int) -> int:
        """The mask with which a phase from before it comes after it, up to a sign by `flip`."""
        return sum(parity(mask & column) << q for q, column in enumerate(self.source))

    def before(self, mask: int) -> int:
        """The inverse of `after`."""
        found = 0
        for q, column in enumerate(self._back):
            if mask >> q & 1:
                found ^= column
        return found

    def index(self, y: int) -> int:
        """source(y)."""
        found = 0
        for q, column in enumerate(self.source):
            if y >> q & 1:
                found ^= column
        return found

    def signed(self, mask: int, angle: Angle) -> Angle:
        """A phase's angle on the other side of the flips, `mask` being the one after it."""
        return angle.times(-1) if parity(mask & self.flip) else angle


class _Compiler:
    """The step that is open, and what comes after its rotations."""

    def __init__(self, qubits: int) -> None:
        self.qubits = qubits
        self.fresh = (1 << qubits) - 1
        """Qubits that are still |0⟩."""
        self.start = [constant(0.0)] * qubits
        self.steps: list[Step] = []
        self.map = _Permutation(qubits)
        self.phases: list[tuple[int, Angle]] = []
        self.rotations: list[tuple[int, Angle]] = []
        self.turned = 0
        self.next = _Permutation(qubits)
        self.next_phases: list[tuple[int, Angle]] = []

    def close(self) -> None:
        """End the step. Phases that commute with its rotations move on: some fall off the end."""
        stay = [term for term in self.phases if term[0] & self.turned]
        move = []
        for mask, angle in self.phases:
            if not mask & self.turned:
                after = self.next.after(mask)
                move.append((after, self.next.signed(after, angle)))
        step = Step(tuple(self.map.source), self.map.flip, tuple(stay), tuple(self.rotations))
        self.steps.append(step)
        self.map, self.phases = self.next, move + self.next_phases
        self.rotations, self.turned = [], 0
        self.next, self.next_phases = _Permutation(self.qubits), []

    def add(self, gate: Gate) -> None:
        """One primitive."""
        bits = sum(1 << q for q in gate.qubits)
        if gate.name == "ry":
            self._rotate(gate.qubits[0], bits, *gate.angles)
        elif gate.name in ("rz", "rzz"):
            if bits & ~self.fresh:
                self._phase(bits & ~self.fresh, *gate.angles)
        elif gate.name == "cx":
            control, target = gate.qubits
            if not self.fresh >> control & 1:
                self.fresh &= ~bits
                self._cx(control, target, bits)
        else:
            assert gate.name == "x", gate.name
            self._x(gate.qubits[0], bits)

    def _rotate(self, q: int, bits: int, angle: Angle) -> None:
        if bits & self.fresh:
            self.fresh &= ~bits
            if angle.weight is None:
                self.start[q] = angle
                return
        if self.next.moves(q) or any(mask & bits for mask, _ in self.next_phases):
            self.close()
        # X turns the sense of a rotation about Y.
        self.rotations.append((q, angle.times(-1) if self.next.flip & bits else angle))
        self.turned |= bits

    def _phase(self, mask: int, angle: Angle) -> None:
        before = self.next.before(mask)
        if before & self.turned:
            self.next_phases.append((mask, angle))
        else:
            self.phases.append((before, self.next.signed(mask, angle)))

    def _cx(self, control: int, target: int, bits: int) -> None:
        early = not bits & (self.turned | self.next.flip) and not any(
            self.next.moves(q) for q in (control, target)
        )
        if early:
            self.phases = _mapped(self.phases, control, target)
            self.map.cx(control, target)
        else:
            self.next.cx(control, target)
        self.next_phases = _mapped(self.next_phases, control, target)

    def _x(self, q: int, bits: int) -> None:
        if bits & self.fresh:
            self.fresh &= ~bits
            self.start[q] = constant(pi)
            return
        self.next.x(q)
        self.next_phases = [
            (mask, angle.times(-1) if mask & bits else angle) for mask, angle in self.next_phases
        ]


def _mapped(phases: list[tuple[int, Angle]], control: int, target: int) -> list[tuple[int, Angle]]:
    """Phases from before a CNOT, as they are after it."""
    return [(mask ^ ((mask >> target & 1) << control), angle) for mask, angle in phases]


def compile_gates(
    circuit: Sequence[Gate], qubits: int, observables: Sequence[str] | None = None
) -> Program:
    """Fuse a circuit of the table's gates, on |0…0⟩.

    `observables`: Pauli strings whose first letter is qubit 0's; Z of every qubit if None.
    """
    compiler = _Compiler(qubits)
    for gate in circuit:
        for step in steps(gate):
            compiler.add(step)
    compiler.close()
    every = _every_z(qubits)
    strings = every if observables is None else tuple(observables)
    masks = [
        tuple(sum((letter in kind) << q for q, letter in enumerate(one)) for kind in ("XY", "YZ"))
        for one in strings
    ]
    left = [term for term in compiler.phases if any(parity(term[0] & flip) for flip, _ in masks)]
    last = compiler.map
    if left:
        last = _Permutation(qubits)
        compiler.steps.append(Step(tuple(compiler.map.source), compiler.map.flip, tuple(left), ()))
    found = tuple(
        Observable(
            last.index(flip),
            last.before(z),
            ((flip & z).bit_count() + 2 * parity(z & last.flip)) % 4,
        )
        for flip, z in masks
    )
    return Program(
        qubits,
        tuple(compiler.start),
        tuple(compiler.steps),
        found,
        tuple(last.source) if strings == every else None,
        last.flip,
    )


def _every_z(qubits: int) -> tuple[str, ...]:
    return tuple("I" * q + "Z" + "I" * (qubits - q - 1) for q in range(qubits))

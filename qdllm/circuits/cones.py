"""Which of a circuit's angles can change what is read of it, judged without simulating.

Every gate is a permutation or a rotation exp(−iθP/2) about a Pauli string P. All that maps strings
to strings, such as CNOT, H and S, is pulled to the end, so that what is left are rotations about
other strings. An observable grows back through them: where a string that it may hold anticommutes
with P, the rotation is live, and the product may be held too. A rotation about a string that
leaves the state as it is at that point is not. What is called dead is; of what is called live, some
may be dead by coincidence of its numbers.

A string is an integer of 2Q bits: bit q where it has X or Y at qubit q, bit Q + q where it has Z or
Y. Signs do not matter here.
"""

from collections.abc import Iterable, Sequence
from math import pi
from typing import NamedTuple

from qdllm.circuits.gates import Angle, Circuit, Gate, steps


class Cone(NamedTuple):
    """What an observable depends on: numbers of input angles and of weights."""

    observable: str
    angles: frozenset[int]
    weights: frozenset[int]


class Cones(NamedTuple):
    """What a circuit's angles are worth."""

    cones: tuple[Cone, ...]
    merged: int
    """Different live rotations by weights: those about one string with nothing between them that
    does not commute are one."""

    @property
    def weights(self) -> frozenset[int]:
        """The live ones."""
        return frozenset().union(*(cone.weights for cone in self.cones))

    @property
    def angles(self) -> frozenset[int]:
        """The live ones."""
        return frozenset().union(*(cone.angles for cone in self.cones))


class _Rotation(NamedTuple):
    string: int
    angle: Angle


def cones(circuit: Circuit, observables: Sequence[str]) -> Cones:
    """What each observable depends on. `observables`: their first letters are qubit 0's."""
    frame = _Frame(circuit.qubits)
    for gate in circuit.gates:
        for step in steps(gate):
            frame.add(step)
    rotations = _moving(frame.rotations, circuit.qubits)
    found, alive = [], set[int]()
    for string in observables:
        live = _live(frame.image(_string(string)), rotations, circuit.qubits)
        alive |= live
        turned = [rotations[number].angle for number in live]
        found.append(
            Cone(
                string,
                frozenset(each.angle for each in turned if each.angle is not None),
                frozenset(each.weight for each in turned if each.weight is not None),
            )
        )
    return Cones(tuple(found), _merged(rotations, alive, circuit.qubits))


def depth(circuit: Circuit) -> int:
    """Moments that the gates take, those on different qubits at once."""
    ends = [0] * circuit.qubits
    for gate in circuit.gates:
        moment = 1 + max(ends[q] for q in gate.qubits)
        for q in gate.qubits:
            ends[q] = moment
    return max(ends, default=0)


class _Frame:
    """Rotations so far, and what a string comes to before all that maps strings to strings."""

    def __init__(self, qubits: int) -> None:
        self.qubits = qubits
        self.rotations: list[_Rotation] = []
        self._images = [1 << bit for bit in range(2 * qubits)]

    def image(self, string: int) -> int:
        """A string after the gates so far, as it is before them."""
        found = 0
        for bit, image in enumerate(self._images):
            if string >> bit & 1:
                found ^= image
        return found

    def add(self, step: Gate) -> None:
        """One primitive."""
        if step.name == "x":
            return
        if step.name == "cx":
            control, target = step.qubits
            images, n = self._images, self.qubits
            images[control] ^= images[target]
            images[n + target] ^= images[n + control]
            return
        (angle,) = step.angles
        bits = sum(1 << q for q in step.qubits)
        string = bits << self.qubits | (bits if step.name == "ry" else 0)
        quarters = angle.offset / (pi / 2)
        if not angle.constant or abs(quarters - round(quarters)) > 1e-12:
            self.rotations.append(_Rotation(self.image(string), angle))
        elif round(quarters) % 2:
            image = self.image(string)
            for bit in range(2 * self.qubits):
                if anticommute(1 << bit, string, self.qubits):
                    self._images[bit] ^= image


def anticommute(a: int, b: int, qubits: int) -> bool:
    """Whether two strings do; they commute otherwise."""
    low = (1 << qubits) - 1
    return ((a & low & b >> qubits).bit_count() + (a >> qubits & b & low).bit_count()) % 2 == 1


def _moving(rotations: Iterable[_Rotation], qubits: int) -> list[_Rotation]:
    """Those that do anything to the state in which they find |0…0⟩."""
    stabilising = [1 << (qubits + q) for q in range(qubits)]
    found = []
    for rotation in rotations:
        if _spanned(rotation.string, stabilising):
            continue
        found.append(rotation)
        apart = [s for s in stabilising if anticommute(s, rotation.string, qubits)]
        if apart:
            # The product of two that do not commute with it does.
            stabilising = [s for s in stabilising if s not in apart]
            stabilising += [s ^ apart[0] for s in apart[1:]]
    return found


def _spanned(string: int, others: Iterable[int]) -> bool:
    """Whether it is the product of some of them, up to a sign."""
    reduced: list[int] = []
    for other in (*others, string):
        left = other
        for one in reduced:
            left = min(left, left ^ one)
        if left:
            reduced.append(left)
        elif other == string:
            return True
    return False


def _live(observable: int, rotations: Sequence[_Rotation], qubits: int) -> set[int]:
    """The numbers of the rotations on which an observable depends."""
    grown, basis, live = [observable], list[int](), set[int]()
    for number in range(len(rotations) - 1, -1, -1):
        string = rotations[number].string
        if any(anticommute(each, string, qubits) for each in grown):
            live.add(number)
            left = string
            for one in basis:
                left = min(left, left ^ one)
            if left:
                basis.append(left)
                grown.append(left)
    return live


def _merged(rotations: Sequence[_Rotation], live: set[int], qubits: int) -> int:
    """How many of the live ones by weights are different."""
    groups: list[tuple[int, bool]] = []
    for number, (string, angle) in enumerate(rotations):
        if number not in live:
            continue
        trained = angle.weight is not None
        for at in range(len(groups) - 1, -1, -1):
            if groups[at][0] == string:
                groups[at] = string, groups[at][1] or trained
                break
            if anticommute(groups[at][0], string, qubits):
                groups.append((string, trained))
                break
        else:
            groups.append((string, trained))
    return sum(trained for _, trained in groups)


def _string(text: str) -> int:
    x = sum((letter in "XY") << q for q, letter in enumerate(text))
    return x | sum((letter in "YZ") << q for q, letter in enumerate(text)) << len(text)

"""A circuit as data, and the gate table: every gate that it may hold, as each simulator writes it.

Angles are in radians and gates follow the usual convention, RX(θ) = exp(−iθX/2) and so on. Qubit q
is bit q of a basis state's index, so qubit 0 is the least significant bit. What a gate does to the
phase that all amplitudes share is left open: no expectation shows it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import pi
from typing import NamedTuple

QUBITS = 20
"""Qubits that a circuit may have."""


class Angle(NamedTuple):
    """`offset`, or `factor` times a weight or an input angle plus `offset`."""

    weight: int | None = None
    """The number of the weight, as `Circuit.weights` has them."""
    angle: int | None = None
    """The number of the input angle."""
    factor: float = 1.0
    offset: float = 0.0

    def times(self, number: float) -> "Angle":
        """A multiple of the angle."""
        return self._replace(factor=self.factor * number, offset=self.offset * number)

    @property
    def constant(self) -> bool:
        """Whether it is `offset` alone."""
        return self.weight is None and self.angle is None


def weight(number: int) -> Angle:
    """That weight as it is."""
    return Angle(weight=number)


def angle(number: int) -> Angle:
    """That input angle as it is."""
    return Angle(angle=number)


def constant(radians: float) -> Angle:
    """The same for all students and examples."""
    return Angle(offset=radians)


class Gate(NamedTuple):
    """One gate of a circuit: what the table calls it, where it acts, and by which angles."""

    name: str
    qubits: tuple[int, ...]
    """In the table's order: controls first."""
    angles: tuple[Angle, ...] = ()


class Circuit(NamedTuple):
    """A circuit as data."""

    qubits: int
    gates: tuple[Gate, ...]
    """In time order, acting on |0…0⟩."""
    angles: tuple[str, ...]
    """Names of the input angles, one for each number that comes from an example."""
    weights: tuple[str, ...]
    """Names of the weights, one for each trained number."""


class Kind(NamedTuple):
    """A gate of the table."""

    qubits: int
    angles: int
    steps: Callable[..., Sequence[Gate]]
    """The same in `PRIMITIVES`, on the gate's own qubits 0 and 1; called with its angles."""
    mindquantum: str
    """Its class, or one of its gates, in mindquantum.core.gates."""
    controls: int = 0
    """How many of the qubits are controls of that MindQuantum gate."""
    openqasm: str = ""
    """What OpenQASM 3 calls it, if not what the table does."""
    definition: str = ""
    """In OpenQASM 3, for a gate that its standard library lacks."""


PRIMITIVES = ("x", "cx", "ry", "rz", "rzz")
"""What the engine's steps are made of: permutations, rotations that are real, and phases."""


def _x(q: int) -> Gate:
    return Gate("x", (q,))


def _cx(control: int, target: int) -> Gate:
    return Gate("cx", (control, target))


def _turn(name: str) -> Callable[..., Gate]:
    def gate(*args: int | float | Angle) -> Gate:
        *qubits, by = args
        angle = by if isinstance(by, Angle) else constant(by)
        return Gate(name, tuple(int(q) for q in qubits if not isinstance(q, Angle)), (angle,))

    return gate


_ry, _rz, _rzz = _turn("ry"), _turn("rz"), _turn("rzz")


def _rx(q: int, a: Angle) -> list[Gate]:
    return [_rz(q, pi / 2), _ry(q, a), _rz(q, -pi / 2)]


def _cz() -> list[Gate]:
    return [_rz(0, pi / 2), _rz(1, pi / 2), _rzz(0, 1, -pi / 2)]


def _cry(a: Angle) -> list[Gate]:
    return [_ry(1, a.times(0.5)), _cx(0, 1), _ry(1, a.times(-0.5)), _cx(0, 1)]


def _phase(radians: float) -> Callable[[], list[Gate]]:
    return lambda: [_rz(0, radians)]


GATES: Mapping[str, Kind] = {
    "h": Kind(1, 0, lambda: [_rz(0, pi), _ry(0, pi / 2)], "H"),
    "x": Kind(1, 0, lambda: [_x(0)], "X"),
    "y": Kind(1, 0, lambda: [_rz(0, pi), _x(0)], "Y"),
    "z": Kind(1, 0, _phase(pi), "Z"),
    "s": Kind(1, 0, _phase(pi / 2), "S"),
    "sdg": Kind(1, 0, _phase(-pi / 2), "S.hermitian"),
    "t": Kind(1, 0, _phase(pi / 4), "T"),
    "tdg": Kind(1, 0, _phase(-pi / 4), "T.hermitian"),
    "sx": Kind(1, 0, lambda: _rx(0, constant(pi / 2)), "SX"),
    "rx": Kind(1, 1, lambda a: _rx(0, a), "RX"),
    "ry": Kind(1, 1, lambda a: [_ry(0, a)], "RY"),
    "rz": Kind(1, 1, lambda a: [_rz(0, a)], "RZ"),
    "p": Kind(1, 1, lambda a: [_rz(0, a)], "PhaseShift"),
    "u": Kind(1, 3, lambda a, b, c: [_rz(0, c), _ry(0, a), _rz(0, b)], "U3", openqasm="U"),
    "cx": Kind(2, 0, lambda: [_cx(0, 1)], "X", 1),
    "cy": Kind(2, 0, lambda: [_rz(1, -pi / 2), _cx(0, 1), _rz(1, pi / 2)], "Y", 1),
    "cz": Kind(2, 0, _cz, "Z", 1),
    "swap": Kind(2, 0, lambda: [_cx(0, 1), _cx(1, 0), _cx(0, 1)], "SWAP"),
    # H is Z in a basis turned by π/4 about Y.
    "ch": Kind(2, 0, lambda: [_ry(1, -pi / 4), *_cz(), _ry(1, pi / 4)], "H", 1),
    "crx": Kind(2, 1, lambda a: [_rz(1, pi / 2), *_cry(a), _rz(1, -pi / 2)], "RX", 1),
    "cry": Kind(2, 1, _cry, "RY", 1),
    "crz": Kind(2, 1, lambda a: [_rz(1, a.times(0.5)), _rzz(0, 1, a.times(-0.5))], "RZ", 1),
    "cp": Kind(
        2,
        1,
        lambda a: [_rz(0, a.times(0.5)), _rz(1, a.times(0.5)), _rzz(0, 1, a.times(-0.5))],
        "PhaseShift",
        1,
    ),
    # CX turns X on the first qubit into XX, and Y into YX, which S on the second makes YY.
    "rxx": Kind(
        2,
        1,
        lambda a: [_cx(0, 1), *_rx(0, a), _cx(0, 1)],
        "Rxx",
        definition="gate rxx(a) p, q { cx p, q; rx(a) p; cx p, q; }",
    ),
    "ryy": Kind(
        2,
        1,
        lambda a: [_rz(1, -pi / 2), _cx(0, 1), _ry(0, a), _cx(0, 1), _rz(1, pi / 2)],
        "Ryy",
        definition="gate ryy(a) p, q { sdg q; cx p, q; ry(a) p; cx p, q; s q; }",
    ),
    "rzz": Kind(
        2,
        1,
        lambda a: [_rzz(0, 1, a)],
        "Rzz",
        definition="gate rzz(a) p, q { cx p, q; rz(a) q; cx p, q; }",
    ),
}
"""By name. A later gate is one more line here."""


def steps(gate: Gate) -> Iterator[Gate]:
    """The same gate in `PRIMITIVES`, in time order."""
    for step in GATES[gate.name].steps(*gate.angles):
        yield step._replace(qubits=tuple(gate.qubits[q] for q in step.qubits))

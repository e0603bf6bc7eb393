"""A placed circuit in what chips do themselves: rotations about Z and Y, and CZ.

What stands between two CZs of a qubit is one rotation, written as RZ, RY, RZ, as far as it is made
of numbers; an input angle keeps its own.
"""

from collections.abc import Sequence
from math import atan2
from typing import NamedTuple

import numpy as np

from qdllm.circuits.export import Template, template, value
from qdllm.circuits.gates import Angle, Circuit, Gate, constant
from qdllm.processors.layout import Placed, cost

NOTHING = 1e-12
"""A rotation by less is none."""


class Native(NamedTuple):
    """A circuit on a chip's own qubits, all weights in it, and what of it is measured."""

    circuit: Circuit
    """As wide as the chip."""
    measured: tuple[int, ...]
    """The chip's qubit that classical bit i reads."""

    @property
    def template(self) -> Template:
        """OpenQASM 2, with places for input angles."""
        return template(self.circuit, (), measured=self.measured)


def native(placed: Placed, weights_W: Sequence[float], size: int) -> Native:
    """What the chip is given. `size`: how many qubits it has."""
    writer = _Writer(placed)
    for gate in placed.circuit.gates:
        writer.add(gate, weights_W)
    for wire in range(len(placed.chip)):
        writer.flush(wire, last=True)
    made = placed.circuit._replace(qubits=size, gates=tuple(writer.gates), weights=())
    return Native(made, tuple(placed.chip[wire] for wire in placed.ends))


def flipped(measured: Sequence[int], ones: Sequence[int], size: int) -> Native:
    """A circuit of X on some classical bits' qubits alone: every bit's value is known."""
    gates = tuple(Gate("ry", (measured[bit],), (constant(np.pi),)) for bit in ones)
    return Native(Circuit(size, gates, (), ()), tuple(measured))


class _Writer:
    def __init__(self, placed: Placed) -> None:
        self.chip = placed.chip
        self.gates: list[Gate] = []
        self._waiting = [np.eye(2, dtype=complex) for _ in placed.chip]
        self._fresh = [True] * len(placed.chip)

    def add(self, gate: Gate, weights_W: Sequence[float]) -> None:
        if gate.name == "cx":
            self._cx(*gate.qubits)
        elif gate.name == "rzz":
            (angle,) = gate.angles
            one, other = gate.qubits
            if cost(gate) == 1:
                # RZZ(±π/2) is a CZ between rotations about Z.
                self._cz(one, other)
                for q in gate.qubits:
                    self._turn("rz", q, angle.offset)
            else:
                self._cx(one, other)
                self.add(Gate("rz", (other,), (angle,)), weights_W)
                self._cx(one, other)
        elif gate.name == "x":
            self._turn("ry", gate.qubits[0], np.pi)
            self._turn("rz", gate.qubits[0], np.pi)
        else:
            (q,), (angle,) = gate.qubits, gate.angles
            if angle.angle is None:
                self._turn(gate.name, q, value(angle, weights_W))
            else:
                self.flush(q)
                self._put(gate.name, q, angle)

    def flush(self, wire: int, last: bool = False) -> None:
        """Write what waits on a wire; of what comes last, what a measurement can see."""
        u = self._waiting[wire]
        self._waiting[wire] = np.eye(2, dtype=complex)
        turn = 2 * atan2(abs(u[1, 0]), abs(u[0, 0]))
        if abs(u[1, 0]) < NOTHING:
            before, after = 0.0, np.angle(u[1, 1] * u[0, 0].conj())
        elif abs(u[0, 0]) < NOTHING:
            before, after = 0.0, np.angle(-u[1, 0] * u[0, 1].conj())
        else:
            before, after = np.angle(-u[0, 1] * u[0, 0].conj()), np.angle(u[1, 0] * u[0, 0].conj())
        if not self._fresh[wire]:
            self._number("rz", wire, before)
        self._number("ry", wire, turn)
        if not last and not self._fresh[wire]:
            self._number("rz", wire, after)

    def _number(self, name: str, wire: int, radians: float) -> None:
        if abs((radians + np.pi) % (2 * np.pi) - np.pi) > NOTHING:
            self._put(name, wire, constant(float(radians)))

    def _put(self, name: str, wire: int, angle: Angle) -> None:
        self.gates.append(Gate(name, (self.chip[wire],), (angle,)))
        self._fresh[wire] = self._fresh[wire] and name == "rz"

    def _turn(self, name: str, wire: int, radians: float) -> None:
        half = radians / 2
        c, s = np.cos(half), np.sin(half)
        by = np.diag([c - 1j * s, c + 1j * s]) if name == "rz" else np.array([[c, -s], [s, c]])
        self._waiting[wire] = by @ self._waiting[wire]

    def _cx(self, control: int, target: int) -> None:
        self._turn("ry", target, -np.pi / 2)
        self._cz(control, target)
        self._turn("ry", target, np.pi / 2)

    def _cz(self, one: int, other: int) -> None:
        self.flush(one)
        self.flush(other)
        self.gates.append(Gate("cz", (self.chip[one], self.chip[other])))
        self._fresh[one] = self._fresh[other] = False

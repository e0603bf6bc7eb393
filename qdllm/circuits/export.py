"""Trained circuits in OpenQASM 2 and 3, as strict readers and devices take them.

Gates that both standard libraries have are written as they are, all others in the table's
primitives. No gate is defined in the text: not every reader takes definitions. Angles are numbers,
or the places of an example's, so that one text serves a table of examples.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from qdllm.circuits.gates import Angle, Circuit, Gate, steps

PLAIN = frozenset({"h", "x", "y", "z", "s", "sdg", "t", "tdg", "rx", "ry", "rz", "cx", "cz"})
"""What is written by its name."""
DIGITS = 13
"""After an angle's point: no smaller part of it changes what is measured."""
HEADS = {
    2: 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{qubits}];\ncreg c[{bits}];\n',
    3: 'OPENQASM 3.0;\ninclude "stdgates.inc";\n{inputs}qubit[{qubits}] q;\nbit[{bits}] c;\n',
}
MEASURED = {2: "measure q[{q}] -> c[{bit}];\n", 3: "c[{bit}] = measure q[{q}];\n"}


class Template(NamedTuple):
    """A circuit with its weights in it, and places for what each example gives."""

    text: str
    names: tuple[str, ...]
    """Of the places: `z0` is input angle 0; `z0_1` another number that is made of it."""
    angles: tuple[Angle, ...]
    """What each place takes."""

    def points(self, angles_NA: np.ndarray) -> np.ndarray:
        """(N, places): the numbers that go into them, in radians."""
        columns = [
            _wrapped(angles_NA[:, angle.angle or 0].astype(float) * angle.factor + angle.offset)
            for angle in self.angles
        ]
        return np.stack(columns, axis=1) if columns else np.empty((len(angles_NA), 0))

    def bound(self, point: Sequence[float]) -> str:
        """The text of version 2 with one example's numbers in it."""
        text = self.text
        for name, value in zip(self.names, point, strict=True):
            text = text.replace(_place(name, 2), _number(value))
        return text


def template(
    circuit: Circuit,
    weights_W: Sequence[float],
    version: int = 2,
    measured: Sequence[int] | None = None,
) -> Template:
    """The circuit with a trained student's weights.

    `measured`: the qubit that each classical bit reads; every qubit its own, if not given. Version
    2 has places `{{z0}}`, as Quafu's templates do, version 3 inputs `z0`.
    """
    places: dict[Angle, str] = {}
    taken: dict[int, int] = {}
    lines = []
    for gate in circuit.gates:
        for one in _written(gate):
            for angle in one.angles:
                if angle.angle is not None and angle not in places:
                    count = taken[angle.angle] = taken.get(angle.angle, -1) + 1
                    places[angle] = f"z{angle.angle}" + f"_{count}" * (count > 0)
            lines.append(_line(one, weights_W, places, version))
    inputs = "".join(f"input float[64] {name};\n" for name in places.values())
    read = range(circuit.qubits) if measured is None else measured
    head = HEADS[version].format(qubits=circuit.qubits, bits=len(read), inputs=inputs)
    tail = "".join(MEASURED[version].format(q=q, bit=bit) for bit, q in enumerate(read))
    return Template("".join((head, *lines, tail)), tuple(places.values()), tuple(places))


def bound(
    circuit: Circuit, weights_W: Sequence[float], angles_A: Sequence[float], version: int = 2
) -> str:
    """The circuit of one example, all its angles numbers."""
    made = [
        gate._replace(
            angles=tuple(
                angle
                if angle.angle is None
                else Angle(offset=float(angles_A[angle.angle]) * angle.factor + angle.offset)
                for angle in gate.angles
            )
        )
        for gate in circuit.gates
    ]
    return template(circuit._replace(gates=tuple(made)), weights_W, version).text


def _written(gate: Gate) -> list[Gate]:
    """The same in gates that are written by name."""
    if gate.name in PLAIN:
        return [gate]
    found: list[Gate] = []
    for step in steps(gate):
        if step.name == "rzz":
            ends = Gate("cx", step.qubits)
            found += [ends, Gate("rz", step.qubits[1:], step.angles), ends]
        else:
            found.append(step)
    return found


def _line(gate: Gate, weights_W: Sequence[float], places: dict[Angle, str], version: int) -> str:
    angles = ", ".join(
        _place(places[angle], version)
        if angle.angle is not None
        else _number(value(angle, weights_W))
        for angle in gate.angles
    )
    where = ", ".join(f"q[{q}]" for q in gate.qubits)
    return f"{gate.name}{f'({angles})' if angles else ''} {where};\n"


def value(angle: Angle, weights_W: Sequence[float]) -> float:
    """What an angle without an input angle is, in radians."""
    if angle.weight is None:
        return angle.offset
    return float(weights_W[angle.weight]) * angle.factor + angle.offset


def _place(name: str, version: int) -> str:
    return f"{{{{{name}}}}}" if version == 2 else name


def _wrapped(radians: Any) -> Any:
    """In [−π, π): a whole turn changes no more than the phase that all amplitudes share."""
    return (radians + math.pi) % math.tau - math.pi


def _number(radians: float) -> str:
    return f"{_wrapped(radians):.{DIGITS}f}"

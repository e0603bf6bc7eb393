"""What a file's gates come to in the table's, its own definitions and the library's written out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qdllm.circuits.expressions import Fail, Sum, value
from qdllm.circuits.gates import GATES, Angle, Gate, constant, steps
from qdllm.errors import nearest
from qdllm.messages import shown

if TYPE_CHECKING:
    from openqasm3 import ast

EXPANDED = 10_000
"""Gates that a file may come to, once its own definitions are written out."""
DEPTH = 40
"""Definitions that may be made from one another."""
ALIASES = {"U": "u", "u3": "u", "CX": "cx", "phase": "p", "u1": "p", "cphase": "cp"}
OTHERS = """
gate id a { }
gate u2(b, c) a { u(pi / 2, b, c) a; }
gate cu(a, b, c, d) p, q { p(d) p; p(b / 2) p; p(c / 2) p; p(c / 2) q; p(-b / 2) q; cx p, q;
    p(-b / 2) q; u(-a / 2, 0, -c / 2) q; cx p, q; u(a / 2, b, 0) q; }
gate ccx a, b, c { h c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; cx a, c; t b; t c; h c;
    cx a, b; t a; tdg b; cx a, b; }
gate cswap a, b, c { cx c, b; ccx a, b, c; cx c, b; }
"""
"""What else the standard library has, in the table's gates."""

Applied = tuple[str, tuple[int, ...], list[Sum]]
"""A gate of the table, its qubits, and its angles."""


class Expansion:
    """The gates of a file so far."""

    def __init__(self, numbers: Mapping[str, Sum], fail: Fail) -> None:
        """`numbers`: what the file's parameters and constants stand for; `fail` refuses a node."""
        self.numbers, self.fail = numbers, fail
        self.definitions: dict[str, Any] = {}
        self.own: dict[str, bool] = {}
        """Whether a definition is another gate than the table's of that name."""
        self.applied: list[Applied] = []
        self.measured: dict[int, Any] = {}
        """Where a qubit was measured."""
        self.expanded = 0

    def define(self, node: "ast.QuantumGateDefinition") -> None:
        """Read a definition; it may differ from the table's gate of its name."""
        name = node.name.name
        if name in self.definitions:
            self.fail(node, f"gate {name!r} is defined twice")
        self.definitions[name] = node
        self.own[name] = not self._as_in_table(name, node)

    def _as_in_table(self, name: str, node: "ast.QuantumGateDefinition") -> bool:
        """Whether a definition means what the table's gate of its name means.

        Qiskit writes its own definitions of rxx and others beside its circuits.
        """
        kind, count = GATES.get(ALIASES.get(name, name)), len(node.qubits)
        if not kind or (kind.qubits, kind.angles) != (count, len(node.arguments)):
            return False
        for offset in (0.3, 1.7, 4.1):
            given = [Sum({}, offset + number) for number in range(kind.angles)]
            tried = Expansion({}, self.fail)
            tried.definitions, tried.own = self.definitions, self.own | {name: True}
            tried.apply(node, name, given, tuple(range(count)))
            table: Applied = ALIASES.get(name, name), tuple(range(count)), given
            ours, theirs = (_unitary(each, count) for each in ([table], tried.applied))
            if abs(abs(np.vdot(ours, theirs)) - 2**count) > 1e-9:
                return False
        return True

    def unmodified(self, node: "ast.QuantumGate") -> None:
        """Refuse what changes a gate, or times it."""
        if node.modifiers or node.duration:
            self.fail(node, "a gate cannot have modifiers here; write the gate that it comes to")

    def apply(
        self, node: Any, name: str, angles: list[Sum], qubits: tuple[int, ...], depth: int = 0
    ) -> None:
        """One gate on these qubits, written out in the table's. `node`: where the file has it."""
        self.expanded += 1
        if self.expanded > EXPANDED or depth > DEPTH:
            self.fail(
                node,
                f"the circuit comes to more than {EXPANDED:,} gates, or its definitions lie more "
                f"than {DEPTH} deep; make it smaller",
            )
        for qubit in qubits:
            if qubit in self.measured:
                self.fail(
                    self.measured[qubit],
                    f"qubit {qubit} is measured here, but turned again in line "
                    f"{node.span.start_line}; measure at the end, or not at all",
                )
        defined = self.definitions.get(name) if self.own.get(name, True) else None
        table = ALIASES.get(name, name)
        if not defined and table not in GATES:
            defined = _library().get(name)
        if not defined and table not in GATES:
            known = [*GATES, *ALIASES, *_library(), *self.definitions]
            self.fail(node, f"unknown gate {shown(name)}{nearest(name, known) or '.'} {_known()}")
        wanted = (
            (len(defined.qubits), len(defined.arguments))
            if defined
            else (GATES[table].qubits, GATES[table].angles)
        )
        if (len(qubits), len(angles)) != wanted or len(set(qubits)) < len(qubits):
            self.fail(
                node,
                f"{name} takes {wanted[0]} different qubits and {wanted[1]} angles, but qubits "
                f"{list(qubits)} and {len(angles)} angles were given",
            )
        if not defined:
            if len(angles) > 1 and any(len(each.factors) > 1 for each in angles):
                self.fail(node, f"{name} turns by one parameter in each of its angles, not by sums")
            # A sum of parameters is written out too.
            self.expanded += sum(len(each.factors) for each in angles if len(each.factors) > 1)
            self.applied.append((table, qubits, angles))
            return
        inner = dict(zip((each.name for each in defined.arguments), angles, strict=True))
        places = dict(zip((each.name for each in defined.qubits), qubits, strict=True))
        for each in defined.body:
            kind = type(each).__name__
            if kind in ("QuantumBarrier", "QuantumPhase"):
                continue
            if kind != "QuantumGate":
                self.fail(each, f"{spaced(kind)} cannot stand in a gate's definition")
            self.unmodified(each)
            for operand in each.qubits:
                if getattr(operand, "name", None) not in places:
                    self.fail(each, f"a gate's definition acts on its own qubits: {[*places]}")
            given = [value(one, {**self.numbers, **inner}, self.fail) for one in each.arguments]
            on = tuple(places[str(operand.name)] for operand in each.qubits)
            self.apply(each, each.name.name, given, on, depth + 1)


@lru_cache
def _library() -> dict[str, Any]:
    """Definitions of the standard library's gates that the table lacks."""
    from openqasm3 import parse

    return {each.name.name: each for each in parse(OTHERS).statements}


def _known() -> str:
    return f"There are: {', '.join((*GATES, *_library()))}, and what the file itself defines"


def spaced(name: str) -> str:
    """ForInLoop → for in loop."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


def placed(
    name: str, qubits: tuple[int, ...], sums: list[Sum], place: Mapping[str, Angle]
) -> Iterator[Gate]:
    """A gate with its parameters in their places.

    A sum of several is so many gates: whatever turns by one angle turns by a sum in parts.
    """
    if len(sums) == 1 and len(sums[0].factors) > 1:
        parts = [Sum({parameter: factor}, 0.0) for parameter, factor in sums[0].factors.items()]
        for part in (*parts, Sum({}, sums[0].alone)):
            yield from placed(name, qubits, [part], place)
        return
    angles = [
        next(
            (place[name]._replace(factor=by, offset=alone) for name, by in factors.items()),
            constant(alone),
        )
        for factors, alone in sums
    ]
    yield Gate(name, qubits, tuple(angles))


def _unitary(applied: Sequence[Applied], qubits: int) -> np.ndarray:
    """The dense matrix of gates whose angles are constant, on few qubits."""
    matrix = np.eye(2**qubits, dtype=complex)
    index = np.arange(2**qubits)
    for name, on, sums in applied:
        for step in steps(next(placed(name, on, sums, {}))):
            bits = [index >> q & 1 for q in step.qubits]
            half = step.angles[0].offset / 2 if step.angles else 0.0
            if step.name == "x":
                matrix = matrix[index ^ 1 << step.qubits[0]]
            elif step.name == "cx":
                matrix = matrix[index ^ bits[0] << step.qubits[1]]
            elif step.name == "ry":
                other = matrix[index ^ 1 << step.qubits[0]]
                matrix = np.cos(half) * matrix + np.sin(half) * (2 * bits[0] - 1)[:, None] * other
            else:
                matrix = np.exp(-1j * half * (1 - 2 * (sum(bits) % 2)))[:, None] * matrix
    return matrix

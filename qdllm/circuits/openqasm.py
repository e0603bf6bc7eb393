"""OpenQASM 3 in and out: circuits that people bring, and how a spec carries them.

A file is read by OpenQASM's reference parser, and nothing in it is executed. Its inputs are the
weights and the features' angles, told apart by name: an `input float` called x, angle, input or
feature, whatever digits and underscores go with it, is a feature's angle, and all others are
weights; each kind is numbered as declared. That is how Qiskit writes ParameterVector("x", 11).
"""

import contextlib
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from qdllm import outside
from qdllm.circuits.gates import GATES, Angle, Gate, constant, steps
from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown, some

if TYPE_CHECKING:
    from openqasm3 import ast

QUBITS = 20
"""Qubits that a circuit may have."""
EXPANDED = 10_000
"""Gates that a file may come to, once its own definitions are written out."""
STATEMENTS = 15_000
"""Statements that it may have: the reference parser takes 3 s for so many."""
LONGEST = 2_000
"""Characters that one of them may have, so that no expression can lie too deep."""
DEPTH = 40
"""Definitions that may be made from one another."""

SUFFIX = ".qasm"
LIBRARY = "stdgates.inc"
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
CONSTANTS = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e}
FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    name: getattr(math, {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(name, name))
    for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "arcsin", "arccos", "arctan")
}
SIGNS = {"+": 1.0, "-": -1.0}
FEATURE = re.compile(r"_*(x|angles?|inputs?|features?)[\d_]*")


class Circuit(NamedTuple):
    """A circuit as data."""

    qubits: int
    gates: tuple[Gate, ...]
    """In time order, acting on |0…0⟩."""
    angles: tuple[str, ...]
    """Names of the input angles, one for each number that comes from an example."""
    weights: tuple[str, ...]
    """Names of the weights, one for each trained number."""


class Sum(NamedTuple):
    """An expression's value: parameters by name, each times a number, plus a number."""

    factors: Mapping[str, float]
    alone: float


Applied = tuple[str, tuple[int, ...], list[Sum]]
"""A gate of the table, its qubits, and its angles."""


def is_text(value: str) -> bool:
    """Whether a setting holds a circuit itself instead of a name or a path."""
    return "\n" in value


def read(path: str) -> str:
    """The circuit in a .qasm file, as a spec carries it: flat OpenQASM 3 under the file's name.

    Raises ConfigError, with file and line, for what cannot be used.
    """
    text = outside.text(path)
    name = re.sub(r"[^\w.+-]+", "_", Path(path).name)
    return f"// {name}\n{written(parse(text, path))}"


def label(text: str) -> str:
    """What a person reads in place of a circuit's text: its file's name, and a digest."""
    name = text.partition("\n")[0].removeprefix("//").strip()
    return f"{name} {digest(text)[:7]}"


def digest(text: str) -> str:
    """SHA-256 of a circuit as specs carry it, whatever its file was called."""
    body = text.partition("\n")[2] if text.startswith("//") else text
    return hashlib.sha256(body.encode()).hexdigest()


def written(circuit: Circuit) -> str:
    """The circuit in OpenQASM 3, one gate a line. What `parse` makes of it is the circuit."""
    names = {*circuit.angles, *circuit.weights}
    register = next(name for n in range(len(names) + 1) if (name := "_" * n + "q") not in names)
    used = dict.fromkeys(gate.name for gate in circuit.gates)
    lines = ["OPENQASM 3.0;", f'include "{LIBRARY}";']
    lines += [GATES[name].definition for name in used if GATES[name].definition]
    lines += [f"input float[64] {name};" for name in (*circuit.angles, *circuit.weights)]
    lines.append(f"qubit[{circuit.qubits}] {register};")
    for gate in circuit.gates:
        angles = ", ".join(_term(angle, circuit) for angle in gate.angles)
        name = GATES[gate.name].openqasm or gate.name
        where = ", ".join(f"{register}[{q}]" for q in gate.qubits)
        lines.append(f"{name}{f'({angles})' if angles else ''} {where};")
    return "\n".join(lines) + "\n"


def _term(angle: Angle, circuit: Circuit) -> str:
    if angle.constant:
        return repr(angle.offset)
    name = (
        circuit.weights[angle.weight]
        if angle.weight is not None
        else circuit.angles[angle.angle or 0]
    )
    factor = {1.0: "", -1.0: "-"}.get(angle.factor, f"{angle.factor!r}*")
    return f"{factor}{name}" + (f" + {angle.offset!r}" if angle.offset else "")


@lru_cache
def parse(text: str, source: str = "circuit") -> Circuit:
    """The circuit that an OpenQASM 3 text describes. `source`: what messages call the text.

    Definitions are written out and registers spread; barriers and measurements at the end are left
    out, since expectations are exact. Raises ConfigError, with the line, for all that is no gate of
    the table, or could change which gates there are.
    """
    reader = _Reader(source)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        program = reader.program(text, said)
    return reader.circuit(program)


class _Reader:
    """What is known of a file so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.registers: dict[str, range] = {}
        self.inputs: dict[str, Any] = {}
        """The parameters, and where they are declared."""
        self.numbers: dict[str, Sum] = {}
        self.definitions: dict[str, Any] = {}
        self.own: dict[str, bool] = {}
        """Whether a definition is another gate than the table's of that name."""
        self.applied: list[Applied] = []
        self.measured: dict[int, Any] = {}
        self.expanded = 0

    def fail(self, node: Any, message: str) -> NoReturn:
        """Raise ConfigError at a node, or at a line."""
        line = node if isinstance(node, int) else node.span.start_line
        raise ConfigError(f"{self.source}:{line}: {message}")

    def program(self, text: str, said: io.StringIO) -> "ast.Program":
        """The text's syntax tree. `said`: where the parser's messages go."""
        # Imported here: who brings no file need not wait for it.
        from openqasm3 import parse
        from openqasm3.parser import QASM3ParsingError

        for number, statement in enumerate(re.finditer(r"[^;{}]+", text)):
            if number == STATEMENTS or len(statement[0]) > LONGEST:
                self.fail(
                    text.count("\n", 0, statement.start()) + 1,
                    f"a file has {STATEMENTS:,} statements at most, each of at most {LONGEST:,} "
                    "characters; here it goes beyond",
                )
        version = re.search(r"^\s*OPENQASM\s+(\d+)", text, re.MULTILINE)
        if version and version[1] != "3":
            self.fail(
                text.count("\n", 0, version.start(1)) + 1,
                f"this is OpenQASM {version[1]}, in which parameters have no names; write it in "
                "OpenQASM 3, as qiskit.qasm3.dumps does",
            )
        try:
            return parse(text)
        except QASM3ParsingError as error:
            told = re.search(r"(\d+):C?\d+:? (.*)", f"{said.getvalue()}{error}")
            line, what = (int(told[1]), f": {told[2]}") if told else (text.count("\n") + 1, "")
            self.fail(line, f"this is not OpenQASM 3{what}")
        except (RecursionError, ValueError):
            self.fail(1, "this nests too deeply, or writes a number too long, to be read")
        except (AttributeError, LookupError, TypeError):  # the parser's own, over a file's end
            self.fail(1, "this is not OpenQASM 3, or only a part of a file")

    def circuit(self, program: "ast.Program") -> Circuit:
        for statement in program.statements:
            name = type(statement).__name__
            if name not in READ:
                self.fail(
                    statement,
                    f"{_spaced(name)} is no part of a circuit of gates; leave it out",
                )
            READ[name](self, statement)
        if not self.registers:
            self.fail(1, "there are no qubits; declare some, as in qubit[4] q;")
        used = {name for *_, sums in self.applied for each in sums for name in each.factors}
        for name, node in self.inputs.items():
            if name not in used:
                self.fail(node, f"no gate turns by input {name!r}; leave it out")
        angles = tuple(name for name in self.inputs if FEATURE.fullmatch(name))
        weights = tuple(name for name in self.inputs if name not in angles)
        place = {name: Angle(angle=number) for number, name in enumerate(angles)}
        place |= {name: Angle(weight=number) for number, name in enumerate(weights)}
        gates = tuple(gate for each in self.applied for gate in _gates(*each, place))
        return Circuit(self.qubits, gates, angles, weights)

    @property
    def qubits(self) -> int:
        """How many have been declared."""
        return sum(map(len, self.registers.values()))

    def include(self, node: "ast.Include") -> None:
        if node.filename != LIBRARY:
            self.fail(
                node, f"only {LIBRARY!r} can be included, but {shown(node.filename)} was given"
            )

    def register(self, node: "ast.QubitDeclaration") -> None:
        size = int(self.number(node.size)) if node.size else 1
        first = self.qubits
        if size < 1 or first + size > QUBITS:
            self.fail(
                node, f"a circuit has 1 to {QUBITS} qubits, but this makes {first + size} of them"
            )
        self.registers[node.qubit.name] = range(first, first + size)

    def bits(self, node: "ast.ClassicalDeclaration") -> None:
        """Bits for measurements, or a number by name."""
        kind = type(node.type).__name__
        if kind == "BitType" and node.init_expression is None:
            return
        if kind not in NUMBERS or node.init_expression is None:
            self.fail(node, "only bits for measurements and constant numbers can be declared")
        self.define(node)

    def define(self, node: Any) -> None:
        """A constant number."""
        self.numbers[node.identifier.name] = Sum({}, self.number(node.init_expression))

    def input(self, node: "ast.IODeclaration") -> None:
        name, kind = node.identifier.name, type(node.type).__name__
        if node.io_identifier.name != "input" or kind not in ("FloatType", "AngleType"):
            self.fail(node, f"{name!r} must be an input float, one for each weight or feature")
        self.inputs[name] = node
        self.numbers[name] = Sum({name: 1.0}, 0.0)

    def definition(self, node: "ast.QuantumGateDefinition") -> None:
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
            tried = _Reader(self.source)
            tried.definitions, tried.own = self.definitions, self.own | {name: True}
            tried.apply(node, name, given, tuple(range(count)))
            table: Applied = ALIASES.get(name, name), tuple(range(count)), given
            ours, theirs = (_unitary(each, count) for each in ([table], tried.applied))
            if abs(abs(np.vdot(ours, theirs)) - 2**count) > 1e-9:
                return False
        return True

    def gate(self, node: "ast.QuantumGate") -> None:
        """Spread a gate over registers: those of one length go side by side."""
        operands = [self.operand(each) for each in node.qubits]
        sizes = {len(each) for each in operands if len(each) > 1}
        if len(sizes) > 1:
            self.fail(node, f"{node.name.name} goes over registers of {sorted(sizes)} qubits")
        angles = [self.value(each, self.numbers) for each in node.arguments]
        self.unmodified(node)
        for number in range(max(sizes, default=1)):
            qubits = tuple(each[number if len(each) > 1 else 0] for each in operands)
            self.apply(node, node.name.name, angles, qubits)

    def unmodified(self, node: "ast.QuantumGate") -> None:
        if node.modifiers or node.duration:
            self.fail(node, "a gate cannot have modifiers here; write the gate that it comes to")

    def operand(self, node: Any) -> range | list[int]:
        """The qubits that a gate's operand means."""
        name = node.name if isinstance(node.name, str) else node.name.name
        if name not in self.registers:
            known = some(self.registers)
            self.fail(node, f"unknown qubit {shown(name)}. There are: {known}")
        register = self.registers[name]
        if not hasattr(node, "indices"):
            return register
        index = node.indices[0] if len(node.indices) == 1 else []
        if not isinstance(index, list) or len(index) != 1 or hasattr(index[0], "start"):
            self.fail(node, f"give one index for {name}, or all of it")
        place = int(self.number(index[0]))
        if not -len(register) <= place < len(register):
            self.fail(
                node,
                f"{name}[{place}] is out of range; {name} has {len(register)} qubits, from "
                f"{name}[0] to {name}[{len(register) - 1}]",
            )
        return [register[place]]

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
                self.fail(each, f"{_spaced(kind)} cannot stand in a gate's definition")
            self.unmodified(each)
            for operand in each.qubits:
                if getattr(operand, "name", None) not in places:
                    self.fail(each, f"a gate's definition acts on its own qubits: {[*places]}")
            given = [self.value(one, self.numbers | inner) for one in each.arguments]
            on = tuple(places[str(operand.name)] for operand in each.qubits)
            self.apply(each, each.name.name, given, on, depth + 1)

    def measure(self, node: "ast.QuantumMeasurementStatement") -> None:
        for qubit in self.operand(node.measure.qubit):
            self.measured[qubit] = node

    def nothing(self, node: Any) -> None:
        """Of what changes no expectation."""

    def number(self, node: Any) -> float:
        """The value of an expression of constants."""
        value = self.value(node, self.numbers)
        if value.factors:
            self.fail(node, f"this must be a constant, but {[*value.factors]} are inputs")
        return value.alone

    def value(self, node: Any, names: Mapping[str, Sum]) -> Sum:
        """An angle: a sum of numbers and of parameters, each times a number."""
        try:
            found = self._value(node, names)
        except ConfigError:
            raise
        except (ArithmeticError, ValueError, TypeError, RecursionError):
            self.fail(node, "this expression has no finite value, or nests too deeply")
        # The root of a negative number is none that a gate can turn by.
        numbers = (found.alone, *found.factors.values())
        if any(isinstance(one, complex) or not math.isfinite(one) for one in numbers):
            self.fail(node, "this expression has no finite value")
        return found._replace(factors={name: by for name, by in found.factors.items() if by})

    def _value(self, node: Any, names: Mapping[str, Sum]) -> Sum:
        kind = type(node).__name__
        if kind in ("IntegerLiteral", "FloatLiteral"):
            return Sum({}, float(node.value))
        if kind == "Identifier":
            if node.name in CONSTANTS and node.name not in names:
                return Sum({}, CONSTANTS[node.name])
            if node.name not in names:
                hint = nearest(node.name, list(names)) or ";"
                self.fail(
                    node,
                    f"unknown parameter {shown(node.name)}{hint} declare it, as in input float "
                    f"{node.name};",
                )
            return names[node.name]
        if kind == "UnaryExpression" and node.op.name in SIGNS:
            value = self._value(node.expression, names)
            return _scaled(value, SIGNS[node.op.name])
        if kind == "BinaryExpression":
            left, right = self._value(node.lhs, names), self._value(node.rhs, names)
            if node.op.name in SIGNS:
                right = _scaled(right, SIGNS[node.op.name])
                factors = dict(left.factors)
                for name, factor in right.factors.items():
                    factors[name] = factors.get(name, 0.0) + factor
                return Sum(factors, left.alone + right.alone)
            if node.op.name == "*" and not left.factors:
                return _scaled(right, left.alone)
            if node.op.name in ("*", "/") and not right.factors:
                return _scaled(left, right.alone if node.op.name == "*" else 1 / right.alone)
            if node.op.name == "**" and not left.factors and not right.factors:
                return Sum({}, left.alone**right.alone)
        if kind == "FunctionCall" and node.name.name in FUNCTIONS and len(node.arguments) == 1:
            value = self._value(node.arguments[0], names)
            if not value.factors:
                return Sum({}, FUNCTIONS[node.name.name](value.alone))
        return self.fail(
            node,
            "an angle is a number, or a parameter times a number plus a number, such as "
            "2 * theta + pi / 2; this is neither",
        )


NUMBERS = ("FloatType", "AngleType", "IntType", "UintType")
READ: Mapping[str, Callable[[_Reader, Any], None]] = {
    "Include": _Reader.include,
    "QubitDeclaration": _Reader.register,
    "ClassicalDeclaration": _Reader.bits,
    "ConstantDeclaration": _Reader.define,
    "IODeclaration": _Reader.input,
    "QuantumGateDefinition": _Reader.definition,
    "QuantumGate": _Reader.gate,
    "QuantumMeasurementStatement": _Reader.measure,
    "QuantumBarrier": _Reader.nothing,
    "QuantumPhase": _Reader.nothing,
}
"""What a file may hold."""


@lru_cache
def _library() -> dict[str, Any]:
    """Definitions of the standard library's gates that the table lacks."""
    from openqasm3 import parse

    return {each.name.name: each for each in parse(OTHERS).statements}


def _known() -> str:
    return f"There are: {', '.join((*GATES, *_library()))}, and what the file itself defines"


def _spaced(name: str) -> str:
    """ForInLoop → for in loop."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


def _scaled(value: Sum, by: float) -> Sum:
    return Sum({name: factor * by for name, factor in value.factors.items()}, value.alone * by)


def _gates(
    name: str, qubits: tuple[int, ...], sums: list[Sum], place: Mapping[str, Angle]
) -> Iterator[Gate]:
    """A gate with its parameters in their places.

    A sum of several is so many gates: whatever turns by one angle turns by a sum in parts.
    """
    if len(sums) == 1 and len(sums[0].factors) > 1:
        parts = [Sum({parameter: factor}, 0.0) for parameter, factor in sums[0].factors.items()]
        for part in (*parts, Sum({}, sums[0].alone)):
            yield from _gates(name, qubits, [part], place)
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
        for step in steps(next(_gates(name, on, sums, {}))):
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

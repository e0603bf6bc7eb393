"""A file in OpenQASM 3, statement by statement, as its reference parser takes it apart."""

import io
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from qdllm.circuits.expansion import Expansion, placed, spaced
from qdllm.circuits.expressions import Sum, value
from qdllm.circuits.gates import QUBITS, Angle, Circuit
from qdllm.errors import ConfigError
from qdllm.messages import shown, some

if TYPE_CHECKING:
    from openqasm3 import ast

STATEMENTS = 15_000
"""Statements that it may have: the reference parser takes 3 s for so many."""
LONGEST = 2_000
"""Characters that one of them may have, so that no expression can lie too deep."""
LIBRARY = "stdgates.inc"
FEATURE = re.compile(r"_*(x|angles?|inputs?|features?)[\d_]*")


class Reader:
    """What is known of a file so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.registers: dict[str, range] = {}
        self.inputs: dict[str, Any] = {}
        """The parameters, and where they are declared."""
        self.numbers: dict[str, Sum] = {}
        """What parameters and constants stand for."""
        self.gates = Expansion(self.numbers, self.fail)

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
                    f"{spaced(name)} is no part of a circuit of gates; leave it out",
                )
            READ[name](self, statement)
        if not self.registers:
            self.fail(1, "there are no qubits; declare some, as in qubit[4] q;")
        used = {name for *_, sums in self.gates.applied for each in sums for name in each.factors}
        for name, node in self.inputs.items():
            if name not in used:
                self.fail(node, f"no gate turns by input {name!r}; leave it out")
        angles = tuple(name for name in self.inputs if FEATURE.fullmatch(name))
        weights = tuple(name for name in self.inputs if name not in angles)
        place = {name: Angle(angle=number) for number, name in enumerate(angles)}
        place |= {name: Angle(weight=number) for number, name in enumerate(weights)}
        gates = tuple(gate for each in self.gates.applied for gate in placed(*each, place))
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
        self.gates.define(node)

    def gate(self, node: "ast.QuantumGate") -> None:
        """Spread a gate over registers: those of one length go side by side."""
        operands = [self.operand(each) for each in node.qubits]
        sizes = {len(each) for each in operands if len(each) > 1}
        if len(sizes) > 1:
            self.fail(node, f"{node.name.name} goes over registers of {sorted(sizes)} qubits")
        angles = [value(each, self.numbers, self.fail) for each in node.arguments]
        self.gates.unmodified(node)
        for number in range(max(sizes, default=1)):
            qubits = tuple(each[number if len(each) > 1 else 0] for each in operands)
            self.gates.apply(node, node.name.name, angles, qubits)

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

    def measure(self, node: "ast.QuantumMeasurementStatement") -> None:
        for qubit in self.operand(node.measure.qubit):
            self.gates.measured[qubit] = node

    def nothing(self, node: Any) -> None:
        """Of what changes no expectation."""

    def number(self, node: Any) -> float:
        """The value of an expression of constants."""
        found = value(node, self.numbers, self.fail)
        if found.factors:
            self.fail(node, f"this must be a constant, but {[*found.factors]} are inputs")
        return found.alone


NUMBERS = ("FloatType", "AngleType", "IntType", "UintType")
READ: Mapping[str, Callable[[Reader, Any], None]] = {
    "Include": Reader.include,
    "QubitDeclaration": Reader.register,
    "ClassicalDeclaration": Reader.bits,
    "ConstantDeclaration": Reader.define,
    "IODeclaration": Reader.input,
    "QuantumGateDefinition": Reader.definition,
    "QuantumGate": Reader.gate,
    "QuantumMeasurementStatement": Reader.measure,
    "QuantumBarrier": Reader.nothing,
    "QuantumPhase": Reader.nothing,
}
"""What a file may hold."""

"""OpenQASM 3 in and out: circuits that people bring, and how a spec carries them.

A file is read by OpenQASM's reference parser, and nothing in it is executed. Its inputs are the
weights and the features' angles, told apart by name: an `input float` called x, angle, input or
feature, whatever digits and underscores go with it, is a feature's angle, and all others are
weights; each kind is numbered as declared. That is how Qiskit writes ParameterVector("x", 11).
"""

import contextlib
import hashlib
import io
import re
from functools import lru_cache
from pathlib import Path

from qdllm import outside
from qdllm.circuits.gates import GATES, Angle, Circuit
from qdllm.circuits.reading import LIBRARY, Reader

SUFFIX = ".qasm"


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
    reader = Reader(source)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        program = reader.program(text, said)
    return reader.circuit(program)

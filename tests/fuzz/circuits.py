"""Circuits as OpenQASM files, and as a grid names them."""

import random
from pathlib import Path
from typing import Any

from given import Case, anything, damaged, some_text

from qdllm.circuits import openqasm
from qdllm.circuits.spec import CircuitSpec

ONE = ("rx", "ry", "rz", "p", "h", "x", "t")
TWO = ("cx", "rzz", "cz", "swap", "crx")
TURNS = ("rx", "ry", "rz", "p", "rzz", "crx")
WRONG = (
    *("rx(y9) q[0];", "nogate q[0];", "cx q[0];", "cx q[0], q[0];", "rx(w0) q[99];", "rx q[0];"),
    *("if (true) { x q[0]; }", 'include "/etc/passwd";', "qubit[1000000] r;", "input int n;"),
    *("rx((-1) ** 0.5 * w0) q[0];", "rx(1 / 0) q[0];", "rx(1e999) q[0];", "rx(sin(w0)) q[0];"),
    *(
        "ctrl @ x q[0], q[1];",
        "measure q[0]; x q[0];",
        "gate g a { g a; } g q[0];",
        "OPENQASM 2.0;",
    ),
    *("rx(" + "(" * 500 + "w0" + ")" * 500 + ") q[0];", "rx(w0 * w0) q[0];", "x" * 3000 + ";"),
)


def file(rng: random.Random, folder: Path) -> Case:
    """A whole circuit that is right, one with one wrong line, or a file after an accident."""
    kind = rng.random()
    lines, wrong = _lines(rng), ""
    if 0.3 < kind < 0.6:
        wrong = rng.choice(WRONG)
        lines.insert(rng.randrange(5, len(lines) + 1), wrong)
    raw = "\n".join(lines).encode()
    if kind > 0.6:
        raw = damaged(rng, raw)
    path = folder / rng.choice(("mine.qasm", "a b.qasm", "é.qasm"))
    path.write_bytes(raw)
    settings: dict[str, Any] = {"file": str(path)}
    valid: bool | None = None if kind > 0.6 else not wrong
    if kind > 0.9:
        settings |= {rng.choice(("qubits", "layers", "ansatz", "observables")): anything(rng)}

    def check(spec: CircuitSpec) -> str | None:
        made = openqasm.parse(spec.file)
        if not 2 <= made.qubits <= 20 or not made.weights or not made.angles:
            return f"a circuit of {made.qubits} qubits, {made.angles}, {made.weights}"
        again = openqasm.parse(openqasm.written(made))
        return None if again == made else "it is another one when it is written and read again"

    return Case(
        f"{path.name} with {settings!r:.200}: {raw!r:.300}",
        lambda: CircuitSpec.parse(settings),
        valid,
        [str(path), path.name] if valid is False else [],
        check,
    )


def named(rng: random.Random, folder: Path) -> Case:
    """The circuit's settings, whatever they are given as."""
    fields = list(CircuitSpec.model_fields)
    settings = {key: anything(rng) for key in rng.sample(fields, rng.choice((1, 2)))}
    if rng.random() < 0.3:
        settings["observables"] = ["".join(rng.choices("IXYZx ", k=4)) for _ in range(3)]
        settings["qubits"] = 4
    if rng.random() < 0.2:
        settings[rng.choice(("file", "ansatz"))] = f"{some_text(rng)}.qasm"

    def check(spec: CircuitSpec) -> str | None:
        sound = 2 <= spec.qubits <= 20 and 1 <= spec.layers <= 1000
        return None if sound else f"it was accepted, as {spec!r:.300}"

    return Case(
        f"a circuit {settings!r:.300}", lambda: CircuitSpec.parse(settings), None, [], check
    )


def _lines(rng: random.Random) -> list[str]:
    qubits, weights = rng.randrange(2, 7), rng.randrange(1, 5)
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', "input float x0;", f"qubit[{qubits}] q;"]
    lines[3:3] = [f"input float w{number};" for number in range(weights)]
    lines.append("rx(x0) q[0];")
    lines += [f"ry(w{number}) q[{rng.randrange(qubits)}];" for number in range(weights)]
    for _ in range(rng.randrange(10)):
        gate = rng.choice((*ONE, *TWO))
        places = rng.sample(range(qubits), 2 if gate in TWO else 1)
        angle = rng.choice(("pi / 2", "-w0", "2 * x0 + 0.5", "w0 / 3", "sqrt(2)"))
        on = ", ".join(f"q[{place}]" for place in places)
        lines.append(f"{gate}{f'({angle})' if gate in TURNS else ''} {on};")
    return lines

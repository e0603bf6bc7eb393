"""A circuit as text, for a person."""

from collections.abc import Iterator, Sequence

from qdllm.circuits.gates import GATES, Angle, Circuit, Gate

LONG = 8
"""Where a parameter's name has more letters, all are drawn as numbers: x0, w0."""


def drawn(circuit: Circuit, width: int = 100) -> str:
    """A line for each qubit, time running to the right, in blocks of that many characters."""
    names = [f"{q}: " for q in range(circuit.qubits)]
    margin = max(map(len, names))
    if any(len(name) > LONG for name in (*circuit.angles, *circuit.weights)):
        circuit = circuit._replace(
            angles=tuple(f"x{number}" for number in range(len(circuit.angles))),
            weights=tuple(f"w{number}" for number in range(len(circuit.weights))),
        )
    columns = [_column(moment, circuit) for moment in _moments(circuit)]
    blocks: list[list[list[str]]] = [[]]
    room = width - margin
    for column in columns:
        if blocks[-1] and len(column[0]) > room:
            blocks.append([])
            room = width - margin
        blocks[-1].append(column)
        room -= len(column[0])
    return "\n\n".join(
        "\n".join(
            name.rjust(margin) + "".join(column[q] for column in block)
            for q, name in enumerate(names)
        )
        for block in blocks
    )


def _moments(circuit: Circuit) -> list[list[Gate]]:
    """Gates side by side, each as early as the lines that it crosses are free."""
    ends, moments = [0] * circuit.qubits, list[list[Gate]]()
    for gate in circuit.gates:
        crossed = range(min(gate.qubits), max(gate.qubits) + 1)
        moment = max(ends[q] for q in crossed)
        for q in crossed:
            ends[q] = moment + 1
        if moment == len(moments):
            moments.append([])
        moments[moment].append(gate)
    return moments


def _column(moment: Sequence[Gate], circuit: Circuit) -> list[str]:
    """What a moment writes on every line, all as wide."""
    cells = dict(cell for gate in moment for cell in _cells(gate, circuit))
    widest = max(map(len, cells.values()))
    return [f"─{cells.get(q, '').center(widest, '─')}─" for q in range(circuit.qubits)]


def _cells(gate: Gate, circuit: Circuit) -> Iterator[tuple[int, str]]:
    """A gate's boxes, its controls, and where its line crosses others."""
    kind = GATES[gate.name]
    angles = ",".join(_angle(angle, circuit) for angle in gate.angles)
    box = f"[{gate.name[kind.controls :]}{f'({angles})' if angles else ''}]"
    for q in range(min(gate.qubits), max(gate.qubits) + 1):
        if q not in gate.qubits:
            yield q, "│"
        elif q in gate.qubits[: kind.controls]:
            yield q, "●"
        else:
            yield q, box


def _angle(angle: Angle, circuit: Circuit) -> str:
    if angle.constant:
        return f"{angle.offset:.3g}"
    name = (
        circuit.weights[angle.weight]
        if angle.weight is not None
        else circuit.angles[angle.angle or 0]
    )
    factor = {1.0: "", -1.0: "-"}.get(angle.factor, f"{angle.factor:.3g}·")
    return f"{factor}{name}" + (f"{angle.offset:+.3g}" if angle.offset else "")

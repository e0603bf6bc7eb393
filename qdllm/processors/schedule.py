"""When each of a placed circuit's gates happens, and where on a chip errors may come between them.

Gates go as early as their qubits are free. Between two CZs a qubit's rotations are one: whatever
they come to is a pulse, if it is more than a rotation about Z, which is free. A pulse comes right
before the CZ that it leads to, so that a qubit waits before it: in |0⟩, where nothing can happen
to it, if it is its first.
"""

from collections.abc import Iterator
from math import prod
from typing import Literal, NamedTuple

from qdllm.circuits.gates import Gate
from qdllm.processors.calibration import Calibration
from qdllm.processors.layout import Placed, cost


class Event(NamedTuple):
    """What happens on some wires: a gate, time that passes, or an error that a gate may make.

    Gates are `h`, `cz`, and rotations: `ry`, `rz`, and `zz` for a rotation about ZZ that is a
    single CZ.
    """

    what: Literal["h", "cz", "ry", "rz", "zz", "idle", "pulse-error", "cz-error"]
    wires: tuple[int, ...]
    rotation: int = -1
    """A rotation's number, counted as the circuit has them."""
    ns: float = 0.0


class Told(NamedTuple):
    """What a circuit costs on a chip."""

    cz: int
    depth: int
    """CZs one after another."""
    duration_us: float
    fidelity: float
    """The product of its gates' fidelities: how likely none fails, readout aside."""


class _Wire:
    """What is known of a wire so far."""

    def __init__(self) -> None:
        self.free = 0.0
        self.depth = 0
        self.begun = False
        self.waiting: list[Event] = []

    def pulse(self) -> bool:
        """Whether what waits is more than a rotation about Z."""
        kinds = [event.what for event in self.waiting if event.what != "rz"]
        only_h = all(kind == "h" for kind in kinds)
        alone = only_h and len(kinds) == len(self.waiting)
        return bool(kinds) and not (alone and len(kinds) % 2 == 0)


def scheduled(placed: Placed, chip: Calibration) -> tuple[list[Event], Told]:
    """A placed circuit's events in time order, up to its measurement, and what it costs."""
    wires = [_Wire() for _ in placed.chip]
    events: list[Event] = []
    fidelities: list[float] = []
    usable, count = chip.usable(), 0

    def flush(q: int) -> float:
        """When a wire is ready for what comes after its rotations."""
        return wires[q].free + chip.one_qubit_ns * wires[q].pulse()

    def meet(*together: int) -> float:
        """Bring wires to one time, with all that waits on them."""
        start = max(map(flush, together))
        for q in together:
            wire, pulsed = wires[q], wires[q].pulse()
            wait = start - flush(q)
            if wire.begun and wait > 0:
                events.append(Event("idle", (q,), ns=wait))
            events.extend(wire.waiting)
            if pulsed:
                events.append(Event("pulse-error", (q,)))
                fidelities.append(chip.qubit(placed.chip[q]).fidelity)
            wire.begun = wire.begun or pulsed
            wire.waiting, wire.free = [], start
        return start

    for event in _native(placed.circuit.gates):
        if len(event.wires) == 1:
            wires[event.wires[0]].waiting.append(event)
            continue
        start = meet(*event.wires)
        events += [event, Event("cz-error", event.wires)]
        depth = 1 + max(wires[q].depth for q in event.wires)
        for q in event.wires:
            wires[q].free, wires[q].depth, wires[q].begun = start + chip.two_qubit_ns, depth, True
        fidelities.append(usable[placed.chip[event.wires[0]], placed.chip[event.wires[1]]])
        count += 1
    end = meet(*range(len(wires)))
    deepest = max(wire.depth for wire in wires)
    return events, Told(count, deepest, end / 1000, prod(fidelities))


def _native(gates: tuple[Gate, ...]) -> Iterator[Event]:
    """Primitives as the chip does them: a CX is a CZ between two H on its target."""
    number = 0
    for gate in gates:
        if gate.name == "cx":
            yield from _cx(*gate.qubits)
        elif gate.name == "x":
            # It changes no frame, yet it is a pulse; two H and a pulse are one.
            yield Event("ry", gate.qubits)
        else:
            if gate.name != "rzz":
                yield Event("ry" if gate.name == "ry" else "rz", gate.qubits, number)
            elif cost(gate) == 1:
                yield Event("zz", gate.qubits, number)
            else:
                yield from _cx(*gate.qubits)
                yield Event("rz", gate.qubits[1:], number)
                yield from _cx(*gate.qubits)
            number += 1


def _cx(control: int, target: int) -> Iterator[Event]:
    yield Event("h", (target,))
    yield Event("cz", (control, target))
    yield Event("h", (target,))

"""The student's circuit: one list of gates that every simulator and exporter reads."""

from collections.abc import Iterator
from functools import lru_cache

from qdllm.circuits import openqasm
from qdllm.circuits.gates import Angle, Circuit, Gate, weight
from qdllm.circuits.layers import ANSATZE, ENCODINGS, OBSERVABLES, Slot, encoded
from qdllm.circuits.spec import CircuitSpec


@lru_cache
def circuit(spec: CircuitSpec) -> Circuit:
    """The whole circuit in time order: the encoding on |0…0⟩, then every layer."""
    if spec.file:
        return openqasm.parse(spec.file)
    encoding, repeated = encoded(ENCODINGS[spec.encoding], spec.qubits), list[Gate]()
    for layer in range(spec.layers):
        if layer == 0 or ENCODINGS[spec.encoding].every_layer:
            repeated += encoding
        repeated += _layer(spec, layer)
    angles = tuple(f"angle{number}" for number in range(len(encoding)))
    return Circuit(spec.qubits, tuple(repeated), angles, _names(spec))


def gates(spec: CircuitSpec) -> tuple[Gate, ...]:
    """The circuit's gates in time order."""
    return circuit(spec).gates


def weight_names(spec: CircuitSpec) -> tuple[str, ...]:
    """Names of the circuit's weights in order, such as `layer0.ry_alpha.3`.

    Layer by layer: for each j its weights as they come, those of RZ after all others. For
    `published` that is the order of the authors' program.
    """
    return circuit(spec).weights


def weight_count(spec: CircuitSpec) -> int:
    """How many weights the circuit has: 792 for `published` on 11 qubits with 11 layers."""
    return len(circuit(spec).weights)


def angle_count(spec: CircuitSpec) -> int:
    """How many input angles the circuit takes of each example: one a qubit by default."""
    return len(circuit(spec).angles)


@lru_cache
def observables(spec: CircuitSpec) -> tuple[str, ...]:
    """The Pauli strings whose expectations are read, a letter for each qubit from 0 on."""
    given = spec.observables
    return OBSERVABLES[given](spec.qubits) if isinstance(given, str) else given


def observable_count(spec: CircuitSpec) -> int:
    """How many expectations the circuit gives: one a qubit by default."""
    return len(observables(spec))


def told(spec: CircuitSpec) -> str:
    """The circuit in words: 'published' on 11 qubits with 2 layers."""
    if spec.file:
        return f"{openqasm.label(spec.file)!r} on {spec.qubits} qubits"
    name = openqasm.label(spec.ansatz) if openqasm.is_text(spec.ansatz) else spec.ansatz
    return f"{name!r} on {spec.qubits} qubits with {spec.layers} layer{'s' * (spec.layers > 1)}"


def _layer(spec: CircuitSpec, layer: int) -> Iterator[Gate]:
    if openqasm.is_text(spec.ansatz):
        own = openqasm.parse(spec.ansatz)
        for gate in own.gates:
            yield gate._replace(
                angles=tuple(_shifted(angle, layer * len(own.weights)) for angle in gate.angles)
            )
        return
    names = _slots(spec)
    number = {slot: layer * len(names) + place for place, slot in enumerate(names)}
    for slot in ANSATZE[spec.ansatz](spec.qubits, layer):
        angles = (weight(number[slot.weight, slot.j]),) if slot.weight else ()
        yield Gate(slot.name, slot.qubits, angles)


def _shifted(angle: Angle, by: int) -> Angle:
    return angle if angle.weight is None else angle._replace(weight=angle.weight + by)


def _names(spec: CircuitSpec) -> tuple[str, ...]:
    own = (
        openqasm.parse(spec.ansatz).weights
        if openqasm.is_text(spec.ansatz)
        else [f"{weight}.{j}" for weight, j in _slots(spec)]
    )
    return tuple(f"layer{layer}.{name}" for layer in range(spec.layers) for name in own)


def _slots(spec: CircuitSpec) -> list[tuple[str, int]]:
    """A layer's kinds of weights and their numbers, in order."""

    def place(slot: Slot) -> tuple[bool, int]:
        return slot.weight.startswith("rz_"), slot.j

    slots = sorted(ANSATZE[spec.ansatz](spec.qubits, 0), key=place)
    return list(dict.fromkeys((slot.weight, slot.j) for slot in slots if slot.weight))

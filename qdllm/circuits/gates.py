"""The student's circuit as data: one list of gates that every simulator and exporter reads.

Angles are in radians and gates follow the usual convention, RX(θ) = exp(−iθX/2) and so on. Qubit q
is bit q of a basis state's index, so qubit 0 is the least significant bit.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from qdllm.specs import CircuitSpec


class Gate(NamedTuple):
    """One gate. A rotation turns by `angles[angle]`, an input, or by `weights[weight]`."""

    name: str
    """rx, ry, rz, rzz or cx."""
    qubits: tuple[int, ...]
    """The target, or for rzz the pair, or for cx the control and the target."""
    angle: int | None = None
    weight: int | None = None


class Slot(NamedTuple):
    """One gate of an ansatz layer, before its weight has a number."""

    name: str
    qubits: tuple[int, ...]
    weight: str = ""
    """The kind of weight that it turns by, `j` being its number within the layer."""
    j: int = 0


TRIPLE = ("alpha", "beta", "gamma")


def published(n: int) -> Iterator[Slot]:
    """One layer as the authors' program builds it: 72 weights on 11 qubits.

    The last qubit gets no RY, RZZ(δ_j) acts on (j + 1, j + 2) before either has its RY, and the
    last qubit is never the target of a CNOT.
    """
    for j in range(n - 1):
        yield from (Slot("ry", (j,), f"ry_{k}", j) for k in TRIPLE)
        if j != n - 2:
            yield Slot("rzz", (j + 1, j + 2), "rzz_delta", j)
    for j in range(n):
        yield from (Slot("rz", (j,), f"rz_{k}", j) for k in TRIPLE)
    yield Slot("cx", (n - 1, 0))
    for k in range(1, n - 2):
        yield Slot("cx", (k, k + 1))
        yield Slot("cx", (k, k - 1))


def textbook(n: int) -> Iterator[Slot]:
    """One layer as the paper's text and Fig. 2b describe it (equations 7 to 13).

    RY three times on every qubit, RZZ on every adjacent pair, RZ three times on every qubit, then
    CNOTs. The text entangles adjacent qubits and names no pair that would close a ring, so both
    the RZZ and the CNOTs run along the chain j → j + 1.
    """
    for j in range(n):
        yield from (Slot("ry", (j,), f"ry_{k}", j) for k in TRIPLE)
    for j in range(n - 1):
        yield Slot("rzz", (j, j + 1), "rzz_delta", j)
    for j in range(n):
        yield from (Slot("rz", (j,), f"rz_{k}", j) for k in TRIPLE)
    for j in range(n - 1):
        yield Slot("cx", (j, j + 1))


ANSATZE = {"published": published, "textbook": textbook}


@lru_cache
def weight_names(spec: CircuitSpec) -> tuple[str, ...]:
    """Names of the circuit's weights in order, such as `layer0.ry_alpha.3`.

    Layer by layer: for each j its three RY weights and, where there is one, its RZZ weight; then
    for each j its three RZ weights. For `published` that is the order of the authors' program.
    """
    used = {slot[2:] for slot in ANSATZE[spec.ansatz](spec.qubits) if slot.weight}
    kinds = [f"ry_{k}" for k in TRIPLE] + ["rzz_delta"] + [f"rz_{k}" for k in TRIPLE]

    def place(slot: tuple[str, int]) -> tuple[bool, int, int]:
        weight, j = slot
        return weight.startswith("rz_"), j, kinds.index(weight)

    ordered = sorted(used, key=place)
    return tuple(
        f"layer{layer}.{weight}.{j}" for layer in range(spec.layers) for weight, j in ordered
    )


def weight_count(spec: CircuitSpec) -> int:
    """How many weights the circuit has: 792 for `published` on 11 qubits with 11 layers."""
    return len(weight_names(spec))


@lru_cache
def gates(spec: CircuitSpec) -> tuple[Gate, ...]:
    """The whole circuit in time order: RX(angle q) on each qubit q of |0…0⟩, then every layer."""
    number = {name: w for w, name in enumerate(weight_names(spec))}
    circuit = [Gate("rx", (q,), angle=q) for q in range(spec.qubits)]
    for layer in range(spec.layers):
        for slot in ANSATZE[spec.ansatz](spec.qubits):
            weight = number[f"layer{layer}.{slot.weight}.{slot.j}"] if slot.weight else None
            circuit.append(Gate(slot.name, slot.qubits, weight=weight))
    return tuple(circuit)

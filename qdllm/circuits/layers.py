"""What a circuit is built from by name: encodings, ansätze and observables."""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from qdllm.circuits.gates import Gate, angle


class Slot(NamedTuple):
    """One gate of an ansatz layer, before its weights have numbers."""

    name: str
    qubits: tuple[int, ...]
    weight: str = ""
    """The kind of weight that it turns by, `j` being its number within the layer."""
    j: int = 0


Layer = Callable[[int, int], Iterator[Slot]]
"""A layer's gates, from the number of qubits and the layer's own, counted from 0."""

TRIPLE = ("alpha", "beta", "gamma")


def published(n: int, layer: int = 0) -> Iterator[Slot]:
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


def textbook(n: int, layer: int = 0) -> Iterator[Slot]:
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


def strongly_entangling(n: int, layer: int = 0) -> Iterator[Slot]:
    """RZ, RY, RZ on every qubit, then CNOTs to the qubit `layer` + 1 places on, in a ring.

    The circuit-centric block of Schuld et al. (arXiv 1804.00633), with the ranges that PennyLane's
    StronglyEntanglingLayers takes: 1, 2 … n − 1, and again.
    """
    for j in range(n):
        yield Slot("rz", (j,), "rz_phi", j)
        yield Slot("ry", (j,), "ry_theta", j)
        yield Slot("rz", (j,), "rz_omega", j)
    reach = layer % (n - 1) + 1
    for j in range(n):
        yield Slot("cx", (j, (j + reach) % n))


def brick(n: int, layer: int = 0) -> Iterator[Slot]:
    """RY and RZ on every qubit, then CZ on the pairs of a wall of bricks.

    The pairs are (0, 1), (2, 3) … in even layers and (1, 2), (3, 4) … in odd ones.
    """
    for j in range(n):
        yield Slot("ry", (j,), "ry_theta", j)
        yield Slot("rz", (j,), "rz_phi", j)
    for j in range(layer % 2 if n > 2 else 0, n - 1, 2):
        yield Slot("cz", (j, j + 1))


def all_to_all(n: int, layer: int = 0) -> Iterator[Slot]:
    """RY and RZ on every qubit, then RZZ on every pair of them."""
    for j in range(n):
        yield Slot("ry", (j,), "ry_theta", j)
        yield Slot("rz", (j,), "rz_phi", j)
    for number, pair in enumerate(combinations(range(n), 2)):
        yield Slot("rzz", pair, "rzz_delta", number)


def qtc(n: int, layer: int = 0) -> Iterator[Slot]:
    """U3 on every qubit, then CNOTs to the next one, in a ring: BERT-QTC's kernel.

    U3(θ, φ, λ) is RZ(λ), RY(θ), RZ(φ) in time order. The last layer's second RZ reaches no ⟨Z⟩.
    """
    for j in range(n):
        yield Slot("rz", (j,), "rz_lambda", j)
        yield Slot("ry", (j,), "ry_theta", j)
        yield Slot("rz", (j,), "rz_phi", j)
    for j in range(n):
        yield Slot("cx", (j, (j + 1) % n))


ANSATZE: Mapping[str, Layer] = {
    "published": published,
    "textbook": textbook,
    "strongly-entangling": strongly_entangling,
    "brick": brick,
    "all-to-all": all_to_all,
    "qtc": qtc,
}


class Encoding(NamedTuple):
    """How input angles enter a circuit."""

    gates: tuple[str, ...]
    """On every qubit, one after another; each turns by an input angle of its own."""
    every_layer: bool = False
    """Whether they stand before every layer, or before the first alone."""


ENCODINGS: Mapping[str, Encoding] = {
    "rx": Encoding(("rx",)),
    "ry": Encoding(("ry",)),
    "rz-ry": Encoding(("ry", "rz")),
    "reuploading": Encoding(("rx",), every_layer=True),
}
"""`rz-ry` is RZ · RY as operators write it: RY comes first, since RZ does nothing to |0⟩."""


def encoded(encoding: Encoding, n: int) -> list[Gate]:
    """The encoding's gates on n qubits. Gate g of qubit q turns by the input angle g · n + q."""
    return [
        Gate(name, (q,), (angle(g * n + q),))
        for g, name in enumerate(encoding.gates)
        for q in range(n)
    ]


def _strings(n: int, supports: list[tuple[int, ...]]) -> tuple[str, ...]:
    return tuple("".join("Z" if q in support else "I" for q in range(n)) for support in supports)


def _single(n: int) -> list[tuple[int, ...]]:
    return [(q,) for q in range(n)]


OBSERVABLES: Mapping[str, Callable[[int], tuple[str, ...]]] = {
    "z": lambda n: _strings(n, _single(n)),
    "z+zz": lambda n: _strings(n, [*_single(n), *((q, q + 1) for q in range(n - 1))]),
    "z+all-zz": lambda n: _strings(n, [*_single(n), *combinations(range(n), 2)]),
}
"""Lists of Pauli strings on n qubits; a string's first letter is qubit 0's."""

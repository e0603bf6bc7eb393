"""Where a circuit goes on a chip: which qubits it takes, and the swaps between those too far apart.

Qubits are placed one after another next to those that they interact with, each way of doing so
being tried that can still be better than the best so far, by what its gates' errors come to. What
is not side by side then is brought there by swaps, greedily, with an eye on the gates to come.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from math import log, pi
from typing import NamedTuple

from qdllm.circuits.gates import Circuit, Gate, steps
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.processors.calibration import Calibration

TRIED = 60_000
"""Ways to place qubits that are looked at."""
AHEAD = 12
"""Gates to come that a swap is chosen by."""
FADES = 0.8
"""How much less each further one counts."""
SWAP = 3
"""CZs of a swap."""

Pair = tuple[int, int]


class Placed(NamedTuple):
    """A circuit on a chip, in primitives on wires, each of which is one of the chip's qubits."""

    circuit: Circuit
    chip: tuple[int, ...]
    """The chip's number of each wire."""
    ends: tuple[int, ...]
    """The wire on which each of the circuit's qubits is measured."""


def primitives(circuit: Circuit) -> list[Gate]:
    """The circuit's gates in x, cx, ry, rz and rzz."""
    return [step for gate in circuit.gates for step in steps(gate)]


def cost(gate: Gate) -> int:
    """How many CZs a primitive takes."""
    if gate.name == "rzz":
        (angle,) = gate.angles
        return 1 if angle.constant and abs(abs(angle.offset) - pi / 2) < 1e-9 else 2
    return int(gate.name == "cx")


def placed(circuit: Circuit, chip: Calibration) -> Placed:
    """The circuit on the chip's best qubits. Raises ConfigError for one that has too few."""
    gates = primitives(circuit)
    wanted: Counter[Pair] = Counter()
    for gate in gates:
        if len(gate.qubits) == 2:
            wanted[min(gate.qubits), max(gate.qubits)] += cost(gate)
    first = _placing(circuit.qubits, wanted, chip)
    routed = _routed(gates, list(first), _distances(chip))
    wires = list(dict.fromkeys([*first, *(q for gate in routed.gates for q in gate.qubits)]))
    number = {q: wire for wire, q in enumerate(wires)}
    renamed = tuple(
        gate._replace(qubits=tuple(number[q] for q in gate.qubits)) for gate in routed.gates
    )
    return Placed(
        circuit._replace(qubits=len(wires), gates=renamed),
        tuple(wires),
        tuple(number[q] for q in routed.ends),
    )


class _Routed(NamedTuple):
    gates: list[Gate]
    ends: list[int]


def _routed(
    gates: list[Gate], at: list[int], distances: Mapping[int, Mapping[int, int]]
) -> _Routed:
    """The gates on the chip's own qubits. `at`: where each of the circuit's qubits begins."""
    found = list[Gate]()
    pairs = [gate.qubits for gate in gates if len(gate.qubits) == 2]
    done = 0
    for gate in gates:
        if len(gate.qubits) == 2:
            while distances[at[gate.qubits[0]]][at[gate.qubits[1]]] > 1:
                a, b = _swap(gate.qubits, pairs[done : done + AHEAD], at, distances)
                found += [Gate("cx", each) for each in ((a, b), (b, a), (a, b))]
                at = [{a: b, b: a}.get(q, q) for q in at]
            done += 1
        found.append(gate._replace(qubits=tuple(at[q] for q in gate.qubits)))
    return _Routed(found, at)


def _swap(
    pair: tuple[int, ...],
    ahead: Sequence[tuple[int, ...]],
    at: list[int],
    distances: Mapping[int, Mapping[int, int]],
) -> Pair:
    """The swap that brings the pair nearer, and the gates to come most."""

    def left(swap: Pair) -> float:
        moved = [{swap[0]: swap[1], swap[1]: swap[0]}.get(q, q) for q in at]
        return sum(
            FADES**number * distances[moved[p]][moved[q]] for number, (p, q) in enumerate(ahead)
        )

    options = [
        (at[p], near)
        for p, q in (pair, pair[::-1])
        for near, apart in distances[at[p]].items()
        if apart == 1 and distances[near][at[q]] < distances[at[p]][at[q]]
    ]
    return min(options, key=left)


def _distances(chip: Calibration) -> dict[int, dict[int, int]]:
    """Couplers between any two qubits that can be reached from one another."""
    near = _neighbours(chip)
    found = {}
    for start in near:
        seen, queue = {start: 0}, deque([start])
        while queue:
            q = queue.popleft()
            for other in near[q]:
                if other not in seen:
                    seen[other] = seen[q] + 1
                    queue.append(other)
        found[start] = seen
    return found


def _neighbours(chip: Calibration) -> dict[int, list[int]]:
    near: dict[int, list[int]] = {one.index: [] for one in chip.qubits if one.fidelity}
    for a, b in chip.usable():
        near[a].append(b)
    return near


def _order(qubits: int, wanted: Counter[Pair]) -> list[tuple[int, int | None]]:
    """The circuit's qubits, each after one that it interacts with most, which comes with it."""
    order: list[tuple[int, int | None]] = []
    left = set(range(qubits))
    while left:
        taken = {q for q, _ in order}
        edges = [
            (count, -abs(a - b), -inner, -outer)
            for (a, b), count in wanted.items()
            for inner, outer in ((a, b), (b, a))
            if inner in taken and outer in left
        ]
        if edges:
            _, _, inner, outer = max(edges)
            order.append((-outer, -inner))
        else:
            ends = Counter(q for pair in wanted for q in pair)
            order.append((min(left, key=lambda q: (ends[q] or 99, q)), None))
        left.remove(order[-1][0])
    return order


def _placing(qubits: int, wanted: Counter[Pair], chip: Calibration) -> tuple[int, ...]:
    """The chip's qubit of each of the circuit's: the best of the ways that were tried."""
    near, fidelity, distances = _neighbours(chip), chip.usable(), _distances(chip)
    typical = -log(sum(fidelity.values()) / len(fidelity)) if fidelity else 0.0
    order = _order(qubits, wanted)
    with_earlier = [
        [
            (other, wanted[min(q, other), max(q, other)])
            for other, _ in order[:place]
            if wanted[min(q, other), max(q, other)]
        ]
        for place, (q, _) in enumerate(order)
    ]
    # A part of the circuit that hangs together fits on no island of the chip that is smaller.
    starts = [place for place, (_, beside) in enumerate(order) if beside is None]
    roots = {
        start: [one for one in near if len(distances[one]) >= end - start]
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True)
    }
    best: list[tuple[float, tuple[int, ...]]] = []

    def price(q: int, other: int, count: int) -> float:
        apart = distances[q].get(other)
        if apart is None:
            return float("inf")
        if apart == 1:
            return -count * log(fidelity[q, other])
        return (count + SWAP * (apart - 1)) * typical

    def ways(place: int, at: dict[int, int], paid: float) -> Iterator[None]:
        if best and paid >= best[0][0]:
            return
        if place == len(order):
            best[:] = [(paid, tuple(at[q] for q in range(qubits)))]
            return
        q, beside = order[place]
        taken = set(at.values())
        anywhere = roots[place] if beside is None else near[at[beside]]
        free = [one for one in anywhere if one not in taken]
        if not free and beside is not None:
            free = sorted(
                (one for one in distances[at[beside]] if one not in taken),
                key=lambda one: distances[at[beside]][one],
            )[:2]
        for one in free:
            yield
            more = sum(price(one, at[other], count) for other, count in with_earlier[place])
            yield from ways(place + 1, at | {q: one}, paid + more)

    for _ in islice(ways(0, {}, 0.0), TRIED):
        pass
    if not best or best[0][0] == float("inf"):
        raise _too_small(qubits, chip)
    return best[0][1]


def enough(qubits: int, chip: Calibration) -> None:
    """Raise ConfigError where a chip has not so many qubits that can be used together."""
    if _together(chip) < qubits:
        raise _too_small(qubits, chip)


@lru_cache
def _together(chip: Calibration) -> int:
    return max(map(len, _distances(chip).values()), default=0)


def _too_small(qubits: int, chip: Calibration) -> ConfigError:
    return ConfigError(
        f"chip {shown(chip.chip)} has no {qubits} qubits that can be used together: the most is "
        f"{_together(chip)}; choose another chip, or a student with fewer qubits"
    )


@lru_cache
def best_placed(circuit: Circuit, chip: Calibration) -> Placed:
    """`placed`, once for each circuit and chip."""
    return placed(circuit, chip)

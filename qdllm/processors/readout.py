"""From bits to expectations, and what errors of reading do to them and can be undone.

The one place that knows in which order bits come. A device's counts are read here, whoever sent
them; everywhere else qubit q is bit q of an index.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from qdllm.circuits.circuit import circuit, observables
from qdllm.circuits.settings import settings
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.processors.chains import formed

BitOrder = Literal["c0_rightmost", "c0_leftmost"]
PARITY = 4
"""Qubits of one observable at most: what reading does to it is told by all parities of fewer."""


class Reading(NamedTuple):
    """How each qubit is read: ⟨Z⟩ read is `scale` · ⟨Z⟩ + `shift`."""

    scale_Q: np.ndarray
    shift_Q: np.ndarray

    @classmethod
    def of(cls, reads_0_as_1_Q: np.ndarray, reads_1_as_0_Q: np.ndarray) -> "Reading":
        """From how often each bit is read as the other."""
        return cls(1 - reads_0_as_1_Q - reads_1_as_0_Q, reads_1_as_0_Q - reads_0_as_1_Q)

    @property
    def inverse(self) -> "Reading":
        """What undoes it. Raises ConfigError where a qubit is read no better than by chance."""
        if (self.scale_Q < 0.05).any():
            worst = int(self.scale_Q.argmin())
            raise ConfigError(
                f"qubit {worst} is read right hardly more often than by chance "
                f"({(1 + self.scale_Q[worst]) / 2:.0%}), which nothing can undo; wait until the "
                "chip is calibrated anew, or set mitigation=none"
            )
        return Reading(1 / self.scale_Q, -self.shift_Q / self.scale_Q)


def parities(masks: Sequence[int]) -> list[int]:
    """All that reading mixes into these: the masks of some of their qubits, each once.

    Raises ConfigError for a parity of more than `PARITY` qubits.
    """
    found: dict[int, None] = {}
    for mask in masks:
        qubits = [q for q in range(mask.bit_length()) if mask >> q & 1]
        if len(qubits) > PARITY:
            raise ConfigError(
                f"an observable of {len(qubits)} qubits was given, but on a device one has "
                f"{PARITY} at most: each more is read wrongly more often"
            )
        for size in range(1, len(qubits) + 1):
            for some in combinations(qubits, size):
                found[sum(1 << q for q in some)] = None
    return list(found)


def measurable(spec: CircuitSpec, form: str) -> None:
    """Raise ConfigError for an observable of that circuit which no device can tell in that form."""
    for setting in settings(circuit(spec), observables(spec)):
        made = formed(setting.circuit, form)
        parities([made.left(mask) for mask in setting.masks])


def read(z_NP: np.ndarray, every: Sequence[int], masks: Sequence[int], how: Reading) -> np.ndarray:
    """(…, M): parities as they are read. `z_NP`: those of `every`, which `parities` gave."""
    place = {mask: number for number, mask in enumerate(every)}
    columns = []
    for mask in masks:
        qubits = [q for q in range(mask.bit_length()) if mask >> q & 1]
        column = np.zeros(z_NP.shape[:-1])
        for size in range(len(qubits) + 1):
            for some in combinations(qubits, size):
                factor = np.prod([how.scale_Q[q] if q in some else how.shift_Q[q] for q in qubits])
                kept = sum(1 << q for q in some)
                column = column + factor * (z_NP[..., place[kept]] if kept else 1.0)
        columns.append(column)
    return np.stack(columns, axis=-1)


def counted(
    counts: Mapping[str, int], order: str | None, masks: Sequence[int], bits: int
) -> np.ndarray:
    """(M,): parities as means over the bit strings that a device counted.

    Raises ConfigError for counts that cannot be read: of another order, width or number.
    """
    if order not in ("c0_rightmost", "c0_leftmost"):
        raise ConfigError(
            f"bits came in an unknown order, {shown(order)}, and cannot be told apart"
        )
    total = 0
    sums = np.zeros(len(masks))
    for key, count in counts.items():
        if len(key) != bits or set(key) - {"0", "1"} or count < 0:
            raise ConfigError(
                f"{shown(key)} was counted, but bit strings of {bits} bits are needed"
            )
        index = int(key if order == "c0_rightmost" else key[::-1], 2)
        odd = np.array([(index & mask).bit_count() & 1 for mask in masks])
        sums += count * (1 - 2.0 * odd)
        total += count
    if not total:
        raise ConfigError("a circuit came back without a single bit string")
    return sums / total


class Lines(NamedTuple):
    """A line for each observable, from what was measured to what is exact."""

    slope_M: np.ndarray
    shift_M: np.ndarray

    def __call__(self, z_NM: np.ndarray) -> np.ndarray:
        """Expectations as they would have been, as far as a line can tell."""
        return z_NM * self.slope_M + self.shift_M


def fitted(measured_NM: np.ndarray, exact_NM: np.ndarray) -> Lines:
    """Least squares over examples. An observable that never varies is only shifted."""
    centred, aim = measured_NM - measured_NM.mean(0), exact_NM - exact_NM.mean(0)
    spread_M = (centred**2).sum(0)
    varies = spread_M > 1e-12 * len(measured_NM)
    slope_M = np.where(varies, (centred * aim).sum(0) / np.where(varies, spread_M, 1.0), 1.0)
    return Lines(slope_M, exact_NM.mean(0) - slope_M * measured_NM.mean(0))

"""How a circuit is read on a device, which gives bits: in which bases, and what of the bits."""

from collections.abc import Sequence
from typing import NamedTuple

from qdllm.circuits.gates import Circuit, Gate

BASES = {"X": ("h",), "Y": ("sdg", "h")}
"""Gates after which Z reads what stands there before them."""


class Setting(NamedTuple):
    """A circuit that ends in one basis a qubit, and the observables that its bits tell."""

    circuit: Circuit
    observables: tuple[int, ...]
    """Numbers of those among all."""
    masks: tuple[int, ...]
    """Of each the qubits whose parity it is."""


def settings(circuit: Circuit, observables: Sequence[str]) -> tuple[Setting, ...]:
    """As few as strings taken in turn allow: each joins the first in which no letter differs.

    Strings of Z and I, as all those by name are, come to one setting, the circuit itself.
    """
    groups: list[tuple[list[str], list[int]]] = []
    for number, string in enumerate(observables):
        for letters, numbers in groups:
            if all(
                "I" in pair or len(set(pair)) == 1 for pair in zip(letters, string, strict=True)
            ):
                letters[:] = [b if a == "I" else a for a, b in zip(letters, string, strict=True)]
                numbers.append(number)
                break
        else:
            groups.append((list(string), [number]))
    return tuple(
        Setting(
            circuit._replace(gates=(*circuit.gates, *_turned(letters))),
            tuple(numbers),
            tuple(
                sum(1 << q for q, letter in enumerate(observables[number]) if letter != "I")
                for number in numbers
            ),
        )
        for letters, numbers in groups
    )


def _turned(letters: Sequence[str]) -> list[Gate]:
    return [Gate(name, (q,)) for q, letter in enumerate(letters) for name in BASES.get(letter, ())]

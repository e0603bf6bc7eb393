"""Expectations from so many shots: what a perfect device would tell of a circuit.

Bits are drawn from all 2^Q probabilities of the engine's state, so that observables of one setting
come from the same shots, as they do on a device.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qdllm.circuits.circuit import circuit, observable_count, observables
from qdllm.circuits.settings import Setting, settings
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine import tensors
from qdllm.engine.fusion import Program, compile_gates
from qdllm.engine.statevector import check

CHUNK = 64
"""Examples whose states are held at once."""


def sampled(
    spec: CircuitSpec, angles_SNA: Tensor, weights_SW: Tensor, shots: int, seeds: Sequence[Any]
) -> Tensor:
    """(S, N, M): every observable as a mean over `shots` bit strings of each example.

    `seeds`: a student's own, as NumPy takes them, so that its draws do not depend on which others
    stand beside it.
    Computed in float64, returned in the precision of the angles. Not differentiable. Raises
    ConfigError as the engine does.
    """
    check(spec, angles_SNA, weights_SW)
    result = torch.empty(*angles_SNA.shape[:2], observable_count(spec), dtype=torch.float64)
    for s, seed in enumerate(seeds):
        generator = np.random.default_rng(seed)
        for number, setting in enumerate(_settings(spec)):
            for first in range(0, angles_SNA.shape[1], CHUNK):
                part = slice(first, first + CHUNK)
                p_NX = _probabilities(
                    _program(spec, number), angles_SNA[s : s + 1, part], weights_SW[s : s + 1]
                )
                counts_NX = generator.multinomial(shots, p_NX)
                means = counts_NX @ _signs(spec, number) / shots
                result[s, part][:, list(setting.observables)] = torch.from_numpy(means)
    return result.to(angles_SNA)


@lru_cache
def _settings(spec: CircuitSpec) -> tuple[Setting, ...]:
    return settings(circuit(spec), observables(spec))


@lru_cache
def _program(spec: CircuitSpec, number: int) -> Program:
    setting = _settings(spec)[number]
    strings = tuple(
        "".join("Z" if mask >> q & 1 else "I" for q in range(spec.qubits)) for mask in setting.masks
    )
    return compile_gates(setting.circuit.gates, spec.qubits, strings)


def _probabilities(program: Program, angles_SNA: Tensor, weights_SW: Tensor) -> np.ndarray:
    """(N, 2^Q) of one student, by the index of the state after the program's last step."""
    _, state, _ = tensors.forward(program, angles_SNA.double(), weights_SW.double(), keep=True)
    p_NX = state[0].square().sum(-1).T.contiguous().numpy()
    return p_NX / p_NX.sum(1, keepdims=True)


@lru_cache
def _signs(spec: CircuitSpec, number: int) -> np.ndarray:
    """(2^Q, M): each observable at that index. What a program permutes at its end stands in its
    observables, so bits need not be put back in their places."""
    program = _program(spec, number)
    index = np.arange(1 << spec.qubits)
    columns = [
        (1 - 2.0 * (np.bitwise_count(index & one.z) % 2)) * (1.0 if one.power < 2 else -1.0)
        for one in program.observables
    ]
    return np.stack(columns, axis=1)

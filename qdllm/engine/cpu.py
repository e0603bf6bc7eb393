"""The fused program on one CPU core: allocates, then calls the compiled walk."""

import threading
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qdllm.engine import walk
from qdllm.engine.fusion import Program
from qdllm.engine.simd import WIDTH
from qdllm.engine.tables import Array, Plan

MIN_QUBITS = 4
"""Smaller circuits get idle qubits: the tables' vectors hold 2⁴ numbers."""


class Saved(NamedTuple):
    """What `backward` needs of a forward pass."""

    kept: Array
    """One row of numbers per student, see `walk.Parts`."""
    flips: Array
    """(S, steps)"""


def forward(
    program: Program, angles_SNQ: Tensor, weights_SW: Tensor, keep: bool
) -> tuple[Tensor, Saved, int]:
    """⟨Z⟩ (S, N, Q), what `backward` needs if `keep`, and the index of a bad example or −1."""
    plan = plan_of(program)
    students, examples, _ = angles_SNQ.shape
    steps, qubits = len(plan.top), plan.maps.shape[1].bit_length() - 1
    dtype = angles_SNQ.dtype
    slots, examples_kept = (students, examples) if keep else (1, 1)
    size = walk.kept_size(steps, qubits, examples_kept)
    saved = Saved(
        torch.empty((slots, size), dtype=dtype).numpy(), np.empty((slots, steps), np.int64)
    )
    results = torch.empty_like(angles_SNQ)
    bad = walk.forward(
        plan,
        angles_SNQ.numpy(),
        weights_SW.numpy(),
        results.numpy(),
        saved.kept,
        saved.flips,
        keep,
        memory.scratch(steps, qubits, weights_SW.shape[1], dtype),
    )
    return results, saved, bad


def backward(
    program: Program, saved: Saved, angles_SNQ: Tensor, weights_SW: Tensor, grads_SNQ: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Gradients of angles and weights, and the index of a bad example or −1."""
    plan = plan_of(program)
    steps, qubits = len(plan.top), plan.maps.shape[1].bit_length() - 1
    angle_grads, weight_grads = torch.empty_like(angles_SNQ), torch.empty_like(weights_SW)
    bad = walk.backward(
        plan,
        angles_SNQ.numpy(),
        grads_SNQ.numpy(),
        saved.kept,
        saved.flips,
        angle_grads.numpy(),
        weight_grads.numpy(),
        memory.scratch(steps, qubits, weights_SW.shape[1], angles_SNQ.dtype),
    )
    return angle_grads, weight_grads, bad


class Memory(threading.local):
    """Each thread's scratch memory, kept for its next call of the same kind."""

    key: Any = None

    def scratch(self, steps: int, qubits: int, weights: int, dtype: torch.dtype) -> walk.Scratch:
        if self.key != (steps, qubits, weights, dtype):

            def rows(count: int) -> Array:
                return torch.empty(count * WIDTH, dtype=dtype).numpy()

            self.held = walk.Scratch(
                (rows(qubits), rows(qubits), rows(qubits)),
                (rows(2 << qubits), rows(2 << qubits)),
                torch.empty(1 << qubits, dtype=torch.float64).numpy(),
                np.empty((steps, qubits)),
                torch.empty(steps, 1 << qubits, dtype=torch.float64).numpy(),
                np.empty(weights),
            )
            self.key = (steps, qubits, weights, dtype)
        return self.held

    def bytes(self) -> int:
        """How much this thread holds."""
        rows, buffers, *others = self.held
        return sum(array.nbytes for array in (*rows, *buffers, *others))


memory = Memory()


@lru_cache
def plan_of(program: Program) -> Plan:
    """The program in arrays, with idle qubits where there are too few."""
    qubits = max(program.qubits, MIN_QUBITS)
    sources = [step.source for step in program.steps] + [program.readout]
    distinct = list(dict.fromkeys(sources))

    def index_map(source: tuple[int, ...]) -> Array:
        index = np.zeros(1, np.int64)
        for column in (*source, *(1 << q for q in range(len(source), qubits))):
            index = np.concatenate([index, index ^ column])
        return index

    def flat(terms: list[tuple[tuple[int, int], ...]]) -> tuple[Array, Array, Array]:
        pairs = np.array([pair for step in terms for pair in step], np.int64).reshape(-1, 2)
        return np.cumsum([0, *map(len, terms)]), pairs[:, 0].copy(), pairs[:, 1].copy()

    return Plan(
        np.stack([index_map(source) for source in distinct]),
        np.array([distinct.index(source) for source in sources[:-1]]),
        distinct.index(sources[-1]),
        np.array([max((q for q, _ in step.rotations), default=0) + 1 for step in program.steps]),
        *flat([step.phases for step in program.steps]),
        *flat([step.rotations for step in program.steps]),
    )

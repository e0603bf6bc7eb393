"""The fused program on one CPU core: allocates, then calls the compiled walk.

Legend: S students, N examples, A input angles, M observables, W weights.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qdllm.circuits.gates import Angle, constant
from qdllm.engine import walk
from qdllm.engine.fusion import Program, Step, parity
from qdllm.engine.simd import WIDTH
from qdllm.engine.tables import INPUT_PHASES, NONE, Array, Plan

MIN_QUBITS = 4
"""Smaller circuits get idle qubits: the tables' vectors hold 2⁴ numbers."""


class Saved(NamedTuple):
    """What `backward` needs of a forward pass."""

    kept: Array
    """One row of numbers per student, see `walk.Parts`."""
    flips: Array
    """(S, steps)"""


def forward(
    program: Program, angles_SNA: Tensor, weights_SW: Tensor, keep: bool
) -> tuple[Tensor, Saved, int]:
    """Expectations (S, N, M), what `backward` needs if `keep`, and a bad example's index or −1."""
    plan = plan_of(program)
    students, examples, _ = angles_SNA.shape
    steps, qubits = len(plan.steps) - 1, plan.maps.shape[1].bit_length() - 1
    dtype = angles_SNA.dtype
    slots, examples_kept = (students, examples) if keep else (1, 1)
    size = walk.kept_size(steps, qubits, examples_kept)
    saved = Saved(
        torch.empty((slots, size), dtype=dtype).numpy(), np.empty((slots, steps), np.int64)
    )
    results = torch.empty(students, examples, len(program.observables), dtype=dtype)
    bad = walk.forward(
        plan,
        angles_SNA.numpy(),
        weights_SW.numpy(),
        results.numpy(),
        saved.kept,
        saved.flips,
        keep,
        memory.scratch(plan, weights_SW.shape[1], dtype),
    )
    return results, saved, bad


def backward(
    program: Program, saved: Saved, angles_SNA: Tensor, weights_SW: Tensor, grads_SNM: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Gradients of angles and weights, and the index of a bad example or −1."""
    plan = plan_of(program)
    angle_grads, weight_grads = torch.zeros_like(angles_SNA), torch.empty_like(weights_SW)
    bad = walk.backward(
        plan,
        angles_SNA.numpy(),
        grads_SNM.numpy(),
        saved.kept,
        saved.flips,
        angle_grads.numpy(),
        weight_grads.numpy(),
        memory.scratch(plan, weights_SW.shape[1], angles_SNA.dtype),
    )
    return angle_grads, weight_grads, bad


class Memory(threading.local):
    """Each thread's scratch memory, kept for its next call of the same kind."""

    key: Any = None

    def scratch(self, plan: Plan, weights: int, dtype: torch.dtype) -> walk.Scratch:
        steps, qubits = len(plan.steps) - 1, plan.maps.shape[1].bit_length() - 1
        phases = bool(plan.steps[0, INPUT_PHASES] < plan.steps[-1, INPUT_PHASES])
        key = (steps, qubits, plan.inputs, phases, weights, dtype)
        if self.key != key:

            def rows(count: int) -> Array:
                return torch.empty(count * WIDTH, dtype=dtype).numpy()

            self.held = walk.Scratch(
                (rows(plan.inputs), rows(plan.inputs), rows(max(plan.inputs, qubits))),
                rows(walk.table_rows(qubits) if phases else 0),
                (rows(2 << qubits), rows(2 << qubits)),
                torch.empty(1 << qubits, dtype=torch.float64).numpy(),
                np.empty((steps, qubits)),
                torch.empty(steps, 1 << qubits, dtype=torch.float64).numpy(),
                np.empty(weights),
            )
            self.key = key
        return self.held

    def bytes(self) -> int:
        """How much this thread holds."""
        parts = (part if isinstance(part, tuple) else (part,) for part in self.held)
        return sum(array.nbytes for part in parts for array in part)


memory = Memory()


Terms = list[tuple[int, Angle]]
"""Where angles act, qubits or masks, and what they are."""


@lru_cache
def plan_of(program: Program) -> Plan:
    """The program in arrays, with idle qubits where there are too few."""
    return _Planner(max(program.qubits, MIN_QUBITS)).plan(program)


class _Planner:
    """The parts of a plan, as they come together."""

    def __init__(self, qubits: int) -> None:
        self.qubits = qubits
        self.inputs: dict[Angle, int] = {}
        self.maps: dict[tuple[int, ...], int] = {}
        """By what they make of each bit; where a flip comes before, that stands first."""

    def plan(self, program: Program) -> Plan:
        steps, idle = program.steps, [constant(0.0)] * (self.qubits - program.qubits)
        start = [self._input(angle) for angle in (*program.start, *idle)]
        rows = [[[*start, NONE]]]
        rows += [self._phase_rows(step) for step in steps]
        rows += [self._rotation_rows(step) for step in steps]
        shared = [[term for term in step.phases if term[1].angle is None] for step in steps]
        rotations = [[term for term in step.rotations if term[1].angle is None] for step in steps]
        first = len(self.inputs)
        terms = [(0, angle) for angle in self.inputs]
        terms += [term for of_step in (*shared, *rotations) for term in of_step]
        after = first + sum(map(len, shared))
        columns = [
            [*(self._map((0, *step.source)) for step in steps), NONE],
            [*(step.flip for step in steps), 0],
            [*(1 + max((q for q, _ in of_step), default=0) for of_step in rotations), 0],
            _starts(shared, first),
            _starts(rotations, after),
            _starts(rows[1 : 1 + len(steps)], 1),
            _starts(rows[1 + len(steps) :], sum(map(len, rows[: 1 + len(steps)]))),
        ]
        readout = NONE
        if program.readout is not None:
            readout = self._map((program.readout_flip, *program.readout))
        observables = sorted(
            (one.flip, one.power % 2, one.z, one.power, number)
            for number, one in enumerate(program.observables)
        )
        return Plan(
            np.stack([_index(columns, self.qubits) for columns in self.maps]),
            np.array(columns).T.copy(),
            np.array([[place, _source(angle)] for place, angle in terms]),
            np.array([[angle.factor, angle.offset] for _, angle in terms]),
            first,
            np.array([row for each in rows for row in each]),
            readout,
            np.array([[flip, z, power, number] for flip, _, z, power, number in observables]),
        )

    def _input(self, angle: Angle) -> int:
        """An input's number among the plan's, or a constant's."""
        return self.inputs.setdefault(angle, len(self.inputs))

    def _map(self, columns: tuple[int, ...]) -> int:
        return self.maps.setdefault(columns, len(self.maps))

    def _rotation_rows(self, step: Step) -> list[list[int]]:
        """Rows in which each qubit is turned once."""
        rows: list[list[int]] = []
        for q, angle in step.rotations:
            if angle.angle is not None:
                row = next((row for row in rows if row[q] == NONE), None)
                if row is None:
                    rows.append(row := [NONE] * (self.qubits + 1))
                row[q] = self._input(angle)
        return rows

    def _phase_rows(self, step: Step) -> list[list[int]]:
        """Rows of independent masks, which act before the step's permutation."""
        groups: list[tuple[list[int], list[int]]] = []
        target = np.argsort(_index((0, *step.source), self.qubits))
        for mask, angle in step.phases:
            if angle.angle is not None:
                before = sum(parity(mask & int(target[1 << q])) << q for q in range(self.qubits))
                signed = angle.times(-1) if parity(mask & step.flip) else angle
                group = next((one for one in groups if independent([*one[0], before])), None)
                if group is None:
                    groups.append(group := ([], []))
                group[0].append(before)
                group[1].append(self._input(signed))
        return [
            [
                *inputs,
                *[NONE] * (self.qubits - len(inputs)),
                self._map((0, *solved(masks, self.qubits))),
            ]
            for masks, inputs in groups
        ]


def _source(angle: Angle) -> int:
    number = angle.weight if angle.weight is not None else angle.angle
    return NONE if number is None else number


def _starts(of_steps: Sequence[Sequence[object]], first: int) -> list[int]:
    """Where each step's own begin, and where the last one's end."""
    return list(accumulate(map(len, of_steps), initial=first))


def _index(columns: tuple[int, ...], qubits: int) -> Array:
    """source(y ^ flip) for every y, from the flip and the source."""
    flip, *source = columns
    index = np.zeros(1, np.int64)
    for column in (*source, *(1 << q for q in range(len(source), qubits))):
        index = np.concatenate([index, index ^ column])
    return index ^ index[flip]


def independent(masks: Sequence[int]) -> bool:
    """Whether no mask is the XOR of others."""
    reduced: list[int] = []
    for mask in masks:
        for other in reduced:
            mask = min(mask, mask ^ other)
        if not mask:
            return False
        reduced.append(mask)
    return True


def solved(masks: Sequence[int], qubits: int) -> tuple[int, ...]:
    """For each bit of y, the bits of x that it flips, where bit j of y is the parity of x & mask j.

    Independent masks that are too few are filled up with single bits.
    """
    rows = list(masks)
    for q in range(qubits):
        if independent([*rows, 1 << q]):
            rows.append(1 << q)
    # Gauss and Jordan: above bit `qubits` stands which of the rows each one is the XOR of.
    rows = [row | 1 << (qubits + j) for j, row in enumerate(rows)]
    for q in range(qubits):
        pivot = next(j for j in range(q, qubits) if rows[j] >> q & 1)
        rows[q], rows[pivot] = rows[pivot], rows[q]
        for j in range(qubits):
            if j != q and rows[j] >> q & 1:
                rows[j] ^= rows[q]
    return tuple(
        sum((rows[q] >> (qubits + j) & 1) << q for q in range(qubits)) for j in range(qubits)
    )

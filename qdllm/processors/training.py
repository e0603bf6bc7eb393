"""A circuit that is trained under a chip's noise: what it does is a mean over a few trajectories.

Each batch gets other ones, out of a pool that is drawn once. All students get the same, so that
none depends on who stands beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qdllm.circuits.circuit import circuit, observables
from qdllm.circuits.gates import Angle
from qdllm.circuits.settings import settings
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.fusion import Program
from qdllm.engine.statevector import expectations, run
from qdllm.processors import chips
from qdllm.processors.noise import frames, separate
from qdllm.processors.schedule import scheduled
from qdllm.processors.simulated import Run, runs

POOL = 1024
"""Trajectories that are drawn."""


class _Branch(NamedTuple):
    """A circuit of the student, and its trajectories."""

    run: Run
    numbers: tuple[int, ...]
    """Its observables' numbers among all."""
    program: Program
    given: list[tuple[int, Angle]]
    fixed: list[tuple[int, Angle]]
    rotations_TK: Tensor
    observables_TM: Tensor


class Noisy:
    """What takes the engine's place in training; without gradients it is the engine."""

    def __init__(self, spec: CircuitSpec) -> None:
        """Draw the pool. Raises ConfigError where the chip has too few qubits."""
        chip, generator = chips.calibration(spec.noise), np.random.default_rng(0)
        numbers = [s.observables for s in settings(circuit(spec), observables(spec))]
        self._calls, self._branches = 0, list[_Branch]()
        for each in runs(spec, "two-chains", chip):
            known = [left for left in each.left if left]
            masks = [
                sum(1 << wire for q, wire in enumerate(each.placed.ends) if mask >> q & 1)
                for mask in known
            ]
            events, _ = scheduled(each.placed, chip)
            signs = frames(events, each.placed, masks, chip, POOL, generator)
            self._branches.append(
                _Branch(
                    each,
                    numbers[each.setting],
                    *separate(each.placed, masks),
                    torch.from_numpy(signs.rotations_TK).float(),
                    torch.from_numpy(signs.observables_TM).float(),
                )
            )

    def __call__(self, spec: CircuitSpec, angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
        """(S, N, M): differentiable once, where gradients are wanted."""
        if not torch.is_grad_enabled():
            return expectations(spec, angles_SNA, weights_SW)
        first = self._calls * chips.TRAINED_ON % POOL
        self._calls += 1
        total = angles_SNA.new_zeros(*angles_SNA.shape[:2], len(observables(spec)))
        for each in self._branches:
            z_SNM = self._mean(each, slice(first, first + chips.TRAINED_ON), angles_SNA, weights_SW)
            share_SN = _share(each.run, angles_SNA, weights_SW)
            total = total.index_add(2, torch.tensor(each.numbers), share_SN.unsqueeze(-1) * z_SNM)
        return total

    def _mean(self, each: _Branch, picked: slice, angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
        """A branch's expectations (S, N, M of its setting), over some trajectories."""
        students, examples, _ = angles_SNA.shape
        flips_TK, count = each.rotations_TK[picked], chips.TRAINED_ON
        turned = [_of(angle, angles_SNA, weights_SW) for _, angle in each.given]
        # A branch may have none of either.
        nothing = angles_SNA.new_empty(students, examples, 0)
        turns = torch.stack(turned, -1) if turned else nothing
        given_TK = flips_TK[:, [number for number, _ in each.given]]
        held = [_of(angle, angles_SNA, weights_SW)[:, 0] for _, angle in each.fixed]
        fixed = torch.stack(held, -1) if held else nothing[:, 0]
        fixed_TK = flips_TK[:, [number for number, _ in each.fixed]]
        # A row for each student and trajectory.
        rows = (given_TK[None, :, None] * turns[:, None]).flatten(0, 1)
        numbers = (fixed_TK * fixed[:, None]).flatten(0, 1)
        z = run(each.program, rows, numbers).view(students, count, examples, -1)
        z = (z * each.observables_TM[picked][None, :, None]).mean(1)
        return _placed(each.run, z)


def _of(angle: Angle, angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
    """(S, N): what turns a rotation, or (S, 1) where no example changes it."""
    if angle.angle is not None:
        source = angles_SNA[:, :, angle.angle]
    elif angle.weight is not None:
        source = weights_SW[:, angle.weight, None]
    else:
        source = weights_SW.new_zeros(len(weights_SW), 1)
    return source * angle.factor + angle.offset


def _share(one: Run, angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
    """(S, N), or (S, 1): how much the branch counts."""
    if one.form.turn is None:
        return weights_SW.new_ones(len(weights_SW), 1)
    half = _of(one.form.turn, angles_SNA, weights_SW) / 2
    return half.sin().square() if one.branch else half.cos().square()


def _placed(one: Run, z_SNP: Tensor) -> Tensor:
    """All observables of the setting, with what the bit that is left out makes of them."""
    columns: Sequence[Tensor] = list(z_SNP.unbind(-1))
    values, place = [], 0
    for mask, left in zip(one.masks, one.left, strict=True):
        value = columns[place] if left else torch.ones_like(z_SNP[..., 0])
        values.append(value * one.form.signs(mask)[one.branch])
        place += bool(left)
    return torch.stack(values, -1)

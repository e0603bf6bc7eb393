"""The whole circuit on one CPU core, forward and back: the two functions that Numba compiles.

Every example has its own lane and every student its own sums, always in the same order: results
are the same to the bit from run to run, and whichever students and examples run beside them.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from qdllm.engine.boundary import (
    LANES,
    encode,
    encoding_slopes,
    product_state,
    read_out,
    spread,
    start_adjoint,
)
from qdllm.engine.simd import WIDTH
from qdllm.engine.steps import step_backward, step_forward
from qdllm.engine.tables import COMPILE, Array, Plan, prepare, weight_gradients


class Scratch(NamedTuple):
    """Memory that a call may overwrite."""

    rows: tuple[Array, Array, Array]
    """Q rows each: the encoding's cosines and sines, and sums per qubit."""
    buffers: tuple[Array, Array]
    """2^Q pairs of rows each: a state, ψ and λ side by side, or a tree of partial results."""
    spectrum: Array
    """(2^Q,) float64"""
    slopes: Array
    """(steps, Q) float64"""
    overlaps: Array
    """(steps, 2^Q) float64"""
    gradients: Array
    """(W,) float64"""


class Parts(NamedTuple):
    """What the way back needs of one student's forward pass, as parts of one array."""

    tangents: Array
    """(steps, Q)"""
    phases: Array
    """(steps, 2, 2^Q)"""
    states: Array
    """(⌈N / 8⌉, 2^Q rows): the state after the last step."""


def kept_size(steps: int, qubits: int, examples: int) -> int:
    """How many numbers `Parts` are for one student, the tangents rounded up to whole rows."""
    blocks = (examples + LANES - 1) // LANES
    rows = (steps * qubits + WIDTH - 1) // WIDTH
    return rows * WIDTH + (2 * steps << qubits) + (blocks * WIDTH << qubits)


@njit(**COMPILE)
def parts_of(kept: Array, steps: int, qubits: int) -> Parts:
    phases_at = (steps * qubits + WIDTH - 1) // WIDTH * WIDTH
    states_at = phases_at + (2 * steps << qubits)
    return Parts(
        kept[: steps * qubits].reshape(steps, qubits),
        kept[phases_at:states_at].reshape(steps, 2, 1 << qubits),
        kept[states_at:].reshape(-1, WIDTH << qubits),
    )


def entry_points(sources: str) -> tuple[Callable[..., int], Callable[..., int]]:
    """Compile both ways. Numba's cache minds this file's time stamp and closure variables, so
    `sources`, a digest of the other files that end up in the kernels, is one.
    """

    @njit(cache=True, **COMPILE)
    def forward(
        plan: Plan,
        angles_SNQ: Array,
        weights_SW: Array,
        results_SNQ: Array,
        kept: Array,
        flips: Array,
        keep: bool,
        scratch: Scratch,
    ) -> int:
        """Fill the results; return the index s · N + n of an example that cannot be, or −1.

        It is the first of a student with a weight, or one with an angle, that is not finite.
        """
        assert sources
        students, examples, angle_count = angles_SNQ.shape
        steps, qubits = scratch.slopes.shape
        cosines, sines, sums = scratch.rows
        size = WIDTH << qubits
        bad = -1
        for s in range(students):
            slot = s if keep else 0
            tangents, phases, states = parts_of(kept[slot], steps, qubits)
            for k in range(steps):
                flips[slot, k] = prepare(
                    plan, k, weights_SW[s], tangents[k], phases[k], scratch.spectrum
                )
            if bad < 0 and not np.isfinite(weights_SW[s]).all():
                bad = s * examples
            for first in range(0, examples, LANES):
                here, there = scratch.buffers[0][:size], scratch.buffers[1][:size]
                encode(angles_SNQ[s], first, cosines, sines)
                product_state(cosines, sines, there, here, qubits)
                last = states[first // LANES if keep else 0]
                for k in range(steps):
                    out = there if k < steps - 1 else last
                    step_forward(
                        here,
                        out,
                        plan.maps[plan.step_map[k]],
                        flips[slot, k],
                        phases[k],
                        tangents[k],
                        plan.top[k],
                    )
                    here, there = out, here
                read_out(last, plan.maps[plan.readout_map], sums, there)
                for lane in range(min(LANES, examples - first)):
                    for q in range(angle_count):
                        at = q * WIDTH + lane
                        result = sums[at] + sums[at + LANES]
                        results_SNQ[s, first + lane, q] = result
                        if bad < 0 and not np.isfinite(result):
                            bad = s * examples + first + lane
        return bad

    @njit(cache=True, **COMPILE)
    def backward(
        plan: Plan,
        angles_SNQ: Array,
        grads_SNQ: Array,
        kept: Array,
        flips: Array,
        angle_grads_SNQ: Array,
        weight_grads_SW: Array,
        scratch: Scratch,
    ) -> int:
        """Fill the gradients; return the index of an example whose own is not finite, or −1."""
        assert sources
        students, examples, angle_count = angles_SNQ.shape
        steps, qubits = scratch.slopes.shape
        cosines, sines, sums = scratch.rows
        bad = -1
        for s in range(students):
            tangents, phases, states = parts_of(kept[s], steps, qubits)
            scratch.slopes[:] = 0
            scratch.overlaps[:] = 0
            for first in range(0, examples, LANES):
                here, there = scratch.buffers
                spread(grads_SNQ[s], first, sums)
                final, source = states[first // LANES], plan.maps[plan.readout_map]
                start_adjoint(final, source, sums, there, here, qubits)
                for k in range(steps - 1, -1, -1):
                    step_backward(
                        here,
                        there,
                        plan.maps[plan.step_map[k]],
                        flips[s, k],
                        phases[k],
                        tangents[k],
                        plan.top[k],
                        scratch.slopes[k],
                        scratch.overlaps[k],
                    )
                    here, there = there, here
                encode(angles_SNQ[s], first, cosines, sines)
                encoding_slopes(here, cosines, sines, there, sums, qubits)
                for lane in range(min(LANES, examples - first)):
                    for q in range(angle_count):
                        slope = sums[q * WIDTH + lane]
                        angle_grads_SNQ[s, first + lane, q] = slope
                        if bad < 0 and not np.isfinite(slope):
                            bad = s * examples + first + lane
            scratch.gradients[:] = 0
            for k in range(steps):
                weight_gradients(
                    plan,
                    k,
                    flips[s, k],
                    tangents[k],
                    scratch.slopes[k],
                    scratch.overlaps[k],
                    scratch.gradients,
                )
            weight_grads_SW[s] = scratch.gradients
        return bad

    return forward, backward


_INLINED = ("boundary.py", "butterflies.py", "simd.py", "steps.py", "tables.py")
forward, backward = entry_points(
    hashlib.sha256(
        b"".join((Path(__file__).parent / name).read_bytes() for name in _INLINED)
    ).hexdigest()
)

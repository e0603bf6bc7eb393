"""The whole circuit on one CPU core, forward and back: the two functions that Numba compiles.

Every example has its own lane and every student its own sums, always in the same order: results
are the same to the bit from run to run, and whichever students and examples run beside them.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from qdllm.compiled import kernel
from qdllm.engine.boundary import (
    LANES,
    encode,
    gather_one,
    measure,
    product_state,
    read_out,
    spread,
    start_adjoint,
    start_any_adjoint,
    start_slopes,
)
from qdllm.engine.inputs import LOW, phase_backward, phase_forward, turn_backward, turn_forward
from qdllm.engine.simd import WIDTH
from qdllm.engine.steps import step_backward, step_forward
from qdllm.engine.tables import (
    COMPILE,
    FLIP,
    INPUT_PHASES,
    INPUT_ROTATIONS,
    MAP,
    NONE,
    TOP,
    Array,
    Plan,
    prepare,
    weight_gradients,
)


class Scratch(NamedTuple):
    """Memory that a call may overwrite."""

    rows: tuple[Array, Array, Array]
    """Cosines and sines of the plan's inputs, and sums for each of them or for each qubit."""
    tables: Array
    """As many rows as `table_rows` tells, where a circuit has phases by input angles."""
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


def table_rows(qubits: int) -> int:
    """Rows of the tables of phases by input angles."""
    low = min(LOW, qubits)
    return 2 * ((1 << low) + (1 << (qubits - low)))


@njit(**COMPILE)
def parts_of(kept: Array, steps: int, qubits: int) -> Parts:
    phases_at = (steps * qubits + WIDTH - 1) // WIDTH * WIDTH
    states_at = phases_at + (2 * steps << qubits)
    return Parts(
        kept[: steps * qubits].reshape(steps, qubits),
        kept[phases_at:states_at].reshape(steps, 2, 1 << qubits),
        kept[states_at:].reshape(-1, WIDTH << qubits),
    )


@kernel(**COMPILE)
def forward(
    plan: Plan,
    angles_SNA: Array,
    weights_SW: Array,
    results_SNM: Array,
    kept: Array,
    flips: Array,
    keep: bool,
    scratch: Scratch,
) -> int:
    """Fill the results; return the index s · N + n of an example that cannot be, or −1.

    It is the first of a student with a weight, or one with an angle, that is not finite.
    """
    students, examples, observables = results_SNM.shape
    steps, qubits = scratch.slopes.shape
    cosines, sines, sums = scratch.rows
    size, start = WIDTH << qubits, plan.rows[0]
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
            encode(plan, angles_SNA[s], first, cosines, sines)
            product_state(start, cosines, sines, there, here, qubits)
            last = states[first // LANES if keep else 0]
            for k in range(steps):
                out = there if k < steps - 1 else last
                for r in range(plan.steps[k, INPUT_PHASES], plan.steps[k + 1, INPUT_PHASES]):
                    row = plan.rows[r]
                    index = plan.maps[row[qubits]]
                    phase_forward(here, row[:qubits], index, cosines, sines, scratch.tables)
                step_forward(
                    here,
                    out,
                    plan.maps[plan.steps[k, MAP]],
                    flips[slot, k] ^ plan.steps[k, FLIP],
                    phases[k],
                    tangents[k],
                    plan.steps[k, TOP],
                )
                ends = plan.steps[k + 1, INPUT_ROTATIONS]
                for r in range(plan.steps[k, INPUT_ROTATIONS], ends):
                    turn_forward(out, plan.rows[r], cosines, sines, qubits)
                here, there = out, here
            if plan.readout == NONE:
                measure(plan, last, results_SNM[s], first, there, qubits)
            else:
                read_out(last, plan.maps[plan.readout], sums, there)
                for q in range(observables):
                    gather_one(sums, q, results_SNM[s], first, q, 1.0)
            for lane in range(min(LANES, examples - first)):
                if bad < 0 and not np.isfinite(results_SNM[s, first + lane]).all():
                    bad = s * examples + first + lane
    return bad


@kernel(**COMPILE)
def backward(
    plan: Plan,
    angles_SNA: Array,
    grads_SNM: Array,
    kept: Array,
    flips: Array,
    angle_grads_SNA: Array,
    weight_grads_SW: Array,
    scratch: Scratch,
) -> int:
    """Fill the gradients; return the index of an example whose own is not finite, or −1."""
    students, examples, _ = angles_SNA.shape
    steps, qubits = scratch.slopes.shape
    cosines, sines, sums = scratch.rows
    start = plan.rows[0]
    bad = -1
    for s in range(students):
        tangents, phases, states = parts_of(kept[s], steps, qubits)
        scratch.slopes[:] = 0
        scratch.overlaps[:] = 0
        for first in range(0, examples, LANES):
            here, there = scratch.buffers
            final = states[first // LANES]
            if plan.readout == NONE:
                start_any_adjoint(plan, final, grads_SNM[s], first, there, here, qubits)
            else:
                spread(grads_SNM[s], first, sums)
                start_adjoint(final, plan.maps[plan.readout], sums, there, here, qubits)
            encode(plan, angles_SNA[s], first, cosines, sines)
            sums[:] = 0
            for k in range(steps - 1, -1, -1):
                begins = plan.steps[k, INPUT_ROTATIONS]
                for r in range(plan.steps[k + 1, INPUT_ROTATIONS] - 1, begins - 1, -1):
                    turn_backward(here, plan.rows[r], cosines, sines, sums, qubits)
                step_backward(
                    here,
                    there,
                    plan.maps[plan.steps[k, MAP]],
                    flips[s, k] ^ plan.steps[k, FLIP],
                    phases[k],
                    tangents[k],
                    plan.steps[k, TOP],
                    scratch.slopes[k],
                    scratch.overlaps[k],
                )
                here, there = there, here
                for r in range(plan.steps[k, INPUT_PHASES], plan.steps[k + 1, INPUT_PHASES]):
                    row = plan.rows[r]
                    which, index, tables = row[:qubits], plan.maps[row[qubits]], scratch.tables
                    phase_backward(here, which, index, cosines, sines, tables, sums, there)
            start_slopes(start, here, cosines, sines, there, sums, qubits)
            for i in range(plan.inputs):
                source, scale = plan.terms[i, 1], plan.scales[i, 0]
                if source != NONE:
                    for lane in range(min(LANES, examples - first)):
                        slope = sums[i * WIDTH + lane] + sums[i * WIDTH + lane + LANES]
                        angle_grads_SNA[s, first + lane, source] += scale * slope
            for lane in range(min(LANES, examples - first)):
                if bad < 0 and not np.isfinite(angle_grads_SNA[s, first + lane]).all():
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

"""One fused step over a whole state, forward and back, three qubits in each pass over memory."""

from typing import Any

import numpy as np
from numba import njit

from qdllm.engine.butterflies import (
    add_overlaps,
    add_slopes,
    gather_rows,
    load_rows,
    rotate,
    scatter_pairs,
    store_rows,
)
from qdllm.engine.simd import WIDTH, splat, total
from qdllm.engine.tables import COMPILE, Array


@njit(**COMPILE)
def rotate_all(state: Array, low: int, turns: Any) -> None:
    stride = 1 << low
    block = stride << len(turns)
    for start in range(0, len(state) // WIDTH, block):
        for x in range(start, start + stride):
            store_rows(state, x, stride, rotate(load_rows(state, x, stride, turns), turns))


@njit(**COMPILE)
def unrotate_all(pairs: Array, low: int, turns: Any, sums: Any) -> Any:
    """Undo rotations of both vectors; add Re⟨λ|J_q|ψ⟩ of each qubit q to `sums`."""
    stride = 1 << low
    block = stride << len(turns)
    for start in range(0, len(pairs) // (2 * WIDTH), block):
        for x in range(start, start + stride):
            psi = load_rows(pairs, 2 * x, 2 * stride, turns)
            lam = load_rows(pairs, 2 * x + 1, 2 * stride, turns)
            sums = add_slopes(sums, lam, psi)
            store_rows(pairs, 2 * x, 2 * stride, rotate(psi, turns))
            store_rows(pairs, 2 * x + 1, 2 * stride, rotate(lam, turns))
    return sums


@njit(**COMPILE)
def step_forward(
    state: Array, out: Array, source: Array, flip: int, phases: Array, tangents: Array, top: int
) -> None:
    """out = rotations of phases[x] · state[source(x ^ flip)].

    The registers hold sixteen rows, four qubits, while gathering; three suffice for the passes
    after it, which wait for memory.
    """
    t = tangents
    flip = source[flip]
    turns = (splat(t[0]), splat(t[1]), splat(t[2]), splat(t[3]))
    for x in range(0, len(source), 16):
        rows = gather_rows(state, source, flip, phases[0], phases[1], x, turns)
        store_rows(out, x, 1, rotate(rows, turns))
    for q in range(4, top, 3):
        if top - q == 1:
            rotate_all(out, q, (splat(t[q]),))
        elif top - q == 2:
            rotate_all(out, q, (splat(t[q]), splat(t[q + 1])))
        else:
            rotate_all(out, q, (splat(t[q]), splat(t[q + 1]), splat(t[q + 2])))


@njit(**COMPILE)
def add_totals(slopes: Array, low: int, sums: Any, tangents: Array, norm: float) -> float:
    """Add lane sums to slopes; rotations undone without their cosines divide the norm by cos²."""
    after = norm
    for k in range(len(sums)):
        slopes[low + k] += norm * total(sums[k])
        after /= 1 + np.float64(tangents[low + k]) ** 2
    return after


@njit(**COMPILE)
def step_backward(
    pairs: Array,
    out: Array,
    source: Array,
    flip: int,
    phases: Array,
    tangents: Array,
    top: int,
    slopes: Array,
    overlaps: Array,
) -> None:
    """Undo `step_forward` for both vectors and add its gradients.

    `slopes[q]` grows by the derivative for qubit q's rotation, and `overlaps[x]`, up to the factor
    Π cos², by Im(conj(λ_x) ψ_x), whose signed sums are the derivatives for the phases.
    """
    t = -tangents
    flip = source[flip]
    zero = splat(tangents.dtype.type(0))
    norm = 1.0
    q = top
    while q > 3:
        # One qubit in a pass waits for memory, so four are two and two.
        count = 3 if q % 3 == 0 else min(q - 3, 2)
        q -= count
        if count == 1:
            one = unrotate_all(pairs, q, (splat(t[q]),), (zero,))
            norm = add_totals(slopes, q, one, t, norm)
        elif count == 2:
            two = unrotate_all(pairs, q, (splat(t[q]), splat(t[q + 1])), (zero, zero))
            norm = add_totals(slopes, q, two, t, norm)
        else:
            turns = (splat(t[q]), splat(t[q + 1]), splat(t[q + 2]))
            sums = unrotate_all(pairs, q, turns, (zero, zero, zero))
            norm = add_totals(slopes, q, sums, t, norm)
    turns, sums = (splat(t[0]), splat(t[1]), splat(t[2])), (zero, zero, zero)
    for x in range(0, len(source), 8):
        psi = load_rows(pairs, 2 * x, 2, turns)
        lam = load_rows(pairs, 2 * x + 1, 2, turns)
        sums = add_slopes(sums, lam, psi)
        psi, lam = rotate(psi, turns), rotate(lam, turns)
        add_overlaps(overlaps, x, lam, psi)
        scatter_pairs(out, source, flip, phases[0], phases[1], x, psi, lam)
    add_totals(slopes, 0, sums, t, norm)

"""One fused step over a whole state, forward and back, three qubits in each pass over memory.

Everything here works on eight examples of one student. A state has 2^Q rows of 16 numbers; row x is
amplitude x, eight real parts and then eight imaginary ones, so that a rotation, which is real, does
the same in every lane. `pairs` has twice as many rows: 2x is row x of ψ, and 2x + 1 that of λ, for
they are needed together. Both are flat arrays in the student's precision, float32 or float64. What
is summed up over more than eight examples is float64.

Legend: Q qubits, idle ones too, so that there are four at least; J = −iY.
"""

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
    """Apply 1 + t·J to the qubits `low`, `low` + 1 … of a state, in place and in one pass.

    `turns`: up to three rows, for each of these qubits its t in every lane.
    """
    stride = 1 << low
    block = stride << len(turns)
    for start in range(0, len(state) // WIDTH, block):
        for x in range(start, start + stride):
            store_rows(state, x, stride, rotate(load_rows(state, x, stride, turns), turns))


@njit(**COMPILE)
def unrotate_all(pairs: Array, low: int, turns: Any, sums: Any) -> Any:
    """Apply 1 + t·J to neighbouring qubits of both vectors; before it, add Re⟨λ|J_q|ψ⟩ to `sums`.

    `turns`: as for `rotate_all`, with t of the other sign, which undoes a rotation but for length:
    (1 − t·J)(1 + t·J) = 1 + t². `sums`: a row for each of these qubits, by lane; returned.
    """
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

    `state` and `out`: 2^Q rows each, apart in memory. `source`: (2^Q,), the step's row of
    `Plan.maps`. `flip`, `phases` (2, 2^Q) and `tangents` (Q,): what `tables.prepare` made of the
    step, whose phases hold the rotations' cosines. `top`: its `Plan.top`.

    The registers hold sixteen rows, four qubits, while gathering; three suffice for the passes
    after it, which wait for memory.
    """
    t = tangents
    flip = source[flip]  # source is linear: source(x ^ flip) = source(x) ^ source(flip)
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
    """Add `norm` times the lanes' sums to the slopes of qubits `low`, `low` + 1 …; return the next.

    `sums`: what `unrotate_all` returned for these qubits. `slopes`: (Q,) float64. `tangents`: (Q,),
    of either sign. `norm`: what products of ψ and λ are to be multiplied by. A rotation undone
    without its cosine leaves each of them 1 / cos too long, so the next norm is cos² times this,
    and cos² = 1 / (1 + t²).
    """
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

    `pairs` and `out`: 2 · 2^Q rows each, apart in memory: ψ and λ after the step, which are
    overwritten, and before it. `source` … `top`: as for `step_forward`. ψ is computed back, at a
    multiply-add for each rotation of an amplitude, instead of kept from the way forward, so that an
    example's memory does not grow with the steps. Both vectors share the registers: eight rows of
    each, three qubits. The lowest three come last, on the way through the phases and the map.

    `slopes[q]`, of (Q,) float64, grows by the derivative for qubit q's rotation, if there is one,
    and `overlaps[x]`, of (2^Q,) float64, up to the factor Π cos², by Im(conj(λ_x) ψ_x) between the
    phases and the rotations, whose signed sums are the derivatives for the phases. Both add up over
    the examples; `tables.weight_gradients` makes them the weights' gradients.
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
            alone = unrotate_all(pairs, q, (splat(t[q]),), (zero,))
            norm = add_totals(slopes, q, alone, t, norm)
        elif count == 2:
            both = unrotate_all(pairs, q, (splat(t[q]), splat(t[q + 1])), (zero, zero))
            norm = add_totals(slopes, q, both, t, norm)
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

"""What depends on a student's weights alone: tangents, index flips and phases of every step.

They are made once for a student and then serve all its examples. RY(2φ) is applied as 1 + t·J with
J = −iY and t = tan φ, which costs one multiply-add for each amplitude; the cosines left out go into
the step's phases. |φ| stays below 45°, so t below 1: a quarter turn more is J itself, which is X,
an index flip, after a phase. Sums of angles are formed in float64, whatever the precision of the
amplitudes.

Legend: Q qubits, idle ones too; W weights; K steps. x and y are indices of amplitudes, whose bit q
is qubit q. Angles are in radians.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qdllm.engine.simd import WIDTH, load, store, walsh_row

Array = NDArray[Any]
"""An array whose shape is told wherever one is passed."""

COMPILE: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
"""How Numba compiles whatever ends up in the kernels. Other threads run meanwhile. `contract` lets
LLVM fuse a multiplication with an addition; it reorders nothing. Division by zero does not raise.
"""


MAP, FLIP, TOP, PHASES, ROTATIONS, INPUT_PHASES, INPUT_ROTATIONS = range(7)
"""Columns of `Plan.steps`. The last four say where a step's own begin; the row after it, where they
end: its phases and rotations in `terms`, those by input angles in `rows`."""
NONE = -1
"""In place of a number: there is none."""


class Plan(NamedTuple):
    """A `fusion.Program` in arrays for compiled code; `cpu.plan_of` makes it.

    It depends on the circuit alone, so all students share it. Few arrays, since each costs a third
    of a microsecond a call.
    """

    maps: Array
    """(different permutations, 2^Q) int64: entry y of a row is the index that amplitude y is taken
    from. Those of steps are linear: map[x ^ y] = map[x] ^ map[y]."""
    steps: Array
    """(K + 1, 7) int64. MAP: a row of `maps`. FLIP: the flip that comes before it, as of a
    `fusion.Step`. TOP: one more than the highest qubit that weights rotate, or 1 if they rotate
    none."""
    terms: Array
    """(T, 2) int64: of an angle, where it acts and which weight or input it is, or NONE. First come
    the `inputs` different angles that examples have, and constant ones beside them. Then, where it
    acts is the qubit that an RY turns (where several turn one, their angles add up), or the mask of
    a phase. That multiplies amplitude y, once it is permuted, by exp(−iθ/2) where mask & y has an
    even number of bits, else by exp(iθ/2): RZ with one bit, RZZ with two; CNOTs can make any."""
    scales: Array
    """(T, 2) float64: what the weight or input is multiplied by, and what is added."""
    inputs: int
    rows: Array
    """(…, Q + 1) int64: the input angle for each of Q places, or NONE. Row 0 has what each qubit is
    turned by at the start. One for rotations has what each qubit is turned by, in the end of its
    step. One for phases has those of Q independent masks, before its step; `maps` has at its last
    entry where the index is whose parities with these masks are the bits of y."""
    readout: int
    """The row of `maps` for the end: entry y is the index of the amplitude that ⟨Z⟩ counts as y.
    NONE where the observables are not Z of every qubit."""
    observables: Array
    """(M, 4) int64: flip, z and power of a `fusion.Observable`, and which it is; those of one flip
    and one parity of the power side by side."""


@njit(**COMPILE)
def angle_of(plan: Plan, term: int, values: Array) -> float:
    """The angle of a term, `values` being weights or an example's input angles; float64."""
    source, offset = plan.terms[term, 1], plan.scales[term, 1]
    if source == NONE:
        return offset
    return plan.scales[term, 0] * np.float64(values[source]) + offset


@njit(**COMPILE)
def half_angle(angle: float) -> float:
    """Half of an angle, which is what all gates turn by, in float64; NaN unless that is finite.

    A half of 10⁶ or more is brought to [0, 2π], so that `sincos` takes the sum of a thousand. 2π is
    rounded, too, but that moves the half by less than half a unit in its last place.
    """
    half = 0.5 * np.float64(angle)
    return half if abs(half) < 1e6 else half % (2 * math.pi)


@njit(**COMPILE)
def sincos(x: float) -> tuple[float, float]:
    """cos x and sin x in float64, for |x| < 10⁹, in arithmetic that LLVM can vectorise.

    fdlibm's series for what is left of x beside the nearest multiple of π/2, which is taken off in
    two parts. Both are off by less than 2·10⁻¹⁶; on a processor without fused multiply-add, by half
    a unit in x's last place where that is more.
    """
    quarters = np.rint(x * (2 / math.pi))
    r = (x - quarters * 1.5707963267948966) - quarters * 6.123233995736766e-17
    z = r * r
    s = 1.58969099521155010221e-10
    s = z * s - 2.50507602534068634195e-08
    s = z * s + 2.75573137070700676789e-06
    s = z * s - 1.98412698298579493134e-04
    s = z * s + 8.33333333332248946124e-03
    s = z * s - 1.66666666666666324348e-01
    s = r + r * z * s
    c = -1.13596475577881948265e-11
    c = z * c + 2.08757232129817482790e-09
    c = z * c - 2.75573143513906633035e-07
    c = z * c + 2.48015872894767294178e-05
    c = z * c - 1.38888888888741095749e-03
    c = z * c + 4.16666666666666019037e-02
    c = 1 - 0.5 * z + z * z * c
    quarter = np.int32(quarters)
    cos, sin = (s, c) if quarter & 1 else (c, s)
    return (-cos if (quarter + 1) & 2 else cos), (-sin if quarter & 2 else sin)


@njit(**COMPILE)
def walsh(values: Array) -> None:
    """Walsh–Hadamard transform in place: values[m] = Σ_x (−1)^parity(m & x) values[x].

    `values`: (2^Q,) float64, at least one row: Q ≥ 4. Q · 2^Q additions turn the angles of any
    number of masks into the phases at all indices, and the overlaps at all indices into the
    derivatives for all masks. Done twice, it multiplies by 2^Q.

    Bits within a row first, then two more in each pass over memory.
    """
    rows = len(values) // WIDTH
    for row in range(rows):
        store(values, row, walsh_row(load(values, row)))
    half = 1
    while 4 * half <= rows:
        for start in range(0, rows, 4 * half):
            for row in range(start, start + half):
                a, b = load(values, row), load(values, row + half)
                c, d = load(values, row + 2 * half), load(values, row + 3 * half)
                a, b, c, d = a + b, a - b, c + d, c - d
                store(values, row, a + c)
                store(values, row + half, b + d)
                store(values, row + 2 * half, a - c)
                store(values, row + 3 * half, b - d)
        half *= 4
    if half < rows:
        for row in range(half):
            a, b = load(values, row), load(values, row + half)
            store(values, row, a + b)
            store(values, row + half, a - b)


@njit(**COMPILE)
def odd_parity(bits: int) -> bool:
    """`fusion.parity` for compiled code: whether an odd number of bits is set."""
    odd = False
    while bits:
        bits &= bits - 1
        odd = not odd
    return odd


@njit(**COMPILE)
def prepare(
    plan: Plan, k: int, weights: Array, tangents: Array, phases: Array, scratch: Array
) -> int:
    """Fill one student's tables for step k. Returns `flip`, the qubits that it flips, as bits.

    Let φ_q be half of all that RY turns qubit q by in the step, and φ_q = n_q π/2 + r_q with |r_q|
    at most π/4. Up to a phase that all amplitudes share, the step is

        new = Π_q (1 + tangents[q] J_q) of (phases[0, x] + i phases[1, x]) · old[source(x ^ flip)].

    `weights`: (W,). `tangents`: (Q,), tan r_q, 0 for a qubit that is not turned. `flip`: the qubits
    with an odd n_q; the step's own flip comes on top. `phases`: (2, 2^Q), Π_q cos r_q times the
    cosine and the sine of the sum of the step's phases at x ^ flip, with one more Z for each flip:
    J is i X exp(−iπZ/2). All three arrays have the student's precision. `scratch`: (2^Q,) float64,
    overwritten.
    """
    qubits = len(tangents)
    turns = np.zeros(qubits)
    for r in range(plan.steps[k, ROTATIONS], plan.steps[k + 1, ROTATIONS]):
        turns[plan.terms[r, 0]] += half_angle(angle_of(plan, r, weights))
    flip, scale = 0, 1.0
    for q in range(qubits):
        quarters = np.rint(turns[q] * (2 / math.pi))
        rest = (turns[q] - quarters * 1.5707963267948966) - quarters * 6.123233995736766e-17
        if quarters % 2:
            flip |= 1 << q
        tangents[q] = math.tan(rest)
        scale *= math.cos(rest)
    scratch[:] = 0
    for p in range(plan.steps[k, PHASES], plan.steps[k + 1, PHASES]):
        mask, half = plan.terms[p, 0], half_angle(angle_of(plan, p, weights))
        scratch[mask] += half if odd_parity(mask & flip) else -half
    for q in range(qubits):
        if flip >> q & 1:
            scratch[1 << q] -= math.pi / 2
    walsh(scratch)
    for x in range(len(scratch)):
        cos, sin = sincos(scratch[x])
        phases[0, x] = scale * cos
        phases[1, x] = scale * sin
    return flip


@njit(**COMPILE)
def weight_gradients(
    plan: Plan, k: int, flip: int, tangents: Array, slopes: Array, overlaps: Array, grads: Array
) -> None:
    """Add step k's part of one student's gradient to `grads`: (W,) float64, loss per radian.

    `flip` and `tangents` are what `prepare` made of step k, `slopes` (Q,) and `overlaps` (2^Q,)
    what `step_backward` summed over the examples; `overlaps` is overwritten. A weight that stands
    in several places gets the sum over them.

    With λ = Σ_q ∂loss/∂⟨Z_q⟩ Z_q |ψ⟩ carried back beside ψ, the derivative by an angle of RY is
    Re⟨λ|J_q|ψ⟩, a slope as it is, and that by an angle of a phase is Σ_x ± Im(conj(λ_x) ψ_x), plus
    where mask & (x ^ flip) has an even number of bits: one entry of the overlaps' transform. What
    `step_backward` leaves out of them is Π cos² r_q, and cos² r = 1 / (1 + tan² r).
    """
    for r in range(plan.steps[k, ROTATIONS], plan.steps[k + 1, ROTATIONS]):
        if plan.terms[r, 1] != NONE:
            grads[plan.terms[r, 1]] += plan.scales[r, 0] * slopes[plan.terms[r, 0]]
    norm = 1.0
    for t in tangents:
        norm /= 1 + np.float64(t) ** 2
    walsh(overlaps)
    for p in range(plan.steps[k, PHASES], plan.steps[k + 1, PHASES]):
        mask, weight = plan.terms[p]
        if weight != NONE:
            sign = -norm if odd_parity(mask & flip) else norm
            grads[weight] += plan.scales[p, 0] * (sign * overlaps[mask])

"""What depends on a student's weights alone: tangents, index flips and phases of every step.

RY(2φ) is applied as 1 + t·J with J = −iY and t = tan φ, which costs one multiply-add for each
amplitude; the cosines left out go into the step's phases. |φ| stays below 45°, so t below 1: a
quarter turn more is J itself, which is X, an index flip, after a phase. Sums of angles are formed
in float64, whatever the precision of the amplitudes.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qdllm.engine.simd import WIDTH, load, store, walsh_row

Array = NDArray[Any]

COMPILE: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
"""`contract` lets LLVM fuse a multiplication with an addition; it reorders nothing."""


class Plan(NamedTuple):
    """A `fusion.Program` in arrays. Step k owns the phases and rotations from start[k] on."""

    maps: Array
    """(maps, 2^Q): an index permutation each."""
    step_map: Array
    readout_map: int
    top: Array
    """One more than the highest rotated qubit of each step."""
    phase_start: Array
    phase_mask: Array
    phase_weight: Array
    rotation_start: Array
    rotation_qubit: Array
    rotation_weight: Array


@njit(**COMPILE)
def half_angle(angle: float) -> float:
    """Half of an angle, brought below 10⁶ radians, where `sincos` is accurate."""
    half = 0.5 * np.float64(angle)
    return half if abs(half) < 1e6 else half % (2 * math.pi)


@njit(**COMPILE)
def sincos(x: float) -> tuple[float, float]:
    """cos x and sin x for |x| < 10⁹, in arithmetic that LLVM can vectorise (fdlibm's series)."""
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
    odd = False
    while bits:
        bits &= bits - 1
        odd = not odd
    return odd


@njit(**COMPILE)
def prepare(
    plan: Plan, k: int, weights: Array, tangents: Array, phases: Array, scratch: Array
) -> int:
    """Fill step k's tangents (Q,) and phases (2, 2^Q), cosines and sines; return its index flip."""
    qubits = len(tangents)
    turns = np.zeros(qubits)
    for r in range(plan.rotation_start[k], plan.rotation_start[k + 1]):
        turns[plan.rotation_qubit[r]] += half_angle(weights[plan.rotation_weight[r]])
    flip, scale = 0, 1.0
    for q in range(qubits):
        quarters = np.rint(turns[q] * (2 / math.pi))
        rest = (turns[q] - quarters * 1.5707963267948966) - quarters * 6.123233995736766e-17
        if quarters % 2:
            flip |= 1 << q
        tangents[q] = math.tan(rest)
        scale *= math.cos(rest)
    scratch[:] = 0
    for p in range(plan.phase_start[k], plan.phase_start[k + 1]):
        mask, weight = plan.phase_mask[p], plan.phase_weight[p]
        half = half_angle(weights[weight]) if weight >= 0 else -math.pi / 4
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
    for r in range(plan.rotation_start[k], plan.rotation_start[k + 1]):
        grads[plan.rotation_weight[r]] += slopes[plan.rotation_qubit[r]]
    norm = 1.0
    for t in tangents:
        norm /= 1 + np.float64(t) ** 2
    walsh(overlaps)
    for p in range(plan.phase_start[k], plan.phase_start[k + 1]):
        mask, weight = plan.phase_mask[p], plan.phase_weight[p]
        if weight >= 0:
            grads[weight] += (-norm if odd_parity(mask & flip) else norm) * overlaps[mask]

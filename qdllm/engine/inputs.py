"""Input angles within a circuit: rotations and phases that each example has for itself.

Layout and words are those of `steps`. What is shared by all lanes there is a row here: cos and sin
of half an input angle, in both halves. `sums` has a row of slopes for each of the plan's inputs;
both halves of it together are the derivative.
"""

from typing import Any

from numba import njit

from qdllm.engine.butterflies import add_slopes, load_rows, store_rows, turn
from qdllm.engine.simd import WIDTH, halves, load, splat, store, swapped
from qdllm.engine.tables import COMPILE, NONE, Array

LOW = 5
"""Masks whose phases are tabulated together; those of all others are a second table."""


@njit(**COMPILE)
def lanes(rows: Array, which: int, otherwise: float) -> Any:
    """A row, or a number in every lane where there is none."""
    return load(rows, which) if which != NONE else splat(rows.dtype.type(otherwise))


@njit(**COMPILE)
def turn_all(state: Array, low: int, cosines: Any, sines: Any) -> None:
    """Turn neighbouring qubits from `low` on, each by its own row, in one pass."""
    stride = 1 << low
    block = stride << len(cosines)
    for start in range(0, len(state) // WIDTH, block):
        for x in range(start, start + stride):
            rows = turn(load_rows(state, x, stride, cosines), cosines, sines)
            store_rows(state, x, stride, rows)


@njit(**COMPILE)
def turn_forward(state: Array, which: Array, cosines: Array, sines: Array, qubits: int) -> None:
    """RY on every qubit q by input angle which[q], if there is one, in place."""
    q = 0
    while q < qubits:
        if which[q] == NONE:
            q += 1
            continue
        c, s = lanes(cosines, which[q], 1), lanes(sines, which[q], 0)
        if q + 2 < qubits:
            c1, s1 = lanes(cosines, which[q + 1], 1), lanes(sines, which[q + 1], 0)
            c2, s2 = lanes(cosines, which[q + 2], 1), lanes(sines, which[q + 2], 0)
            turn_all(state, q, (c, c1, c2), (s, s1, s2))
        elif q + 1 < qubits:
            c1, s1 = lanes(cosines, which[q + 1], 1), lanes(sines, which[q + 1], 0)
            turn_all(state, q, (c, c1), (s, s1))
        else:
            turn_all(state, q, (c,), (s,))
        q += 3


@njit(**COMPILE)
def unturn_all(pairs: Array, low: int, cosines: Any, sines: Any, sums: Any) -> Any:
    """Turn neighbouring qubits of both vectors by −`sines`; before it, add Re⟨λ|J_q|ψ⟩ to `sums`, a
    row for each, by lane, and return them."""
    stride = 1 << low
    block = stride << len(cosines)
    for start in range(0, len(pairs) // (2 * WIDTH), block):
        for x in range(start, start + stride):
            psi = load_rows(pairs, 2 * x, 2 * stride, cosines)
            lam = load_rows(pairs, 2 * x + 1, 2 * stride, cosines)
            sums = add_slopes(sums, lam, psi)
            store_rows(pairs, 2 * x, 2 * stride, turn(psi, cosines, sines))
            store_rows(pairs, 2 * x + 1, 2 * stride, turn(lam, cosines, sines))
    return sums


@njit(**COMPILE)
def add_rows(sums: Array, which: int, row: Any) -> None:
    """Add a row to an input's sums, if there is one."""
    if which != NONE:
        store(sums, which, load(sums, which) + row)


@njit(**COMPILE)
def turn_backward(
    pairs: Array, which: Array, cosines: Array, sines: Array, sums: Array, qubits: int
) -> None:
    """Undo `turn_forward` for both vectors, and add its gradients to `sums`."""
    zero, minus = splat(pairs.dtype.type(0)), splat(pairs.dtype.type(-1))
    q = 0
    while q < qubits:
        if which[q] == NONE:
            q += 1
            continue
        c, s = lanes(cosines, which[q], 1), minus * lanes(sines, which[q], 0)
        if q + 2 < qubits:
            c1, s1 = lanes(cosines, which[q + 1], 1), minus * lanes(sines, which[q + 1], 0)
            c2, s2 = lanes(cosines, which[q + 2], 1), minus * lanes(sines, which[q + 2], 0)
            found = unturn_all(pairs, q, (c, c1, c2), (s, s1, s2), (zero, zero, zero))
            for k in range(3):
                add_rows(sums, which[q + k], found[k])
        elif q + 1 < qubits:
            c1, s1 = lanes(cosines, which[q + 1], 1), minus * lanes(sines, which[q + 1], 0)
            both = unturn_all(pairs, q, (c, c1), (s, s1), (zero, zero))
            for k in range(2):
                add_rows(sums, which[q + k], both[k])
        else:
            (alone,) = unturn_all(pairs, q, (c,), (s,), (zero,))
            add_rows(sums, which[q], alone)
        q += 3


@njit(**COMPILE)
def phase_table(
    which: Array, low: int, high: int, cosines: Array, sines: Array, tables: Array, at: int
) -> None:
    """Phases of the masks from `low` up to `high`, for all their parities y.

    Rows `at` + 2y and `at` + 2y + 1: their real part in both halves, and their imaginary part with
    minus in the lower half, so that row · first + swapped(row) · second multiplies a row by them.
    """
    signs = halves(tables.dtype.type(-1), tables.dtype.type(1))
    store(tables, at, splat(tables.dtype.type(1)))
    store(tables, at + 1, splat(tables.dtype.type(0)))
    for bit in range(low, high):
        size = 1 << (bit - low)
        c, s = lanes(cosines, which[bit], 1), lanes(sines, which[bit], 0) * signs
        for y in range(size):
            re, im = load(tables, at + 2 * y), load(tables, at + 2 * y + 1)
            store(tables, at + 2 * y, re * c + im * s)
            store(tables, at + 2 * y + 1, im * c - re * s)
            store(tables, at + 2 * (size + y), re * c - im * s)
            store(tables, at + 2 * (size + y) + 1, im * c + re * s)


@njit(**COMPILE)
def phase_forward(
    state: Array, which: Array, index: Array, cosines: Array, sines: Array, tables: Array
) -> None:
    """Multiply by the phases of one row of the plan, in place. `index`: its map."""
    qubits = len(which)
    low = min(LOW, qubits)
    phase_table(which, 0, low, cosines, sines, tables, 0)
    phase_table(which, low, qubits, cosines, sines, tables, 2 << low)
    for high in range(1 << (qubits - low)):
        at = (2 << low) + 2 * high
        c, s = load(tables, at), load(tables, at + 1)
        for y in range(1 << low):
            x = index[high << low | y]
            row = load(state, x)
            row = row * c + swapped(row) * s
            store(state, x, row * load(tables, 2 * y) + swapped(row) * load(tables, 2 * y + 1))


@njit(**COMPILE)
def phase_backward(
    pairs: Array,
    which: Array,
    index: Array,
    cosines: Array,
    sines: Array,
    tables: Array,
    sums: Array,
    tree: Array,
) -> None:
    """Undo `phase_forward` for both vectors, and add its gradients to `sums`.

    The derivative by an angle is Im(conj(λ) ψ), summed with minus where its mask's parity is odd.
    `tree`: 2^Q rows, overwritten: these overlaps at every y, folded from the highest bit down.
    """
    qubits = len(which)
    low = min(LOW, qubits)
    phase_table(which, 0, low, cosines, sines, tables, 0)
    phase_table(which, low, qubits, cosines, sines, tables, 2 << low)
    minus = halves(pairs.dtype.type(1), pairs.dtype.type(-1))
    for high in range(1 << (qubits - low)):
        at = (2 << low) + 2 * high
        c, s = load(tables, at), load(tables, at + 1)
        for y in range(1 << low):
            place = high << low | y
            x = index[place]
            re, im = load(tables, 2 * y), load(tables, 2 * y + 1)
            re, im = re * c - im * s, re * s + im * c
            psi, lam = load(pairs, 2 * x), load(pairs, 2 * x + 1)
            crossed = swapped(psi)
            store(tree, place, lam * minus * crossed)
            store(pairs, 2 * x, psi * re - crossed * im)
            store(pairs, 2 * x + 1, lam * re - swapped(lam) * im)
    for bit in range(qubits - 1, -1, -1):
        size = 1 << bit
        slope = splat(pairs.dtype.type(0))
        for y in range(size):
            a, b = load(tree, y), load(tree, size + y)
            slope = slope + (a - b)
            store(tree, y, a + b)
        add_rows(sums, which[bit], slope)

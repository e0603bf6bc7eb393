"""Where a circuit meets its surroundings: angles become a state, a state becomes expectations.

Eight examples share a row: real parts in its lower half, imaginary parts in its upper half. A
tree of 2^Q rows keeps at 2^q + x a partial result over the qubits below q for their bits x.
"""

from numba import njit

from qdllm.engine.butterflies import load_rows, store_rows, sums_and_differences
from qdllm.engine.simd import WIDTH, halves, load, splat, store, swapped
from qdllm.engine.tables import COMPILE, Array, Plan, angle_of, half_angle, sincos

LANES = WIDTH // 2
"""Examples per row."""


@njit(**COMPILE)
def encode(plan: Plan, angles: Array, first: int, cosines: Array, sines: Array) -> None:
    """cos(z/2) and sin(z/2) of up to eight examples, in both halves, for each of the plan's inputs;
    spare lanes have cos 0 and sin 0."""
    cosines[:] = 1
    sines[:] = 0
    for i in range(plan.inputs):
        for lane in range(min(LANES, len(angles) - first)):
            cos, sin = sincos(half_angle(angle_of(plan, i, angles[first + lane])))
            for part in range(lane, WIDTH, LANES):
                cosines[i * WIDTH + part] = cos
                sines[i * WIDTH + part] = sin


@njit(**COMPILE)
def spread(values_NM: Array, first: int, rows: Array) -> None:
    """Put up to eight examples' values into the rows, one per observable, in both halves."""
    rows[:] = 0
    for q in range(values_NM.shape[1]):
        spread_one(values_NM, first, q, rows, q, 1.0)


@njit(**COMPILE)
def spread_one(
    values_NM: Array, first: int, column: int, rows: Array, row: int, sign: float
) -> None:
    """Put up to eight examples' values of one column into a row, in both halves."""
    for lane in range(min(LANES, len(values_NM) - first)):
        at = row * WIDTH + lane
        rows[at] = rows[at + LANES] = sign * values_NM[first + lane, column]


@njit(**COMPILE)
def gather_one(
    rows: Array, row: int, results_NM: Array, first: int, column: int, sign: float
) -> None:
    """The sum of a row's halves, for up to eight examples."""
    for lane in range(min(LANES, len(results_NM) - first)):
        at = row * WIDTH + lane
        results_NM[first + lane, column] = sign * (rows[at] + rows[at + LANES])


@njit(**COMPILE)
def product_tree(start: Array, cosines: Array, sines: Array, tree: Array, qubits: int) -> None:
    """Row 2^q + x of the tree is amplitude x of the product state of the qubits below q.

    `start`: (Q,), which of the cosines and sines each qubit has.
    """
    store(tree, 1, splat(tree.dtype.type(1)))
    for q in range(qubits):
        cos, sin, size = load(cosines, start[q]), load(sines, start[q]), 1 << q
        for x in range(size, 2 * size):
            row = load(tree, x)
            store(tree, size + x, row * cos)
            store(tree, 2 * size + x, row * sin)


@njit(**COMPILE)
def signed_sum_tree(terms: Array, tree: Array, qubits: int) -> None:
    """Row 2^q + x of the tree is Σ ± terms over the qubits below q, with minus where x has a 1."""
    store(tree, 1, splat(tree.dtype.type(0)))
    for q in range(qubits):
        term, size = load(terms, q), 1 << q
        for x in range(size, 2 * size):
            row = load(tree, x)
            store(tree, size + x, row + term)
            store(tree, 2 * size + x, row - term)


@njit(**COMPILE)
def product_state(
    start: Array, cosines: Array, sines: Array, tree: Array, state: Array, qubits: int
) -> None:
    """The first state: every qubit turned by RY; its imaginary part is zero."""
    product_tree(start, cosines, sines, tree, qubits - 1)
    half, last = 1 << (qubits - 1), start[qubits - 1]
    real = halves(state.dtype.type(1), state.dtype.type(0))
    cos, sin = load(cosines, last) * real, load(sines, last) * real
    for x in range(half):
        row = load(tree, half + x)
        store(state, x, row * cos)
        store(state, half + x, row * sin)


@njit(**COMPILE)
def read_out(state: Array, source: Array, sums: Array, scratch: Array) -> None:
    """sums[q] = Σ ± |ψ|² by the sign of Z_q, folding one bit at a time, the lowest first."""
    size, q = len(source) // 2, 0
    z = splat(state.dtype.type(0))
    for x in range(size):
        a, b = load(state, source[2 * x]), load(state, source[2 * x + 1])
        a, b = a * a, b * b
        z = z + (a - b)
        store(scratch, x, a + b)
    store(sums, 0, z)
    while size > 1:
        size, q = size // 2, q + 1
        z = splat(state.dtype.type(0))
        for x in range(size):
            a, b = load(scratch, 2 * x), load(scratch, 2 * x + 1)
            z = z + (a - b)
            store(scratch, x, a + b)
        store(sums, q, z)


@njit(**COMPILE)
def start_adjoint(
    final: Array, source: Array, terms: Array, tree: Array, pairs: Array, qubits: int
) -> None:
    """Copy the last state, and set λ = Σ_q terms_q Z_q |ψ⟩."""
    signed_sum_tree(terms, tree, qubits - 1)
    half = 1 << (qubits - 1)
    term = load(terms, qubits - 1)
    for x in range(half):
        both = load(tree, half + x)
        low, high = source[x], source[half + x]
        a, b = load(final, low), load(final, high)
        store(pairs, 2 * low, a)
        store(pairs, 2 * low + 1, a * (both + term))
        store(pairs, 2 * high, b)
        store(pairs, 2 * high + 1, b * (both - term))


@njit(**COMPILE)
def walsh_rows(tree: Array, qubits: int) -> None:
    """Walsh–Hadamard transform of 2^Q rows: row m becomes Σ_x (−1)^parity(m & x) row x."""
    size = 1 << qubits
    for low in range(0, qubits - 2, 3):
        stride = 1 << low
        for start in range(0, size, 8 * stride):
            for x in range(start, start + stride):
                rows = load_rows(tree, x, stride, (0, 0, 0))
                store_rows(tree, x, stride, sums_and_differences(rows))
    for low in range(qubits - qubits % 3, qubits):
        stride = 1 << low
        for start in range(0, size, 2 * stride):
            for x in range(start, start + stride):
                rows = load_rows(tree, x, stride, (0,))
                store_rows(tree, x, stride, sums_and_differences(rows))


@njit(**COMPILE)
def same_products(plan: Plan, first: int) -> int:
    """Where the observables end that are read off the same products of amplitudes as `first`."""
    last = first + 1
    while (
        last < len(plan.observables)
        and plan.observables[last, 0] == plan.observables[first, 0]
        and plan.observables[last, 2] & 1 == plan.observables[first, 2] & 1
    ):
        last += 1
    return last


@njit(**COMPILE)
def measure(
    plan: Plan, state: Array, results_NM: Array, first: int, tree: Array, qubits: int
) -> None:
    """Expectations of any Pauli strings, for up to eight examples.

    conj(ψ[x ^ flip]) ψ[x] is made once for all strings that flip the same qubits, its real or its
    imaginary part as their powers of i want it; its transform has one of them at each z.
    """
    start = 0
    minus = halves(state.dtype.type(1), state.dtype.type(-1))
    while start < len(plan.observables):
        end = same_products(plan, start)
        flip = plan.observables[start, 0]
        if plan.observables[start, 2] & 1:
            for x in range(1 << qubits):
                store(tree, x, load(state, x ^ flip) * minus * swapped(load(state, x)))
        else:
            for x in range(1 << qubits):
                store(tree, x, load(state, x ^ flip) * load(state, x))
        walsh_rows(tree, qubits)
        for j in range(start, end):
            _, z, power, column = plan.observables[j]
            sign = 1.0 if power in (0, 3) else -1.0
            gather_one(tree, z, results_NM, first, column, sign)
        start = end


@njit(**COMPILE)
def start_any_adjoint(
    plan: Plan,
    final: Array,
    grads_NM: Array,
    first: int,
    tree: Array,
    pairs: Array,
    qubits: int,
) -> None:
    """Copy the last state, and set λ = Σ_j grads_j P_j |ψ⟩ for any Pauli strings P."""
    zero = splat(final.dtype.type(0))
    for x in range(1 << qubits):
        store(pairs, 2 * x, load(final, x))
        store(pairs, 2 * x + 1, zero)
    start = 0
    minus = halves(final.dtype.type(-1), final.dtype.type(1))
    while start < len(plan.observables):
        end = same_products(plan, start)
        flip = plan.observables[start, 0]
        odd = plan.observables[start, 2] & 1
        tree[: WIDTH << qubits] = 0
        for j in range(start, end):
            _, z, power, column = plan.observables[j]
            spread_one(grads_NM, first, column, tree, z, 1.0 if power < 2 else -1.0)
        walsh_rows(tree, qubits)
        for x in range(1 << qubits):
            row = load(final, x)
            if odd:
                row = swapped(row) * minus
            at = 2 * (x ^ flip) + 1
            store(pairs, at, load(pairs, at) + row * load(tree, x))
        start = end


@njit(**COMPILE)
def start_slopes(
    start: Array,
    pairs: Array,
    cosines: Array,
    sines: Array,
    tree: Array,
    sums: Array,
    qubits: int,
) -> None:
    """Add ⟨λ|J_q|ψ⟩ of the first state ψ to its angle's sums, folding λ from the highest qubit
    down. ψ is real, so that only the real parts count."""
    product_tree(start, cosines, sines, tree, qubits - 1)
    real = halves(pairs.dtype.type(1), pairs.dtype.type(0))
    for q in range(qubits - 1, -1, -1):
        cos, sin, size = load(cosines, start[q]), load(sines, start[q]), 1 << q
        slope = splat(pairs.dtype.type(0))
        for x in range(size):
            a, b = load(pairs, 2 * x + 1), load(pairs, 2 * (size + x) + 1)
            slope = slope + load(tree, size + x) * (b * cos - a * sin)
            store(pairs, 2 * x + 1, a * cos + b * sin)
        store(sums, start[q], load(sums, start[q]) + slope * real)

"""Where a circuit meets its surroundings: angles become a state, a state becomes expectations.

Eight examples share a row: real parts in its lower half, imaginary parts in its upper half. A
tree of 2^Q rows keeps at 2^q + x a partial result over the qubits below q for their bits x.
"""

from numba import njit

from qdllm.engine.simd import WIDTH, halves, load, splat, store
from qdllm.engine.tables import COMPILE, Array, half_angle, sincos

LANES = WIDTH // 2
"""Examples per row."""


@njit(**COMPILE)
def encode(angles: Array, first: int, cosines: Array, sines: Array) -> None:
    """cos(z/2) and sin(z/2) of up to eight examples, in both halves; spare lanes are |0…0⟩."""
    cosines[:] = 1
    sines[:] = 0
    for q in range(angles.shape[1]):
        for lane in range(min(LANES, len(angles) - first)):
            cos, sin = sincos(half_angle(angles[first + lane, q]))
            for part in range(lane, WIDTH, LANES):
                cosines[q * WIDTH + part] = cos
                sines[q * WIDTH + part] = sin


@njit(**COMPILE)
def spread(values_NQ: Array, first: int, rows: Array) -> None:
    """Put up to eight examples' values into the rows, one per qubit, in both halves."""
    rows[:] = 0
    for q in range(values_NQ.shape[1]):
        for lane in range(min(LANES, len(values_NQ) - first)):
            at = q * WIDTH + lane
            rows[at] = rows[at + LANES] = values_NQ[first + lane, q]


@njit(**COMPILE)
def product_tree(cosines: Array, sines: Array, tree: Array, qubits: int) -> None:
    """Row 2^q + x of the tree is amplitude x of the product state of the qubits below q."""
    store(tree, 1, splat(tree.dtype.type(1)))
    for q in range(qubits):
        cos, sin, size = load(cosines, q), load(sines, q), 1 << q
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
def product_state(cosines: Array, sines: Array, tree: Array, state: Array, qubits: int) -> None:
    """The encoded state: every qubit turned by RY; its imaginary part is zero."""
    product_tree(cosines, sines, tree, qubits - 1)
    half = 1 << (qubits - 1)
    real = halves(state.dtype.type(1), state.dtype.type(0))
    cos, sin = load(cosines, qubits - 1) * real, load(sines, qubits - 1) * real
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
def encoding_slopes(
    pairs: Array, cosines: Array, sines: Array, tree: Array, sums: Array, qubits: int
) -> None:
    """sums[q] = ⟨λ|J_q|ψ⟩ of the encoded state ψ, folding λ from the highest qubit down."""
    product_tree(cosines, sines, tree, qubits - 1)
    for q in range(qubits - 1, -1, -1):
        cos, sin, size = load(cosines, q), load(sines, q), 1 << q
        slope = splat(pairs.dtype.type(0))
        for x in range(size):
            a, b = load(pairs, 2 * x + 1), load(pairs, 2 * (size + x) + 1)
            slope = slope + load(tree, size + x) * (b * cos - a * sin)
            store(pairs, 2 * x + 1, a * cos + b * sin)
        store(sums, q, slope)

"""What the engine's kernels do to 2^k amplitudes at once, all of them held in registers.

A row is one amplitude of eight samples: the real parts in its lower half, the imaginary parts in
its upper half. The loops here run while a kernel is compiled and leave straight-line code behind,
so the number of rotations decides how many rows a kernel holds: 8 for three, 16 for four.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic

from qdllm.engine.simd import WIDTH, Row, broadcast, load_row, shuffle, store_row

FUSED = {"flags": ("contract",)}
"""Lets LLVM fuse a multiplication with the addition after it."""


@intrinsic
def load_rows(typing_context: Any, array: Any, first: Any, stride: Any, turns: Any) -> Any:
    """2^k rows, `stride` apart, for k rotations."""
    rows = UniTuple(Row(array.dtype), 2 ** len(turns))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, row, stride, _ = args
        loaded = []
        for _ in range(rows.count):
            loaded.append(load_row(context, builder, signature.args[0], array, row))
            row = builder.add(row, stride)
        return context.make_tuple(builder, rows, loaded)

    return rows(array, types.intp, types.intp, turns), codegen


@intrinsic
def store_rows(typing_context: Any, array: Any, first: Any, stride: Any, rows: Any) -> Any:
    """Write rows back where `load_rows` took them."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, row, stride, rows = args
        for value in cgutils.unpack_tuple(builder, rows):
            store_row(context, builder, signature.args[0], array, row, value)
            row = builder.add(row, stride)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, rows), codegen


@intrinsic
def rotate(typing_context: Any, rows: Any, turns: Any) -> Any:
    """Apply 1 + t·J, J = −iY, to bit k of the rows' position for the k-th of `turns`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, tangents = (cgutils.unpack_tuple(builder, arg) for arg in args)
        for k, tangent in enumerate(tangents):
            for low, high in _pairs(k, len(values)):
                a, b = values[low], values[high]
                values[low] = builder.fsub(a, builder.fmul(tangent, b, **FUSED), **FUSED)
                values[high] = builder.fadd(b, builder.fmul(tangent, a, **FUSED), **FUSED)
        return context.make_tuple(builder, rows, values)

    return rows(rows, turns), codegen


@intrinsic
def turn(typing_context: Any, rows: Any, cosines: Any, sines: Any) -> Any:
    """Apply c + s·J to bit k of the rows' position, c and s being the k-th of both, by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, cosines, sines = (cgutils.unpack_tuple(builder, arg) for arg in args)
        for k, (c, s) in enumerate(zip(cosines, sines, strict=True)):
            for low, high in _pairs(k, len(values)):
                a, b = values[low], values[high]
                down, up = (builder.fmul(s, value, **FUSED) for value in (b, a))
                values[low] = builder.fsub(builder.fmul(c, a, **FUSED), down, **FUSED)
                values[high] = builder.fadd(builder.fmul(c, b, **FUSED), up, **FUSED)
        return context.make_tuple(builder, rows, values)

    return rows(rows, cosines, sines), codegen


@intrinsic
def sums_and_differences(typing_context: Any, rows: Any) -> Any:
    """a + b and a − b in place of a and b, for every bit of the rows' position."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[0])
        for k in range(len(values).bit_length() - 1):
            for low, high in _pairs(k, len(values)):
                a, b = values[low], values[high]
                values[low], values[high] = builder.fadd(a, b), builder.fsub(a, b)
        return context.make_tuple(builder, rows, values)

    return rows(rows), codegen


@intrinsic
def add_slopes(typing_context: Any, sums: Any, adjoint: Any, state: Any) -> Any:
    """Add adjoint · J state, lane by lane, to the k-th of `sums` for each bit k of the position."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        results, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args)
        for k in range(len(results)):
            for low, high in _pairs(k, len(left)):
                up = builder.fmul(left[high], right[low], **FUSED)
                down = builder.fmul(left[low], right[high], **FUSED)
                results[k] = builder.fsub(builder.fadd(results[k], up, **FUSED), down, **FUSED)
        return context.make_tuple(builder, sums, results)

    return sums(sums, adjoint, state), codegen


@intrinsic
def gather_rows(
    typing_context: Any,
    array: Any,
    source: Any,
    flip: Any,
    cos: Any,
    sin: Any,
    first: Any,
    turns: Any,
) -> Any:
    """(cos + i sin)[y] · array[source[y] ^ flip] for 2^k consecutive y from `first`."""
    rows = UniTuple(Row(array.dtype), 2 ** len(turns))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, source, flip, cos, sin, first, _ = args
        types_ = signature.args
        loaded = []
        for i in range(rows.count):
            y = builder.add(first, ir.Constant(first.type, i))
            x = builder.xor(_item(context, builder, types_[1], source, y), flip)
            row = load_row(context, builder, types_[0], array, x)
            c = _item(context, builder, types_[3], cos, y)
            s = _item(context, builder, types_[4], sin, y)
            loaded.append(_phased(builder, row, c, s))
        return context.make_tuple(builder, rows, loaded)

    return rows(array, source, types.intp, cos, sin, types.intp, turns), codegen


@intrinsic
def scatter_pairs(
    typing_context: Any,
    array: Any,
    source: Any,
    flip: Any,
    cos: Any,
    sin: Any,
    first: Any,
    state: Any,
    adjoint: Any,
) -> Any:
    """The way back from `gather_rows`, for two vectors that lie side by side in `array`.

    Rows 2x and 2x + 1, x = source[y] ^ flip, become (cos − i sin)[y] times one row of each.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, source, flip, cos, sin, first, state, adjoint = args
        types_ = signature.args
        pairs = zip(*(cgutils.unpack_tuple(builder, v) for v in (state, adjoint)), strict=True)
        for i, pair in enumerate(pairs):
            y = builder.add(first, ir.Constant(first.type, i))
            x = builder.xor(_item(context, builder, types_[1], source, y), flip)
            c = _item(context, builder, types_[3], cos, y)
            s = builder.fneg(_item(context, builder, types_[4], sin, y))
            for j, row in enumerate(pair):
                at = builder.add(builder.add(x, x), ir.Constant(x.type, j))
                store_row(context, builder, types_[0], array, at, _phased(builder, row, c, s))
        return context.get_dummy_value()

    signature = types.void(array, source, types.intp, cos, sin, types.intp, state, adjoint)
    return signature, codegen


@intrinsic
def add_overlaps(typing_context: Any, sums: Any, first: Any, adjoint: Any, state: Any) -> Any:
    """sums[first + i] += Im(conj(adjoint_i) · state_i), summed over the samples, for eight rows."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, first, left, right = args
        half = WIDTH // 2
        swapped = [*range(half, WIDTH), *range(half)]
        parts = [
            builder.fmul(a, shuffle(builder, b, b, swapped))
            for a, b in zip(*(cgutils.unpack_tuple(builder, v) for v in (left, right)), strict=True)
        ]
        # Each round folds every segment in half and packs two vectors into one: eight rows of
        # sixteen products become one vector of eight sums. The first fold is re·im − im·re.
        combine, length = builder.fsub, half
        while len(parts) > 1:
            parts = [
                combine(*_folded(builder, parts[i], parts[i + 1], length))
                for i in range(0, len(parts), 2)
            ]
            combine, length = builder.fadd, length // 2
        low, high = (
            shuffle(builder, parts[0], parts[0], list(range(start, WIDTH, 2))) for start in (0, 1)
        )
        doubles = ir.VectorType(ir.DoubleType(), half)
        new = builder.fadd(low, high)
        if new.type != doubles:
            new = builder.fpext(new, doubles)
        data = context.make_array(signature.args[0])(context, builder, sums).data
        pointer = builder.bitcast(builder.gep(data, [first]), doubles.as_pointer())
        old = builder.load(pointer)
        old.align = 8
        builder.store(builder.fadd(old, new), pointer).align = 8
        return context.get_dummy_value()

    return types.void(sums, types.intp, adjoint, state), codegen


def _pairs(k: int, count: int) -> list[tuple[int, int]]:
    """Positions that differ in bit k alone."""
    return [(low, low | 1 << k) for low in range(count) if not low >> k & 1]


def _folded(builder: Any, a: Any, b: Any, length: int) -> tuple[Any, Any]:
    """Lower and upper halves of all segments of two vectors; a segment is 2 · length lanes."""
    starts = range(0, 2 * WIDTH, 2 * length)
    low = [lane for start in starts for lane in range(start, start + length)]
    return shuffle(builder, a, b, low), shuffle(builder, a, b, [lane + length for lane in low])


def _item(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(builder.gep(data, [index]))


def _phased(builder: Any, row: Any, cos: Any, sin: Any) -> Any:
    """(cos + i sin) · row."""
    half = WIDTH // 2
    swapped = shuffle(builder, row, row, [*range(half, WIDTH), *range(half)])
    c, s, minus = (broadcast(builder, row.type, v) for v in (cos, sin, builder.fneg(sin)))
    crossed = shuffle(builder, minus, s, [*range(half), *range(WIDTH + half, 2 * WIDTH)])
    return builder.fadd(
        builder.fmul(row, c, **FUSED), builder.fmul(swapped, crossed, **FUSED), **FUSED
    )

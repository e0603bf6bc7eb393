"""A vector type for Numba, so that kernels can say which values live in registers.

Numba alone vectorises loops where LLVM can prove that nothing overlaps, which it cannot for the
strided, in-place passes of a state-vector simulator. A `Row` is `WIDTH` numbers in registers,
whatever the processor: LLVM splits it into the widest registers there are. Arrays are flat and
hold row r at r · WIDTH. All of this exists inside compiled functions only.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 16


class Row(types.Type):
    """WIDTH numbers of one precision."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Row({dtype})")


@register_model(Row)
class RowModel(models.PrimitiveModel):
    def __init__(self, manager: Any, row: Row) -> None:
        element = manager.lookup(row.dtype).get_value_type()
        super().__init__(manager, row, ir.VectorType(element, WIDTH))


def shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


def broadcast(builder: Any, row_type: Any, value: Any) -> Any:
    undefined = ir.Constant(row_type, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return shuffle(builder, first, undefined, [0] * WIDTH)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [builder.mul(row, ir.Constant(row.type, WIDTH))])
    row_type = context.get_value_type(Row(array_type.dtype))
    return builder.bitcast(first, row_type.as_pointer())


def load_row(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    value = builder.load(_pointer(context, builder, array_type, array, row))
    value.align = array_type.dtype.bitwidth // 8
    return value


def store_row(
    context: Any, builder: Any, array_type: Any, array: Any, row: Any, value: Any
) -> None:
    pointer = _pointer(context, builder, array_type, array, row)
    builder.store(value, pointer).align = array_type.dtype.bitwidth // 8


@intrinsic
def load(typing_context: Any, array: Any, row: Any) -> Any:
    """Row number `row` of a flat array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return load_row(context, builder, signature.args[0], *args)

    return Row(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typing_context: Any, array: Any, row: Any, value: Any) -> Any:
    """Write a row as number `row` of a flat array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        store_row(context, builder, signature.args[0], *args)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def splat(typing_context: Any, number: Any) -> Any:
    """A row that holds one number in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return broadcast(builder, context.get_value_type(signature.return_type), args[0])

    return Row(number)(number), codegen


@intrinsic
def halves(typing_context: Any, low: Any, high: Any) -> Any:
    """A row that holds one number in its lower half and another in its upper half."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row_type = context.get_value_type(signature.return_type)
        a, b = (broadcast(builder, row_type, arg) for arg in args)
        return shuffle(builder, a, b, [*range(WIDTH // 2), *range(WIDTH, WIDTH + WIDTH // 2)])

    return Row(low)(low, high), codegen


@intrinsic
def swapped(typing_context: Any, row: Any) -> Any:
    """A row with its halves exchanged."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = WIDTH // 2
        return shuffle(builder, args[0], args[0], [*range(half, WIDTH), *range(half)])

    return row(row), codegen


@intrinsic
def total(typing_context: Any, row: Any) -> Any:
    """Sum of the lanes, pairwise, always in the same order."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row, width = args[0], WIDTH
        while width > 1:
            width //= 2
            low = shuffle(builder, row, row, list(range(width)))
            high = shuffle(builder, row, row, list(range(width, 2 * width)))
            row = builder.fadd(low, high)
        return builder.extract_element(row, ir.Constant(ir.IntType(32), 0))

    return row.dtype(row), codegen


@intrinsic
def walsh_row(typing_context: Any, row: Any) -> Any:
    """Walsh–Hadamard transform of one row: lane m becomes Σ_x (−1)^parity(m & x) lane x."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = args[0]
        for k in range(WIDTH.bit_length() - 1):
            others = shuffle(builder, values, values, [lane ^ 1 << k for lane in range(WIDTH)])
            signs = [-1.0 if lane >> k & 1 else 1.0 for lane in range(WIDTH)]
            signed = builder.fmul(values, ir.Constant(values.type, signs), flags=("contract",))
            values = builder.fadd(others, signed, flags=("contract",))
        return values

    return row(row), codegen


def _arithmetic(python: Callable[..., Any], llvm: str) -> None:
    @intrinsic
    def apply(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, llvm)(*args, flags=("contract",))

        return a(a, b), codegen

    # Numba wants the same parameters without annotations in both, hence two lambdas.
    overload(python)(lambda a, b: (lambda a, b: apply(a, b)) if isinstance(a, Row) else None)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")

"""What an angle in OpenQASM 3 comes to: parameters, each times a number, plus a number."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown

Fail = Callable[[Any, str], NoReturn]
"""Raises ConfigError at a node, or at a line."""
CONSTANTS = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e}
FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    name: getattr(math, {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(name, name))
    for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "arcsin", "arccos", "arctan")
}
SIGNS = {"+": 1.0, "-": -1.0}


class Sum(NamedTuple):
    """An expression's value: parameters by name, each times a number, plus a number."""

    factors: Mapping[str, float]
    alone: float


def value(node: Any, names: Mapping[str, Sum], fail: Fail) -> Sum:
    """An angle: a sum of numbers and of parameters, each times a number.

    `names`: what parameters and constants stand for. `fail`: how to refuse a node.
    """
    try:
        found = _value(node, names, fail)
    except ConfigError:
        raise
    except (ArithmeticError, ValueError, TypeError, RecursionError):
        fail(node, "this expression has no finite value, or nests too deeply")
    # The root of a negative number is none that a gate can turn by.
    numbers = (found.alone, *found.factors.values())
    if any(isinstance(one, complex) or not math.isfinite(one) for one in numbers):
        fail(node, "this expression has no finite value")
    return found._replace(factors={name: by for name, by in found.factors.items() if by})


def _value(node: Any, names: Mapping[str, Sum], fail: Fail) -> Sum:
    kind = type(node).__name__
    if kind in ("IntegerLiteral", "FloatLiteral"):
        return Sum({}, float(node.value))
    if kind == "Identifier":
        if node.name in CONSTANTS and node.name not in names:
            return Sum({}, CONSTANTS[node.name])
        if node.name not in names:
            hint = nearest(node.name, list(names)) or ";"
            fail(
                node,
                f"unknown parameter {shown(node.name)}{hint} declare it, as in input float "
                f"{node.name};",
            )
        return names[node.name]
    if kind == "UnaryExpression" and node.op.name in SIGNS:
        return _scaled(_value(node.expression, names, fail), SIGNS[node.op.name])
    if kind == "BinaryExpression":
        left, right = _value(node.lhs, names, fail), _value(node.rhs, names, fail)
        if node.op.name in SIGNS:
            right = _scaled(right, SIGNS[node.op.name])
            factors = dict(left.factors)
            for name, factor in right.factors.items():
                factors[name] = factors.get(name, 0.0) + factor
            return Sum(factors, left.alone + right.alone)
        if node.op.name == "*" and not left.factors:
            return _scaled(right, left.alone)
        if node.op.name in ("*", "/") and not right.factors:
            return _scaled(left, right.alone if node.op.name == "*" else 1 / right.alone)
        if node.op.name == "**" and not left.factors and not right.factors:
            return Sum({}, left.alone**right.alone)
    if kind == "FunctionCall" and node.name.name in FUNCTIONS and len(node.arguments) == 1:
        inner = _value(node.arguments[0], names, fail)
        if not inner.factors:
            return Sum({}, FUNCTIONS[node.name.name](inner.alone))
    return fail(
        node,
        "an angle is a number, or a parameter times a number plus a number, such as "
        "2 * theta + pi / 2; this is neither",
    )


def _scaled(one: Sum, by: float) -> Sum:
    return Sum({name: factor * by for name, factor in one.factors.items()}, one.alone * by)

"""Elementwise ops. Operands broadcast; the dialect knows no less and no floor."""

from __future__ import annotations

from math import log

from converters.dtypes import UNSIGNED, is_float, is_integer, numpy_dtype
from converters.graph import Node
from converters.targets.coreai.beta import Handle
from converters.targets.coreai.rules.lowering import Lowering, named
from converters.targets.coreai.rules.whole import converted, power, quotient, remainder
from converters.targets.coreai.writer import Writer

UNARY = {
    "ArcCos": "Acos",
    "ArcCosh": "Acosh",
    "ArcSin": "Asin",
    "ArcSinh": "Asinh",
    "ArcTan": "Atan",
    "ArcTanh": "Atanh",
    "Cos": "Cos",
    "Cosh": "Cosh",
    "Erf": "Erf",
    "Exp": "Exp",
    "Log": "Log",
    "LogicalNot": "Not",
    "Rsqrt": "Rsqrt",
    "Sigmoid": "Sigmoid",
    "Sin": "Sin",
    "Sinh": "Sinh",
    "Sqrt": "Sqrt",
    "Tan": "Tan",
    "Tanh": "Tanh",
}
BINARY = {
    "Add": "BroadcastingAdd",
    "Subtract": "BroadcastingSub",
    "Multiply": "BroadcastingMul",
    "Divide": "BroadcastingDivide",
    "Maximum": "BroadcastingMaximum",
    "Minimum": "BroadcastingMinimum",
    "NotEqual": "BroadcastingNotEqual",
    "LogicalAnd": "BroadcastingAnd",
    "LogicalOr": "BroadcastingOr",
    "BitwiseAnd": "BroadcastingBitwiseAnd",
    "BitwiseOr": "BroadcastingBitwiseOr",
    "BitwiseXor": "BroadcastingBitwiseXor",
    "Select": "BroadcastingWhere",
}

LOGICAL = {
    "Add": "BroadcastingOr",
    "Multiply": "BroadcastingAnd",
    "Maximum": "BroadcastingOr",
    "Minimum": "BroadcastingAnd",
}


def _abs(w: Writer, node: Node) -> None:
    x = w.ref(node.inputs[0])
    w.give(node.output, x if node.output.dtype in (*UNSIGNED, "bool") else w.op("Abs", x))


def _negative(w: Writer, node: Node) -> None:
    """Times -1, which keeps the sign of a zero; integers are taken from 0."""
    x, y = w.ref(node.inputs[0]), node.output
    if is_float(y.dtype):
        w.give(y, w.op("BroadcastingMul", x, w.like(-1, y)))
    else:
        w.give(y, w.op("BroadcastingSub", w.like(0, y), x))


def _binary(name: str, kind: str) -> Lowering:
    """Sums of truths are their disjunction, products their conjunction."""
    truths = LOGICAL.get(name, kind)

    def emit(w: Writer, node: Node) -> None:
        chosen = truths if node.output.dtype == "bool" else kind
        w.give(node.output, w.op(chosen, *(w.ref(value) for value in node.inputs)))

    return Lowering(emit)


def _square(w: Writer, node: Node) -> None:
    x = w.ref(node.inputs[0])
    w.give(node.output, x if node.output.dtype == "bool" else w.op("Mul", x, x))


def _sign(w: Writer, node: Node) -> None:
    """Of nan 0."""
    x, zero, dtype = w.ref(node.inputs[0]), w.like(0, node.output), node.output.dtype
    above = w.cast(w.op("BroadcastingGreater", x, zero), dtype)
    if dtype in UNSIGNED:
        return w.give(node.output, above)
    below = w.cast(w.op("BroadcastingGreater", zero, x), dtype)
    return w.give(node.output, w.op("Sub", above, below))


def floored(w: Writer, x: Handle, dtype: str) -> Handle:
    """The nearest whole number, one less where that is above; infinities and the sign of zeros stay."""
    nearest = w.op("Round", x)
    return w.op("Sub", nearest, w.cast(w.op("Greater", nearest, x), dtype))


def _floor(w: Writer, node: Node) -> None:
    x, dtype = w.ref(node.inputs[0]), node.output.dtype
    w.give(node.output, floored(w, x, dtype) if is_float(dtype) else x)


def _ceil(w: Writer, node: Node) -> None:
    x, y = w.ref(node.inputs[0]), node.output
    if not is_float(y.dtype):
        return w.give(y, x)
    minus = w.like(-1, y)
    below = floored(w, w.op("BroadcastingMul", x, minus), y.dtype)
    return w.give(y, w.op("BroadcastingMul", below, minus))


def _round(w: Writer, node: Node) -> None:
    x = w.ref(node.inputs[0])
    w.give(node.output, w.op("Round", x) if is_float(node.output.dtype) else x)


def _logarithm(base: float) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        natural = w.op("Log", w.ref(node.inputs[0]))
        w.give(node.output, w.op("BroadcastingMul", natural, w.like(1 / log(base), node.output)))

    return Lowering(emit)


def _operands(w: Writer, node: Node) -> list[Handle]:
    """The two operands of an order; truths as numbers."""
    handles = [w.ref(value) for value in node.inputs]
    if node.inputs[0].dtype != "bool":
        return handles
    return [
        w.constant(w.known[value], "uint8") if value in w.known else w.cast(handle, "uint8")
        for value, handle in zip(node.inputs, handles, strict=True)
    ]


def _order(swapped: bool, equal: bool) -> Lowering:
    """Greater, with the operands exchanged, or equal; nan is neither."""

    def emit(w: Writer, node: Node) -> None:
        x, y = _operands(w, node)
        above = w.op("BroadcastingGreater", *((y, x) if swapped else (x, y)))
        w.give(node.output, w.op("Or", above, w.op("BroadcastingEqual", x, y)) if equal else above)

    return Lowering(emit)


def _refuse_equal(node: Node) -> str | None:
    return "nan equals nan" if node.attrs["equal_nan"] else None


def _floor_divide(w: Writer, node: Node) -> None:
    dtype = node.output.dtype
    if is_integer(dtype):
        return w.give(node.output, quotient(w, node))
    ratio = w.op("BroadcastingDivide", *(w.ref(value) for value in node.inputs))
    return w.give(node.output, floored(w, ratio, dtype))


def _remainder(w: Writer, node: Node) -> None:
    """With the divisor's sign, a zero with the dividend's."""
    x, y = (w.ref(value) for value in node.inputs)
    dtype, zero = node.output.dtype, w.like(0, node.output)
    if is_integer(dtype):
        return w.give(node.output, remainder(w, node))
    rest = w.op("BroadcastingModulo", x, y)
    divisor = w.known.get(node.inputs[1])
    negative = w.op("BroadcastingGreater", zero, y) if divisor is None else w.constant(divisor < 0)
    other_side = w.op("BroadcastingXor", w.op("BroadcastingGreater", zero, rest), negative)
    moved = w.op("BroadcastingAnd", other_side, w.op("BroadcastingNotEqual", rest, zero))
    return w.give(node.output, w.op("BroadcastingWhere", moved, w.op("BroadcastingAdd", rest, y), rest))


def _power(w: Writer, node: Node) -> None:
    if is_integer(node.output.dtype):
        return w.give(node.output, power(w, node))
    return w.give(node.output, w.op("BroadcastingPow", *(w.ref(value) for value in node.inputs)))


def _cast(w: Writer, node: Node) -> None:
    w.give(node.output, converted(w, w.ref(node.inputs[0]), node.inputs[0].dtype, node.output.dtype))


def _refuse_view(node: Node) -> str | None:
    before, after = node.inputs[0].dtype, node.attrs["dtype"]
    whole = is_integer(before) and is_integer(after)
    same = whole and numpy_dtype(before).itemsize == numpy_dtype(after).itemsize
    return None if same else f"the bits of {before} as {after}"


RULES = {
    **{name: named(kind) for name, kind in UNARY.items()},
    **{name: _binary(name, kind) for name, kind in BINARY.items()},
    "Abs": Lowering(_abs),
    "Negative": Lowering(_negative),
    "Square": Lowering(_square),
    "Sign": Lowering(_sign),
    "Floor": Lowering(_floor),
    "Ceil": Lowering(_ceil),
    "Round": Lowering(_round),
    "Log2": _logarithm(2),
    "Log10": _logarithm(10),
    "Equal": named("BroadcastingEqual", _refuse_equal),
    "Greater": _order(swapped=False, equal=False),
    "GreaterEqual": _order(swapped=False, equal=True),
    "Less": _order(swapped=True, equal=False),
    "LessEqual": _order(swapped=True, equal=True),
    "FloorDivide": Lowering(_floor_divide),
    "Remainder": Lowering(_remainder),
    "Power": Lowering(_power),
    "AsType": Lowering(_cast),
    "View": Lowering(_cast, _refuse_view),
}

"""Elementwise ops: most differ in name only."""

from __future__ import annotations

from math import log

from converters.dtypes import UNSIGNED, is_float, is_integer, numpy_dtype
from converters.graph import Node
from converters.targets.onnx.rules.lowering import Lowering, renamed
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer

SAME = [
    "Abs",
    "Add",
    "Ceil",
    "Cos",
    "Cosh",
    "Erf",
    "Exp",
    "Floor",
    "Greater",
    "Less",
    "Log",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Tan",
    "Tanh",
]
NAMES = {
    **{name: name for name in SAME},
    "Negative": "Neg",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Divide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
    "Power": "Pow",
    "LessEqual": "LessOrEqual",
    "GreaterEqual": "GreaterOrEqual",
    "LogicalAnd": "And",
    "LogicalOr": "Or",
    "LogicalNot": "Not",
    "Select": "Where",
    "ArcSin": "Asin",
    "ArcCos": "Acos",
    "ArcTan": "Atan",
    "ArcSinh": "Asinh",
    "ArcCosh": "Acosh",
    "ArcTanh": "Atanh",
}


def _square(w: Writer, node: Node) -> None:
    w.give("Mul", [w.name(node.inputs[0])] * 2, [w.name(node.output)])


def _rsqrt(w: Writer, node: Node) -> None:
    w.give("Reciprocal", [w.node("Sqrt", w.name(node.inputs[0]))], [w.name(node.output)])


def _logarithm(base: float) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        natural = w.node("Log", w.name(node.inputs[0]))
        w.give("Mul", [natural, w.constant(1 / log(base), node.output.dtype)], [w.name(node.output)])

    return Lowering(emit)


def _equal(w: Writer, node: Node) -> None:
    if not node.attrs["equal_nan"]:
        return w.emit("Equal", node)
    x, y = (w.name(value) for value in node.inputs)
    both = w.node("And", w.node("IsNaN", x), w.node("IsNaN", y))
    return w.give("Or", [w.node("Equal", x, y), both], [w.name(node.output)])


def _not_equal(w: Writer, node: Node) -> None:
    w.give("Not", [w.node("Equal", *(w.name(value) for value in node.inputs))], [w.name(node.output)])


def _cast(w: Writer, node: Node) -> None:
    w.emit("Cast", node, to=ELEMENT_TYPES[node.attrs["dtype"]])


def _rounding(op_type: str) -> Lowering:
    """Integers are whole."""

    def emit(w: Writer, node: Node) -> None:
        w.emit(op_type if is_float(node.output.dtype) else "Identity", node)

    return Lowering(emit)


def _sign(w: Writer, node: Node) -> None:
    """The sign of nan is 0."""
    x = w.name(node.inputs[0])
    if not is_float(node.output.dtype):
        return w.emit("Sign", node)
    zero = w.constant(0, node.output.dtype)
    return w.give("Where", [w.node("IsNaN", x), zero, w.node("Sign", x)], [w.name(node.output)])


def _floor_divide(w: Writer, node: Node) -> None:
    """ONNX divides integers towards zero: one too many where the two kinds of remainder differ."""
    x, y = (w.name(value) for value in node.inputs)
    if is_float(node.output.dtype):
        return w.give("Floor", [w.node("Div", x, y)], [w.name(node.output)])
    if node.output.dtype in UNSIGNED:
        return w.emit("Div", node)
    same = w.node("Equal", w.node("Mod", x, y), w.node("Mod", x, y, fmod=1))
    more = w.node("Cast", w.node("Not", same), to=ELEMENT_TYPES[node.output.dtype])
    return w.give("Sub", [w.node("Div", x, y), more], [w.name(node.output)])


def _remainder(w: Writer, node: Node) -> None:
    """With the divisor's sign; for floats from C's fmod, which is exact."""
    if not is_float(node.output.dtype):
        return w.emit("Mod", node)
    x, y = (w.name(value) for value in node.inputs)
    zero = w.constant(0, node.output.dtype)
    rest = w.node("Mod", x, y, fmod=1)
    other_side = w.node("Xor", w.node("Less", rest, zero), w.node("Less", y, zero))
    moved = w.node("And", other_side, w.node("Not", w.node("Equal", rest, zero)))
    return w.give("Where", [moved, w.node("Add", rest, y), rest], [w.name(node.output)])


def _bitwise(op_type: str) -> Lowering:
    def refuse(opset: int, node: Node) -> str | None:
        return None if opset >= 18 else f"{op_type} came with opset 18"

    return Lowering(lambda w, node: w.emit(op_type, node), refuse)


def _left_shift(w: Writer, node: Node) -> None:
    if node.output.dtype in UNSIGNED:
        return w.emit("BitShift", node, direction="LEFT")
    unsigned = ELEMENT_TYPES[f"u{node.output.dtype}"]
    operands = [w.node("Cast", w.name(value), to=unsigned) for value in node.inputs]
    shifted = w.node("BitShift", *operands, direction="LEFT")
    return w.give("Cast", [shifted], [w.name(node.output)], to=ELEMENT_TYPES[node.output.dtype])


def _right_shift(w: Writer, node: Node) -> None:
    """A negative number is shifted as its complement, -1 - x."""
    dtype = node.output.dtype
    if dtype in UNSIGNED:
        return w.emit("BitShift", node, direction="RIGHT")
    wide = "int32" if dtype == "int16" else dtype  # Where has no int16
    x, count = (w.name(value) for value in node.inputs)
    x = w.node("Cast", x, to=ELEMENT_TYPES[wide]) if wide != dtype else x
    minus_one = w.constant(-1, wide)
    negative = w.node("Less", x, w.constant(0, wide))
    folded = w.node("Where", negative, w.node("Sub", minus_one, x), x)
    unsigned = ELEMENT_TYPES[f"u{wide}"]
    operands = [w.node("Cast", operand, to=unsigned) for operand in (folded, count)]
    shifted = w.node("Cast", w.node("BitShift", *operands, direction="RIGHT"), to=ELEMENT_TYPES[wide])
    chosen = w.node("Where", negative, w.node("Sub", minus_one, shifted), shifted)
    return w.give("Cast", [chosen], [w.name(node.output)], to=ELEMENT_TYPES[dtype])


def _refuse_view(opset: int, node: Node) -> str | None:
    before, after = node.inputs[0].dtype, node.attrs["dtype"]
    same = (
        is_integer(before)
        and is_integer(after)
        and numpy_dtype(before).itemsize == numpy_dtype(after).itemsize
    )
    return None if same else f"the bits of {before} as {after}"


RULES = {
    **{name: renamed(op_type) for name, op_type in NAMES.items()},
    "Ceil": _rounding("Ceil"),
    "Floor": _rounding("Floor"),
    "Round": _rounding("Round"),
    "Sign": Lowering(_sign),
    "Square": Lowering(_square),
    "Rsqrt": Lowering(_rsqrt),
    "Log2": _logarithm(2),
    "Log10": _logarithm(10),
    "Equal": Lowering(_equal),
    "NotEqual": Lowering(_not_equal),
    "FloorDivide": Lowering(_floor_divide),
    "Remainder": Lowering(_remainder),
    "BitwiseAnd": _bitwise("BitwiseAnd"),
    "BitwiseOr": _bitwise("BitwiseOr"),
    "BitwiseXor": _bitwise("BitwiseXor"),
    "BitwiseInvert": _bitwise("BitwiseNot"),
    "LeftShift": Lowering(_left_shift),
    "RightShift": Lowering(_right_shift),
    "AsType": Lowering(_cast),
    "View": Lowering(_cast, _refuse_view),
}

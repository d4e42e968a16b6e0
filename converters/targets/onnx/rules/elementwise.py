"""Elementwise ops: most differ in name only."""

from __future__ import annotations

from math import log

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


RULES = {
    **{name: renamed(op_type) for name, op_type in NAMES.items()},
    "Square": Lowering(_square),
    "Rsqrt": Lowering(_rsqrt),
    "Log2": _logarithm(2),
    "Log10": _logarithm(10),
    "Equal": Lowering(_equal),
    "NotEqual": Lowering(_not_equal),
    "AsType": Lowering(_cast),
}

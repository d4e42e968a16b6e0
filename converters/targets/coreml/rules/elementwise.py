"""Elementwise ops: most differ in name only."""

from __future__ import annotations

from math import log

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.graph import Node
from converters.ops.definition import broadcast
from converters.targets.coreml.rules.lowering import Lowering, binary, unary
from converters.targets.coreml.writer import CAST_NAMES, Writer

UNARY = {
    "Abs": "abs",
    "ArcCos": "acos",
    "ArcSin": "asin",
    "ArcTan": "atan",
    "ArcTanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "LogicalNot": "logical_not",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Square": "square",
    "Tan": "tan",
    "Tanh": "tanh",
}
BINARY = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "real_div",
    "Remainder": "mod",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Power": "pow",
    "Equal": "equal",
    "NotEqual": "not_equal",
    "Less": "less",
    "LessEqual": "less_equal",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
    "LogicalAnd": "logical_and",
    "LogicalOr": "logical_or",
}


def number(value: float, dtype: str) -> np.ndarray:
    """A rank-0 constant of the element type."""
    return np.array(value, numpy_dtype(dtype))


def _negative(w: Writer, node: Node) -> None:
    w.emit("mul", node, x=w.ref(node.inputs[0]), y=number(-1, node.output.dtype))


def _with_epsilon(kind: str) -> Lowering:
    """Ops that Core ML protects from zero by default; MLX does not."""

    def emit(w: Writer, node: Node) -> None:
        w.emit(kind, node, x=w.ref(node.inputs[0]), epsilon=number(0, node.output.dtype))

    return Lowering(emit)


def _logarithm(base: float) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        y, zero = node.output, number(0, node.output.dtype)
        natural = w.op("log", y.shape, y.dtype, x=w.ref(node.inputs[0]), epsilon=zero)
        w.emit("mul", node, x=natural, y=number(1 / log(base), y.dtype))

    return Lowering(emit)


def _select(w: Writer, node: Node) -> None:
    """Core ML takes the shape of the result from the two alternatives."""
    cond, a, b = node.inputs
    shape, first = node.output.shape, w.ref(a)
    if broadcast(a.shape, b.shape) != shape:
        first = w.widened(first, a.shape, shape, a.dtype)
    w.emit("select", node, cond=w.ref(cond), a=first, b=w.ref(b))


def _sign(w: Writer, node: Node) -> None:
    """Of nan 0, as in MLX; Core ML's own gives nan."""
    (x,), y = node.inputs, node.output
    zero = number(0, x.dtype)
    if not is_float(x.dtype):
        w.emit("sign", node, x=w.ref(x))
        return
    signs = [w.op(kind, y.shape, "bool", x=w.ref(x), y=zero) for kind in ("greater", "less")]
    above, below = (w.op("cast", y.shape, y.dtype, x=sign, dtype=CAST_NAMES[y.dtype]) for sign in signs)
    w.emit("sub", node, x=above, y=below)


def _floor_divide(w: Writer, node: Node) -> None:
    x, y = (w.ref(value) for value in node.inputs)
    if not is_float(node.output.dtype):
        w.emit("floor_div", node, x=x, y=y)
        return
    quotient = w.op("real_div", node.output.shape, node.output.dtype, x=x, y=y)
    w.emit("floor", node, x=quotient)


NEVER_BELOW = {"Add", "Square", "Abs", "Exp", "Reduce"}  # in practice sums of squares: never -0


def _rsqrt(w: Writer, node: Node) -> None:
    """Core ML adds an epsilon, even one of 0 makes -0 a 0; only where that may be is it a quotient."""
    (x,), y = node.inputs, node.output
    producer = w.graph.producers.get(x)
    if producer is not None and producer.op in NEVER_BELOW:
        w.emit("rsqrt", node, x=w.ref(x), epsilon=number(0, y.dtype))
        return
    root = w.op("sqrt", y.shape, y.dtype, x=w.ref(x))
    w.emit("real_div", node, x=number(1, y.dtype), y=root)


def _refuse_equal(ios: int, node: Node) -> str | None:
    return "nan equals nan" if node.attrs["equal_nan"] else None


def _cast(w: Writer, node: Node) -> None:
    w.emit("cast", node, x=w.ref(node.inputs[0]), dtype=CAST_NAMES[node.output.dtype])


def _refuse_view(ios: int, node: Node) -> str | None:
    """Integers of one size are views of each other without any operation."""
    before, after = (numpy_dtype(value.dtype) for value in (node.inputs[0], node.output))
    same = before.kind in "iu" and after.kind in "iu" and before.itemsize == after.itemsize
    return None if same else "Core ML knows no bits of floating-point numbers"


BINARY_RULES = {name: binary(kind) for name, kind in BINARY.items()}
RULES = {
    **{name: unary(kind) for name, kind in UNARY.items()},
    **BINARY_RULES,
    "Negative": Lowering(_negative),
    "Log": _with_epsilon("log"),
    "Rsqrt": Lowering(_rsqrt),
    "Sign": Lowering(_sign),
    "FloorDivide": Lowering(_floor_divide),
    "Log2": _logarithm(2),
    "Log10": _logarithm(10),
    "Select": Lowering(_select),
    "AsType": Lowering(_cast),
    "View": Lowering(_cast, _refuse_view),
    "Equal": Lowering(BINARY_RULES["Equal"].emit, _refuse_equal),
}

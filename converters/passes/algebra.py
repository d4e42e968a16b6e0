"""Arithmetic that has a simpler equal, so that later patterns need one spelling only.

y = Multiply(x, x); y = Power(x, 2)         ->      y = Square(x)
y = Multiply(x, 1); y = Add(x, 0)           ->      x
y = Divide(1, Sqrt(x))                      ->      y = Rsqrt(x)
y = AsType(AsType(x, float32), float16)     ->      x, where x is float16
y = BitwiseAnd(x of bool, y of bool)        ->      y = LogicalAnd(x, y)
y = [x << 28 >> 28, …, x << 0 >> 28]        ->      y = BitwiseAnd(x >> [0, 4, …, 28], 15)
"""

from __future__ import annotations

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.graph import Builder, Value
from converters.pattern import Match, Rule, const, op, var

NEUTRAL = {"Multiply": 1, "Divide": 1, "Add": 0, "Subtract": 0}
POWERS = {2.0: "Square", 0.5: "Sqrt", -0.5: "Rsqrt"}
WHOLE_POWERS = range(1, 64)  # of integers, as products: runtimes compute powers in floating point


def _check_neutral(m: Match) -> str | None:
    if m["c"].name != "constant":
        return "a parameter of the user's, which the artefact should hold"
    if m.number("c") != NEUTRAL[m.root.op]:
        return "the constant changes the result"
    if m.root.op in ("Divide", "Subtract") and m.root.inputs[1] is not m["c"]:
        return "the constant comes first"
    return None if m["x"].shape == m.root.output.shape else "the constant widens the result"


def _check_power(m: Match) -> str | None:
    if m["x"].shape != m.root.output.shape:
        return "the exponent widens the result"
    powers = POWERS if is_float(m["x"].dtype) else WHOLE_POWERS
    return None if m.number("c") in powers else "another exponent"


def _power(b: Builder, m: Match) -> Value:
    exponent, x = m.number("c"), m["x"]
    assert exponent is not None
    if is_float(x.dtype):
        return b(POWERS[exponent], x)
    result = x
    for bit in f"{int(exponent):b}"[1:]:
        result = b("Square", result)
        result = b("Multiply", result, x) if bit == "1" else result
    return result


def _check_square(m: Match) -> str | None:
    return "a truth value" if m["x"].dtype == "bool" else None


def _check_one(m: Match) -> str | None:
    if m.number("c") != 1 or m["x"].shape != m.root.output.shape:
        return "the dividend is not one"
    return None


def _is_exact(source: str, target: str) -> bool:
    """Whether every number of the type `source` is one of `target`."""
    return source == target or np.can_cast(numpy_dtype(source), numpy_dtype(target), "safe")


def _check_cast(m: Match) -> str | None:
    inner, outer = m["a"].dtype, m.root.output.dtype
    if not _is_exact(m["x"].dtype, inner) or "bool" in (inner, outer):
        return "the inner cast rounds"
    return None


def _same_type(m: Match) -> str | None:
    return None if m["x"].dtype == m.root.output.dtype else "the type changes"


def _swap_select(b: Builder, m: Match) -> Value:
    return b("Select", m["c"], m["y"], m["x"])


LOGICAL = {
    "BitwiseAnd": "LogicalAnd",
    "BitwiseOr": "LogicalOr",
    "BitwiseXor": "NotEqual",
    "BitwiseInvert": "LogicalNot",
}


def _check_bool(m: Match) -> str | None:
    return None if all(value.dtype == "bool" for value in m.root.inputs) else "numbers"


def _shifted(m: Match, value: Value) -> tuple[Value, int, int] | None:
    """The words, left shift and right shift of `Reshape(x << left >> right)` to a column."""
    shifts: list[int] = []
    for name in ("Reshape", "RightShift", "LeftShift"):
        node = m.graph.producers.get(value)
        if node is None or node.op != name:
            return None
        if name != "Reshape":
            amount = m.graph.constants.get(node.inputs[1])
            if amount is None or np.unique(amount).size != 1:
                return None
            shifts.append(int(amount.flat[0]))
        elif node.output.shape != (*node.inputs[0].shape, 1):
            return None
        value = node.inputs[0]
    return value, shifts[1], shifts[0]


def _check_codes(m: Match) -> str | None:
    found = [_shifted(m, value) for value in m.root.inputs]
    if m.root.output.dtype != "uint32" or any(part is None for part in found):
        return "no shifted words"
    if m.root.attrs["axis"] != len(m.root.output.shape) - 1:
        return "joined along another axis"
    words, bits = found[0][0], 32 // len(found)  # type: ignore[index]
    wanted = [(words, 32 - bits * (i + 1), 32 - bits) for i in range(len(found))]
    return None if found == wanted and 32 % len(found) == 0 else "other bits of the words"


def _codes(b: Builder, m: Match) -> Value:
    words, _, right = _shifted(m, m.root.inputs[0])  # type: ignore[misc]
    bits = 32 - right
    shifts = b.constant(np.arange(0, 32, bits), dtype="uint32")
    column = b("Reshape", words, shape=(*words.shape, 1))
    return b("BitwiseAnd", b("RightShift", column, shifts), b.constant(2**bits - 1, dtype="uint32"))


RULES = (
    Rule("codes", op("Concatenate"), _codes, _check_codes),
    Rule("logical", op("|".join(LOGICAL)), lambda b, m: b(LOGICAL[m.root.op], *m.root.inputs), _check_bool),
    Rule("square", op("Multiply", var("x"), var("x")), lambda b, m: b("Square", m["x"]), _check_square),
    Rule("power", op("Power", var("x"), const("c")), _power, _check_power),
    Rule("neutral", op("|".join(NEUTRAL), var("x"), const("c")), lambda b, m: m["x"], _check_neutral),
    Rule(
        "rsqrt", op("Divide", const("c"), op("Sqrt", var("x"))), lambda b, m: b("Rsqrt", m["x"]), _check_one
    ),
    Rule("no-cast", op("AsType", var("x")), lambda b, m: m["x"], _same_type),
    Rule(
        "cast-once",
        op("AsType", op("AsType", var("x"), name="a", shared=True)),
        lambda b, m: b("AsType", m["x"], dtype=m.root.attrs["dtype"]),
        _check_cast,
    ),
    Rule("twice-negative", op("Negative", op("Negative", var("x"), shared=True)), lambda b, m: m["x"]),
    Rule(
        "add-negative",
        op("Add", var("x"), op("Negative", var("y"))),
        lambda b, m: b("Subtract", m["x"], m["y"]),
    ),
    Rule("select-not", op("Select", op("LogicalNot", var("c")), var("x"), var("y")), _swap_select),
)

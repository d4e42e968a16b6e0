"""Activations, which MLX traces as elementwise ops.

y = Maximum(x, 0)                           ->      y = ReLU(x)
y = Multiply(x, Sigmoid(x))                 ->      y = SiLU(x)
"""

from __future__ import annotations

from converters.dtypes import is_float
from converters.pattern import Match, Rule, const, op, var


def _check_relu(m: Match) -> str | None:
    if m.number("zero") != 0:
        return "the other operand is not zero"
    if m["x"].shape != m.root.output.shape:
        return "the constant widens the result"
    return None if is_float(m["x"].dtype) else "not a floating-point type"


RULES = (
    Rule("relu", op("Maximum", var("x"), const("zero")), lambda b, m: b("ReLU", m["x"]), _check_relu),
    Rule("silu", op("Multiply", var("x"), op("Sigmoid", var("x"))), lambda b, m: b("SiLU", m["x"])),
)

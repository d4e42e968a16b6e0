"""Transposes that move only axes of one element are reshapes.

y = Transpose(x of (N, 28, 28, 1), axes=(0, 3, 1, 2))       ->      y = Reshape(x, shape=(N, 1, 28, 28))
"""

from __future__ import annotations

from converters.passes import reshapes
from converters.pattern import Match, Rule, op, var


def _only_units_move(m: Match) -> str | None:
    kept = [axis for axis in m.root.attrs["axes"] if m["x"].shape[axis] != 1]
    return None if kept == sorted(kept) else "axes move"


RULES = (
    *reshapes.RULES,
    Rule(
        "unit-transpose",
        op("Transpose", var("x")),
        lambda b, m: b("Reshape", m["x"], shape=m.root.output.shape),
        _only_units_move,
    ),
)

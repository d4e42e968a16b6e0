"""A sum divided by the number of its terms is a mean.

    s = Reduce(x, kind=sum, axes=(2))
    y = Multiply(s, 1/192)                      ->      y = Reduce(x, kind=mean, axes=(2))

The factor may also be computed from named sizes.
"""

from __future__ import annotations

from converters.dtypes import is_float
from converters.graph import Builder, Value
from converters.pattern import Match, Rule, const, either, op, var
from converters.sizes import product

_SUM = op("Reduce", var("x"), name="r", kind="sum")
_SIZE = op("Dimension", name="size", shared=True)
_RECIPROCAL = op("Divide", const("one"), _SIZE, shared=True)


def _check(m: Match) -> str | None:
    reduce = m.node("r")
    if not is_float(m["x"].dtype) or reduce.attrs["dtype"] != m["x"].dtype:
        return "not a floating-point type"
    if m.root.output.shape != reduce.output.shape:
        return "the factor widens the result"
    count = product(m["x"].shape[axis] for axis in reduce.attrs["axes"])
    if "size" in m.bound:
        if "one" in m.bound and m.number("one") != 1:
            return "not a reciprocal"
        return None if m.node("size").attrs["size"] == count else "another size"
    factor = m.number("factor")
    if factor is None or not isinstance(count, int) or factor == 0:
        return "no constant factor"
    terms = factor if m.root.op == "Divide" else 1 / factor
    tolerance = 1e-6 if m["x"].dtype in ("float32", "float64") else 2e-3
    return None if abs(terms - count) <= tolerance * count else "the factor is not the number of terms"


def _mean(b: Builder, m: Match) -> Value:
    node = m.node("r")
    return b("Reduce", m["x"], **{**node.attrs, "kind": "mean"})


RULES = (
    Rule("mean", op("Multiply", _SUM, either(const("factor"), _RECIPROCAL)), _mean, _check),
    Rule("mean", op("Divide", _SUM, either(const("factor"), _SIZE)), _mean, _check),
)

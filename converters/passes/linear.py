"""Products with a constant matrix become linear layers; these and convolutions take in what is added to them.

y = AddMM(x, weight.T, bias, alpha=1, beta=1)      ->      y = Linear(x, weight, bias)

c = Convolution(x, weight)
y = Add(c, bias)                            ->      y = Convolution(x, weight, bias)

f = Reshape(x, shape=(batch*length, 8))             y = Linear(x, weight)
y = Linear(f, weight)                       ->      z = Reshape(y, shape=(batch*length, 16))
"""

from __future__ import annotations

from converters.dtypes import is_float
from converters.graph import Builder, Node, Value
from converters.passes import reshapes
from converters.pattern import Match, Rule, const, op, var
from converters.sizes import AnySize, Shape


def _vector(m: Match, name: str, length: object, rank: int) -> Value | None:
    """The named operand if it is a vector of the length, or has that many elements behind unit axes, of which
    a result of the rank has no fewer."""
    value = m[name]
    long = value.shape and value.shape[-1] == length and len(value.shape) <= rank
    return value if long and all(s == 1 for s in value.shape[:-1]) else None


def _check_product(m: Match) -> str | None:
    if len(m["w"].shape) != 2:
        return "the weight is no matrix"
    return None if is_float(m["x"].dtype) else "an integer product"


def _check_addmm(m: Match) -> str | None:
    if m.root.attrs["alpha"] != 1 or m.root.attrs["beta"] != 1:
        return "scaled"
    if _vector(m, "bias", m["w"].shape[-1], len(m["x"].shape)) is None:
        return "the bias is no vector"
    return _check_product(m)


def _flat(b: Builder, bias: Value) -> Value:
    return bias if len(bias.shape) == 1 else b("Reshape", bias, shape=bias.shape[-1:])


def _linear(b: Builder, m: Match) -> Value:
    bias = (_flat(b, m["bias"]),) if "bias" in m.bound else ()
    return b("Linear", m["x"], b("Transpose", m["w"], axes=(1, 0)), *bias)


def _check_bias(m: Match) -> str | None:
    node = m.node("y")
    if len(node.inputs) == 3:
        return "has a bias"
    length = node.inputs[1].shape[0]
    if node.op == "Convolution" and node.attrs["channels_first"]:
        return "channels come first"
    return "no vector over the outputs" if _vector(m, "bias", length, len(m["y"].shape)) is None else None


def _take_bias(b: Builder, m: Match) -> Value:
    node = m.node("y")
    return b(node.op, *node.inputs, _flat(b, m["bias"]), **node.attrs)


def _check_rows(m: Match) -> str | None:
    flat, x = m.node("f").output.shape, m["x"].shape
    if len(x) < 3 or len(flat) != 2 or x[-1] != flat[-1]:
        return "the last axis changes"
    readers = m.graph.source.users.get(m.root.output, ())
    if len(readers) == 1 and readers[0].op == "Reshape" and _keeps_last(readers[0], m.root.output):
        return "the rows are taken apart otherwise"
    return "only axes of one element go" if _without_units(flat) == _without_units(x) else None


def _keeps_last(node: Node, value: Value) -> bool:
    shape = node.output.shape
    return len(shape) > 2 and shape[-1] == value.shape[-1]


def _check_back(m: Match) -> str | None:
    flat, x = m.node("f").output.shape, m["x"].shape
    if len(x) < 3 or len(flat) != 2 or len(m.root.output.shape) < 3:
        return "the rows are not joined and taken apart"
    return None if m.root.output.shape[-1] == m["y"].shape[-1] else "the results are taken apart"


def _rows_back(b: Builder, m: Match) -> Value:
    shape = (*m.root.output.shape[:-1], m["f"].shape[-1])
    return b("Linear", b("Reshape", m["x"], shape=shape), *m.node("y").inputs[1:])


def _without_units(shape: Shape) -> list[AnySize]:
    return [size for size in shape if size != 1]


def _keep_rank(b: Builder, m: Match) -> Value:
    return b("Reshape", b("Linear", m["x"], *m.root.inputs[1:]), shape=m.root.output.shape)


_ROWS = op("Reshape", var("x"), name="f", shared=True)

ROWS = (
    *reshapes.RULES,
    Rule("rows", op("Linear", _ROWS, var("w")), _keep_rank, _check_rows),
    Rule("rows", op("Linear", _ROWS, var("w"), var("b")), _keep_rank, _check_rows),
    Rule("rows-back", op("Reshape", op("Linear", _ROWS, var("w"), name="y")), _rows_back, _check_back),
    Rule(
        "rows-back", op("Reshape", op("Linear", _ROWS, var("w"), var("b"), name="y")), _rows_back, _check_back
    ),
)

BIASES = (
    Rule("bias", op("Add", op("Linear|Convolution", name="y"), const("bias")), _take_bias, _check_bias),
)

RULES = (
    *ROWS,
    *BIASES,
    Rule("linear", op("AddMM", var("x"), const("w"), var("bias")), _linear, _check_addmm),
    Rule("product", op("Matmul", var("x"), const("w")), _linear, _check_product),
)

"""Scales and shifts of channels go into the weights of the linear layer or convolution before them.

    y = Convolution(x, w, b)
    z = Multiply(Add(y, c), s)                  ->      z = Convolution(x, w * s, (b + c) * s)

So BatchNorm at inference, four ops with constants, vanishes; elsewhere its constants are joined to one scale
and one shift. Weights that others use, or that are too large to copy, stay as they are.
"""

from __future__ import annotations

import numpy as np

from converters.dtypes import is_float
from converters.graph import Builder, Node, Value
from converters.passes import linear
from converters.passes.normalizations import is_vector
from converters.pattern import Match, Rule, const, op, var

LARGEST = 1 << 22  # elements of weights that may be copied


def _length(node: Node) -> object:
    return node.inputs[1].shape[0]


def _check_layer(m: Match) -> str | None:
    node = m.node("y")
    weight = node.inputs[1]
    if weight not in m.graph.constants or any(bias not in m.graph.constants for bias in node.inputs[2:]):
        return "the weights are computed"
    if node.op == "Convolution" and node.attrs["channels_first"]:
        return "channels come first"
    if not is_float(weight.dtype) or m["s"].dtype != weight.dtype:
        return "not a floating-point type"
    if m.root.output.shape != m["y"].shape or not _per_channel(m["s"], _length(node)):
        return "no factor per channel"
    if m.graph.uses.get(weight, 0) > 1:
        return "the weights have other users"
    if m.root.op == "Divide" and m.root.inputs[0] is m["s"]:
        return "the constant is divided"
    return "the weights are too large to copy" if m.graph.constants[weight].size > LARGEST else None


def _per_channel(value: Value, length: object) -> bool:
    return is_vector(value, length) or all(size == 1 for size in value.shape)


def _scale_layer(b: Builder, m: Match) -> Value:
    node = m.node("y")
    weight, *bias = (m.graph.constants[value] for value in node.inputs[1:])
    factor = m.array("s").astype(np.float64).reshape(-1)
    factor = 1 / factor if m.root.op == "Divide" else factor
    scaled = [weight * factor.reshape(-1, *(1,) * (weight.ndim - 1)), *(array * factor for array in bias)]
    names = [value.name for value in node.inputs[1:]]
    kept = [b.constant(a, name, dtype=node.output.dtype) for a, name in zip(scaled, names, strict=True)]
    return b(node.op, node.inputs[0], *kept, **node.attrs)


def _check_shift(m: Match) -> str | None:
    node = m.node("y")
    if len(node.inputs) != 3 or node.inputs[2] not in m.graph.constants:
        return "has no constant bias"
    if node.op == "Convolution" and node.attrs["channels_first"]:
        return "channels come first"
    if m.root.output.shape != m["y"].shape or not _per_channel(m["c"], _length(node)):
        return "no constant per channel"
    return "the constant comes first" if m.root.op == "Subtract" and m.root.inputs[0] is m["c"] else None


def _shift_layer(b: Builder, m: Match) -> Value:
    node = m.node("y")
    step = b(m.root.op, node.inputs[2], _flat(b, m["c"]))
    return b(node.op, *node.inputs[:2], _named(b, step, node.inputs[2].name), **node.attrs)


def _flat(b: Builder, value: Value) -> Value:
    return b("Reshape", value, shape=value.shape[-1:]) if len(value.shape) > 1 else value


def _named(b: Builder, value: Value, name: str) -> Value:
    return b.constant(b.constants[value], name) if value in b.constants else value


def _check_batch_norm(m: Match) -> str | None:
    x = m["x"]
    if not is_float(x.dtype) or m.root.output.shape != x.shape:
        return "not a floating-point type, or a constant widens the result"
    constants = [m[name] for name in ("mean", "r", "w", "b") if name in m.bound]
    if any(not is_vector(value, x.shape[-1]) for value in constants):
        return "not one number per channel"
    return None


def _scale_and_shift(b: Builder, m: Match) -> Value:
    factor = m.array("r").astype(np.float64) * (m.array("w").astype(np.float64) if "w" in m.bound else 1)
    shift = (m.array("b").astype(np.float64) if "b" in m.bound else 0) - m.array("mean").astype(
        np.float64
    ) * factor
    names = (m["w"].name, m["b"].name) if "w" in m.bound and "b" in m.bound else (m["r"].name, m["mean"].name)
    scale, offset = (
        b.constant(a.reshape(-1), name, dtype=m["x"].dtype)
        for a, name in zip((factor, shift), names, strict=True)
    )
    return b("Add", b("Multiply", m["x"], scale), offset)


_LAYER = op("Linear|Convolution", name="y")
_STANDARD = op("Multiply", op("Subtract", var("x"), const("mean")), const("r"))

RULES = (
    *linear.BIASES,
    Rule("scale-layer", op("Multiply|Divide", _LAYER, const("s")), _scale_layer, _check_layer),
    Rule("shift-layer", op("Add|Subtract", _LAYER, const("c")), _shift_layer, _check_shift),
    Rule(
        "batch-norm",
        op("Add", op("Multiply", _STANDARD, const("w")), const("b")),
        _scale_and_shift,
        _check_batch_norm,
    ),
)

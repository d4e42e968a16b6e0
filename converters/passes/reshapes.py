"""Chains of reshapes and transposes become one or none, paddings without width none; a reduction drops its
unit axes itself.

a = Reshape(x, shape=s)
b = Reshape(a, shape=t)         ->      b = Reshape(x, shape=t)

a = Reduce(x, axes=(1,), keepdims=True)
b = Reshape(a, without axis 1)  ->      b = Reduce(x, axes=(1,), keepdims=False)
"""

from __future__ import annotations

from converters.graph import Builder, Value
from converters.ops.reduce import reduced
from converters.pattern import Match, Rule, op, var


def _same_shape(m: Match) -> str | None:
    return None if m["x"].shape == m.root.output.shape else "the shape changes"


def _pads_nothing(m: Match) -> str | None:
    return "pads" if any((*m.root.attrs["low"], *m.root.attrs["high"])) else None


def _merge_transposes(b: Builder, m: Match) -> Value:
    inner, outer = m.node("t").attrs["axes"], m.root.attrs["axes"]
    return b("Transpose", m["x"], axes=tuple(inner[axis] for axis in outer))


def _is_identity(m: Match) -> str | None:
    return None if m.root.attrs["axes"] == tuple(range(len(m["x"].shape))) else "axes move"


def _squeeze_reduction(b: Builder, m: Match) -> Value:
    node = m.node("r")
    return b(node.op, m["x"], **{**node.attrs, "keepdims": False})


def _drops_reduced_axes(m: Match) -> str | None:
    node = m.node("r")
    axes = node.attrs["axes"] if node.op == "Reduce" else (node.attrs["axis"],)
    ((shape, _),) = reduced(m["x"], axes, False, "")
    return None if node.attrs["keepdims"] and shape == m.root.output.shape else "other axes change"


def _reshaped(b: Builder, m: Match) -> Value:
    return b("Reshape", m["x"], shape=m.root.attrs["shape"])


def _moves_units(m: Match) -> str | None:
    kept = [[size for size in value.shape if size != 1] for value in (m["x"], m["r"])]
    return None if kept[0] == kept[1] else "not only axes of one element come or go"


def _transpose_first(b: Builder, m: Match) -> Value:
    """The axes of x that have more than one element in the order that the transpose gives them."""
    x, before = m["x"], m["r"].shape
    order = [axis for axis in m.root.attrs["axes"] if before[axis] != 1]
    places = [axis for axis, size in enumerate(x.shape) if size != 1]
    rank = dict(zip(sorted(order), places, strict=True))
    moved = iter([rank[axis] for axis in order])
    axes = tuple(axis if size == 1 else next(moved) for axis, size in enumerate(x.shape))
    return b("Reshape", b("Transpose", x, axes=axes), shape=m.root.output.shape)


UNITS = (
    Rule(
        "units-later",
        op("Transpose", op("Reshape", var("x"), name="r")),
        _transpose_first,
        _moves_units,
    ),
)

RULES = (
    Rule("merge-reshapes", op("Reshape", op("Reshape", var("x"), shared=True)), _reshaped),
    Rule("drop-reshape", op("Reshape|Broadcast", var("x")), lambda b, m: m["x"], _same_shape),
    Rule(
        "merge-transposes",
        op("Transpose", op("Transpose", var("x"), name="t", shared=True)),
        _merge_transposes,
    ),
    Rule("drop-pad", op("Pad", var("x"), var("value")), lambda b, m: m["x"], _pads_nothing),
    Rule("drop-transpose", op("Transpose", var("x")), lambda b, m: m["x"], _is_identity),
    Rule(
        "squeeze-reduction",
        op("Reshape", op("Reduce|ArgReduce", var("x"), name="r")),
        _squeeze_reduction,
        _drops_reduced_axes,
    ),
)

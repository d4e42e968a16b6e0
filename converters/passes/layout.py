"""Convolutions and poolings take channels first, as the targets do; the transposes move to the edges.

    y = Convolution(x, w)                             a = Transpose(x, axes=(0, 3, 1, 2))
    z = ReLU(y)                                       y = Convolution(a, w', channels_first=True)
                                                ->    z' = ReLU(y)
                                                      z = Transpose(z', axes=(0, 2, 3, 1))

Transposes sink through ops that do not mind the order of axes until they meet their inverse, the weights of a
linear layer that follows a flattening, or an output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.graph import Builder, Value
from converters.ops import OPS
from converters.ops.activation import ACTIVATIONS
from converters.ops.convolution import to_first, to_last
from converters.ops.elementwise import ELEMENTWISE
from converters.ops.shape import inverse_permutation
from converters.passes import reshapes, sinking
from converters.pattern import Match, Rule, const, op, var
from converters.sizes import Shape, is_static

ONE_AXIS = "Softmax|LogSumExp|Sort|ArgSort|Partition|ArgPartition|Scan|LogSoftmax"


def _channels_first(b: Builder, m: Match) -> Value:
    expand = OPS[m.root.op].expand
    assert expand is not None
    result = expand(b, *m.root.inputs, **m.root.attrs)
    assert isinstance(result, Value)
    return result


def _groups_first(b: Builder, m: Match) -> Value:
    rank = len(m.root.output.shape)
    x = b("Transpose", m.root.inputs[0], axes=to_first(rank))
    y = b("GroupNorm", x, *m.root.inputs[1:], **{**m.root.attrs, "channels_first": True})
    return b("Transpose", y, axes=to_last(rank))


def _pays(m: Match, axes: tuple[int, ...]) -> bool:
    """Whether a transpose that several read should sink into each: one behind a convolution will cancel."""
    if "has-channels" not in m.graph.facts:
        ops = {node.op for node in m.graph.source.nodes}
        m.graph.facts["has-channels"] = bool(ops & {"Convolution", "MaxPool", "AvgPool", "GroupNorm"})
    return m.graph.facts["has-channels"] and axes == to_last(len(axes))


def _transposed_axes(m: Match) -> tuple[int, ...] | None:
    """The permutation shared by all transposed operands of the root, or None."""
    found = set()
    for value in m.root.inputs:
        node = m.graph.producers.get(value)
        if node is not None and node.op == "Transpose":
            axes = node.attrs["axes"]
            if m.graph.uses.get(value, 0) > 1 and not _pays(m, axes):
                return None
            found.add(axes)
    return found.pop() if len(found) == 1 else None


def _before(m: Match, value: Value, axes: tuple[int, ...], b: Builder | None = None) -> Value | None:
    """What `value` is before the transpose by `axes`; None where that is not known for free."""
    node = m.graph.producers.get(value)
    if node is not None and node.op == "Transpose" and node.attrs["axes"] == axes:
        return node.inputs[0]
    if all(size == 1 for size in value.shape):
        return value
    if value not in m.graph.constants and not _in_order(value, inverse_permutation(axes)):
        return None
    if b is None:
        return value
    wide = b("Reshape", value, shape=_wide(value.shape, len(axes)))
    return b("Transpose", wide, axes=inverse_permutation(axes))


def _in_order(value: Value, axes: tuple[int, ...]) -> bool:
    """Whether a transpose by `axes` moves only axes of one element."""
    kept = [axis for axis in axes if _wide(value.shape, len(axes))[axis] != 1]
    return kept == sorted(kept)


def _wide(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


def _check_elementwise(m: Match) -> str | None:
    axes = _transposed_axes(m)
    if axes is None or len(axes) != len(m.root.output.shape):
        return "no common transpose"
    known = [_before(m, value, axes) for value in m.root.inputs]
    if any(value is None for value in known):
        return "an operand has another layout"
    back = inverse_permutation(axes)
    turned = [v for v, k in zip(m.root.inputs, known, strict=True) if v is k and v not in m.graph.constants]
    if any(size != 1 for value in turned for size in value.shape) and all(
        _in_order(value, back) for value in m.root.inputs if value not in turned
    ):
        return "only axes of one element move, which would come back for the other operand"
    return None


def _sink_elementwise(b: Builder, m: Match) -> Value:
    axes = _transposed_axes(m)
    assert axes is not None
    operands = [_before(m, value, axes, b) for value in m.root.inputs]
    y = b(m.root.op, *(value for value in operands if value is not None), **m.root.attrs)
    return b("Transpose", y, axes=axes)


def _check_concatenate(m: Match) -> str | None:
    axes = _transposed_axes(m)
    producers = [m.graph.producers.get(value) for value in m.root.inputs]
    if axes is None or any(node is None or node.op != "Transpose" for node in producers):
        return "not all operands are transposed alike"
    return None


def _sink_concatenate(b: Builder, m: Match) -> Value:
    axes = _transposed_axes(m)
    assert axes is not None
    operands = [m.graph.producers[value].inputs[0] for value in m.root.inputs]
    return b("Transpose", b("Concatenate", *operands, axis=axes[m.root.attrs["axis"]]), axes=axes)


def _movable(m: Match) -> str | None:
    axes = m.node("t").attrs["axes"]
    if m.graph.uses.get(m["t"], 0) > 1 and not _pays(m, axes):
        return "the transposed value has other uses"
    return None


def _sink_one_axis(b: Builder, m: Match) -> Value:
    axes = m.node("t").attrs["axes"]
    y = b(m.root.op, m["x"], **{**m.root.attrs, "axis": axes[m.root.attrs["axis"]]})
    return b("Transpose", y, axes=axes)


def _check_gather(m: Match) -> str | None:
    return _movable(m) if len(m["indices"].shape) == 1 else "the indices are no vector"


def _sink_gather(b: Builder, m: Match) -> Value:
    axes = m.node("t").attrs["axes"]
    y = b("Gather", m["x"], m["indices"], axis=axes[m.root.attrs["axis"]])
    return b("Transpose", y, axes=axes)


def _sink_reduce(b: Builder, m: Match) -> Value:
    axes, attrs = m.node("t").attrs["axes"], dict(m.root.attrs)
    gone = attrs["axes"] if m.root.op == "Reduce" else (attrs["axis"],)
    moved = tuple(sorted(axes[axis] for axis in gone))
    y = b(
        m.root.op, m["x"], **{**attrs, **({"axes": moved} if m.root.op == "Reduce" else {"axis": moved[0]})}
    )
    if attrs["keepdims"]:
        return b("Transpose", y, axes=axes)
    left = [axis for position, axis in enumerate(axes) if position not in gone]
    order = tuple(int(i) for i in np.argsort(np.argsort(left)))
    return b("Transpose", y, axes=order)


def _sink_per_axis(b: Builder, m: Match) -> Value:
    """Pad, Slice and Repeat: their attributes list one entry per axis."""
    axes = m.node("t").attrs["axes"]
    back = inverse_permutation(axes)
    attrs: dict[str, Any] = {
        name: tuple(value[axis] for axis in back) for name, value in m.root.attrs.items()
    }
    y = b(m.root.op, m["x"], *m.root.inputs[1:], **attrs)
    return b("Transpose", y, axes=axes)


def _check_flattened(m: Match) -> str | None:
    axes, before, flat = m.node("t").attrs["axes"], m["x"].shape, m.node("f").output.shape
    if axes[0] == 0 and is_static(before[1:]) and len(flat) == 2 and flat[0] == before[0]:
        return None
    return "does not flatten all but the batch"


def _first_axes(axes: tuple[int, ...]) -> tuple[int, ...]:
    """For weights (outputs, *axes[1:]): the permutation back to the order before the transpose."""
    return (0, *(i + 1 for i in inverse_permutation(tuple(axis - 1 for axis in axes[1:]))))


def _linear_after_flattening(b: Builder, m: Match) -> Value:
    axes = m.node("t").attrs["axes"]
    outputs = m["w"].shape[0]
    last = tuple(m["x"].shape[axis] for axis in axes[1:])
    weight = b("Transpose", b("Reshape", m["w"], shape=(outputs, *last)), axes=_first_axes(axes))
    flat = b("Reshape", m["x"], shape=m.node("f").output.shape)
    return b("Linear", flat, b("Reshape", weight, shape=m["w"].shape), *m.root.inputs[2:])


_TRANSPOSED = op("Transpose", var("x"), name="t", shared=True)
_FLAT = op("Reshape", op("Transpose", var("x"), name="t", shared=True), name="f")

RULES = (
    *reshapes.RULES,
    *reshapes.UNITS,
    Rule(
        "channels-first",
        op("Convolution|MaxPool|AvgPool", channels_first=False),
        _channels_first,
    ),
    Rule("groups-first", op("GroupNorm", channels_first=False), _groups_first),
    Rule(
        "sink-elementwise",
        op("|".join([*sorted(ELEMENTWISE), *ACTIVATIONS])),
        _sink_elementwise,
        _check_elementwise,
    ),
    *sinking.rules(_movable),
    Rule("sink-concatenate", op("Concatenate"), _sink_concatenate, _check_concatenate),
    Rule("sink-one-axis", op(ONE_AXIS, _TRANSPOSED), _sink_one_axis, _movable),
    Rule("sink-gather", op("Gather", _TRANSPOSED, var("indices")), _sink_gather, _check_gather),
    Rule("sink-reduce", op("Reduce|ArgReduce", _TRANSPOSED), _sink_reduce, _movable),
    Rule("sink-slice", op("Slice|Repeat", _TRANSPOSED), _sink_per_axis, _movable),
    Rule("sink-pad", op("Pad", _TRANSPOSED, var("value")), _sink_per_axis, _movable),
    Rule(
        "linear-after-flattening", op("Linear", _FLAT, const("w")), _linear_after_flattening, _check_flattened
    ),
    Rule(
        "linear-after-flattening",
        op("Linear", _FLAT, const("w"), var("b")),
        _linear_after_flattening,
        _check_flattened,
    ),
)

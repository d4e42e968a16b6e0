"""Transposes sink through what takes an array apart or puts it together; of two layouts the first wins.

    t = Transpose(x, axes=(0, 2, 3, 1))                 r = Reshape(x, shape=(n, 2, c, h, w))
    y = Reshape(t, shape=(n, h, w, 2, c))       ->      y = Transpose(r, axes=(0, 3, 4, 1, 2))

    t = Transpose(x, axes=(0, 2, 3, 1))                 a = Transpose(y, axes=(0, 3, 1, 2))
    z = Add(t, y), then transposed back         ->      z = Transpose(Add(x, a), axes=(0, 2, 3, 1))

    t = Transpose(x, axes=(0, 2, 3, 1))                 c = Convolution(x, w as (outputs, 1, 1, inputs))
    y = Linear(t, w), only added to others      ->      y = Transpose(c, axes=(0, 2, 3, 1))

They are part of the layout pass, which moves transposes to where they meet their inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.activation import ACTIVATIONS
from converters.ops.convolution import to_first, to_last
from converters.ops.elementwise import ELEMENTWISE
from converters.pattern import Match, Rule, const, op, var
from converters.sizes import AnySize, Shape, divide

Groups = list[tuple[list[int], list[int]]]
Check = Callable[[Match], str | None]


def _groups(before: Shape, after: Shape) -> Groups | None:
    """Runs of axes before and after a reshape that hold the same elements; None where they cannot be told."""
    groups: Groups = []
    i = j = 0
    while i < len(before) and j < len(after):
        left, right = [i], [j]
        here, there = before[i], after[j]
        while here != there:
            if _divides(there, here) and right[-1] + 1 < len(after):
                right.append(right[-1] + 1)
                there = there * after[right[-1]]
            elif _divides(here, there) and left[-1] + 1 < len(before):
                left.append(left[-1] + 1)
                here = here * before[left[-1]]
            else:
                return None
        groups.append((left, right))
        i, j = left[-1] + 1, right[-1] + 1
    if not groups or any(size != 1 for size in (*before[i:], *after[j:])):
        return None
    groups[-1][0].extend(range(i, len(before)))
    groups[-1][1].extend(range(j, len(after)))
    return groups


def _divides(divisor: AnySize, size: AnySize) -> bool:
    try:
        divide(size, divisor)
    except ShapeError:
        return False
    return True


def _reshaping(m: Match) -> tuple[tuple[int, ...], Shape, tuple[int, ...]] | None:
    """Inner transpose, shape and outer transpose that do the same the other way round; None where the axes
    cannot be told apart."""
    axes, after = m.node("t").attrs["axes"], m.root.output.shape
    groups = _groups(m["t"].shape, after)
    if groups is None:
        return None
    order = sorted(groups, key=lambda group: min(axes[axis] for axis in group[0]))
    inner = tuple(axes[axis] for left, _ in order for axis in left)
    places = [axis for _, right in order for axis in right]
    outer = tuple(places.index(axis) for axis in range(len(after)))
    return inner, tuple(after[axis] for axis in places), outer


def _check_reshape(movable: Check) -> Check:
    def check(m: Match) -> str | None:
        before, after = m["t"].shape, m.root.output.shape
        if [size for size in before if size != 1] == [size for size in after if size != 1]:
            return "only axes of one element come or go"
        found = _reshaping(m)
        if found is None:
            return "axes are joined and taken apart"
        inner, _, outer = found
        if inner != tuple(range(len(inner))) and (len(outer) < 3 or outer != to_last(len(outer))):
            return "axes are joined that the transpose brought together"
        return movable(m)

    return check


def _sink_reshape(b: Builder, m: Match) -> Value:
    found = _reshaping(m)
    assert found is not None
    inner, shape, outer = found
    x = m["x"] if inner == tuple(range(len(inner))) else b("Transpose", m["x"], axes=inner)
    return b("Transpose", b("Reshape", x, shape=shape), axes=outer)


def _sink_split(b: Builder, m: Match) -> tuple[Value, ...]:
    axes = m.node("t").attrs["axes"]
    parts = b.outputs("Split", m["x"], **{**m.root.attrs, "axis": axes[m.root.attrs["axis"]]})
    return tuple(b("Transpose", part, axes=axes) for part in parts)


def _is_last(m: Match, value: Value) -> bool:
    """Whether the value is what came channels first, turned to channels last."""
    node = m.graph.producers.get(value)
    return node is not None and node.op == "Transpose" and node.attrs["axes"] == to_last(len(value.shape))


def _check_mixed(m: Match) -> str | None:
    """Two operands in full, one of them transposed, and the result is transposed back by what reads it."""
    rank = len(m.root.output.shape)
    full = [value for value in m.root.inputs if value.shape == m.root.output.shape]
    if rank < 3 or len(full) != 2 or len(m.root.inputs) != 2 or full[0] is full[1]:
        return "not two arrays of the result's shape"
    if sum(_is_last(m, value) for value in full) != 1:
        return "not one of them came channels first"
    readers = m.graph.source.users.get(m.root.output, ())
    back = any(r.op == "Transpose" and r.attrs["axes"] == to_first(rank) for r in readers)
    return None if back else "nothing that reads it wants channels first"


def _mixed(b: Builder, m: Match) -> Value:
    rank = len(m.root.output.shape)
    operands = [
        m.graph.producers[value].inputs[0]
        if _is_last(m, value)
        else b("Transpose", value, axes=to_first(rank))
        for value in m.root.inputs
    ]
    return b("Transpose", b(m.root.op, *operands, **m.root.attrs), axes=to_last(rank))


def _check_pointwise(m: Match) -> str | None:
    if len(m.root.output.shape) != 4 or m.node("t").attrs["axes"] != to_last(4):
        return "no picture whose channels came first"
    readers = m.graph.source.users.get(m.root.output, ())
    if not readers or not all(r.op in ELEMENTWISE and len(r.inputs) == 2 for r in readers):
        return "not only added to others"
    others = [value for r in readers for value in r.inputs if value is not m.root.output]
    known = m.graph.source.producers
    last = all(
        v in known and known[v].op == "Transpose" and known[v].attrs["axes"] == to_last(4) for v in others
    )
    return None if last else "what it is added to is channels last"


def _pointwise(b: Builder, m: Match) -> Value:
    outputs, inputs = m["w"].shape
    weight = b("Reshape", m["w"], shape=(outputs, 1, 1, inputs))
    y = b("Transpose", m["x"], axes=to_last(4))
    none: dict[str, Any] = {"strides": (1, 1), "low": (0, 0), "high": (0, 0), "dilation": (1, 1)}
    none |= {"input_dilation": (1, 1), "groups": 1, "flip": False, "channels_first": False}
    return b("Convolution", y, weight, *m.root.inputs[2:], **none)


_TRANSPOSED = op("Transpose", var("x"), name="t", shared=True)


def rules(movable: Check) -> tuple[Rule, ...]:
    """The rules; `movable` says why a transpose that several read stays where it is."""
    return (
        Rule("sink-reshape", op("Reshape", _TRANSPOSED), _sink_reshape, _check_reshape(movable)),
        Rule("sink-split", op("Split", _TRANSPOSED), _sink_split, movable),
        Rule("first-wins", op("|".join([*sorted(ELEMENTWISE), *ACTIVATIONS])), _mixed, _check_mixed),
        Rule("pointwise", op("Linear", _TRANSPOSED, const("w")), _pointwise, _check_pointwise),
        Rule("pointwise", op("Linear", _TRANSPOSED, const("w"), const("b")), _pointwise, _check_pointwise),
    )

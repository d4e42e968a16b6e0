"""What was given an axis of its own and is taken apart along it becomes parts of the axis it was made of.

    r = Reshape(x of (B, N, 3*H*D), shape=(B, N, 3, H, D))      a, b, c = Split(x, axis=2)
    t = Transpose(r, axes=(2, 0, 3, 1, 4))                      q = Transpose(Reshape(a), axes=(0, 2, 1, 3))
    q = Gather(t, 0)                                    ->      k = Transpose(Reshape(b), axes=(0, 2, 1, 3))
    k = Gather(t, 1)                                            v = Transpose(Reshape(c), axes=(0, 2, 1, 3))
    v = Gather(t, 2)

Vision Transformers have their queries, keys and values from one layer in this way.
"""

from __future__ import annotations

from typing import Any

from converters.graph import Builder, Node, Value
from converters.passes import reshapes
from converters.passes.slices import cut_axes
from converters.pattern import Match, Rule, const, op, var
from converters.sizes import AnySize, product


def _only(shape: tuple[AnySize, ...], axis: int, start: AnySize, end: AnySize) -> dict[str, Any]:
    """Attributes of a slice along one axis."""
    first, last = [0] * len(shape), list(shape)
    first[axis], last[axis] = start, end  # type: ignore[call-overload]
    return {"start": tuple(first), "end": tuple(last), "strides": (1,) * len(shape)}


def _check_one_of(m: Match) -> str | None:
    size, place = m["x"].shape[m.root.attrs["axis"]], m.array("place")
    if place.ndim or not isinstance(size, int):
        return "not one of a known number"
    node = m.graph.producers.get(m["x"])
    if size > 1 and (node is None or node.op not in ("Transpose", "Reshape")):
        return "not stacked"
    return None if -size <= int(place) < size else "beyond the axis"


def _one_of(b: Builder, m: Match) -> Value:
    x, axis = m["x"], m.root.attrs["axis"]
    place = int(m.array("place")) % x.shape[axis]  # type: ignore[operator]
    part = x if x.shape[axis] == 1 else b("Slice", x, **_only(x.shape, axis, place, place + 1))
    return b("Reshape", part, shape=m.root.output.shape)


def _check_unit(m: Match) -> str | None:
    """A slice that leaves one element of one axis, or a split into such parts."""
    if m.root.op == "Split":
        return None if set(m.root.attrs["sizes"]) == {1} else "parts of several"
    cut = cut_axes(m.root)
    return None if len(cut) == 1 and m.root.output.shape[cut[0]] == 1 else "more than one element is left"


def _axis(node: Node) -> int:
    return node.attrs["axis"] if node.op == "Split" else cut_axes(node)[0]


def _before_transpose(b: Builder, m: Match) -> tuple[Value, ...]:
    axes = m.node("t").attrs["axes"]
    axis = axes[_axis(m.root)]
    if m.root.op == "Split":
        parts = b.outputs("Split", m["x"], sizes=m.root.attrs["sizes"], axis=axis)
    else:
        start = m.root.attrs["start"][_axis(m.root)]
        parts = (b("Slice", m["x"], **_only(m["x"].shape, axis, start, start + 1)),)
    return tuple(b("Transpose", part, axes=axes) for part in parts)


def _check_stacked(m: Match) -> str | None:
    reason = _check_unit(m)
    if reason is not None:
        return reason
    before, after, axis = m["x"].shape, m["r"].shape, _axis(m.root)
    if len(before) != axis + 1 or before[:axis] != after[:axis] or not isinstance(before[-1], int):
        return "the axis is not the first of what the last one became"
    return None


def _before_reshape(b: Builder, m: Match) -> tuple[Value, ...]:
    x, axis = m["x"], _axis(m.root)
    width = product(m["r"].shape[axis + 1 :])
    if m.root.op == "Split":
        parts = b.outputs("Split", x, sizes=(width,) * len(m.root.outputs), axis=axis)
    else:
        start = m.root.attrs["start"][axis] * width
        parts = (b("Slice", x, **_only(x.shape, axis, start, start + width)),)
    return tuple(
        b("Reshape", part, shape=whole.shape) for part, whole in zip(parts, m.root.outputs, strict=True)
    )


def _check_dropped(m: Match) -> str | None:
    before, after = m["t"].shape, m.root.output.shape
    fewer = len(after) < len(before) and [s for s in before if s != 1] == [s for s in after if s != 1]
    return None if fewer and 1 not in after else "other axes change"


def _drop_first(b: Builder, m: Match) -> Value:
    """The transpose of what is left without the axes of one element."""
    shape, axes = m["x"].shape, m.node("t").attrs["axes"]
    kept = [axis for axis, size in enumerate(shape) if size != 1]
    order = tuple(kept.index(axis) for axis in axes if shape[axis] != 1)
    return b("Transpose", b("Reshape", m["x"], shape=tuple(shape[axis] for axis in kept)), axes=order)


def _parts(m: Match) -> list[Node]:
    """The slices that take the root's operand apart along the root's axis, in order; none where others read
    it, or where they leave something out."""
    x, cut = m.root.inputs[0], cut_axes(m.root)
    readers = m.graph.source.users.get(x, ())
    if len(cut) != 1 or len(readers) < 2 or any(r.op != "Slice" or cut_axes(r) != cut for r in readers):
        return []
    (axis,) = cut
    bounds = [(r.attrs["start"][axis], r.attrs["end"][axis], r.attrs["strides"][axis]) for r in readers]
    if not all(isinstance(size, int) for bound in bounds for size in bound):
        return []
    order = sorted(range(len(readers)), key=lambda index: bounds[index])
    place = 0
    for start, end, step in (bounds[index] for index in order):
        if start != place or step != 1:
            return []
        place = end
    return [readers[index] for index in order] if place == x.shape[axis] else []


def _check_partition(m: Match) -> str | None:
    return None if _parts(m) else "not all parts of an array that nothing else reads"


def _partition(b: Builder, m: Match) -> Value:
    parts, (axis,) = _parts(m), cut_axes(m.root)
    sizes = tuple(part.output.shape[axis] for part in parts)
    results = b.outputs("Split", m.root.inputs[0], sizes=sizes, axis=axis)
    starts = [part.attrs["start"][axis] for part in parts]
    return results[starts.index(m.root.attrs["start"][axis])]


_TRANSPOSED = op("Transpose", var("x"), name="t", shared=True)
_RESHAPED = op("Reshape", var("x"), name="r", shared=True)

RULES = (
    *reshapes.RULES,
    Rule("one-of", op("Gather", var("x"), const("place")), _one_of, _check_one_of),
    Rule("before-transpose", op("Slice|Split", _TRANSPOSED), _before_transpose, _check_unit),
    Rule("before-reshape", op("Slice|Split", _RESHAPED), _before_reshape, _check_stacked),
    Rule("drop-first", op("Reshape", op("Transpose", var("x"), name="t")), _drop_first, _check_dropped),
    Rule("partition", op("Slice"), _partition, _check_partition),
)

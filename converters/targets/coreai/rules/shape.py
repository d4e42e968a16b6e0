"""Reshapes, slices and joins."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.graph import Node
from converters.ops.shape import slice_length
from converters.sizes import AnySize, Size, is_static
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.rules.whole import converted
from converters.targets.coreai.writer import Writer


def _reshape(w: Writer, node: Node) -> None:
    w.give(node.output, w.reshaped(w.ref(node.inputs[0]), node.inputs[0].shape, node.attrs["shape"]))


def _transpose(w: Writer, node: Node) -> None:
    w.give(node.output, w.transposed(w.ref(node.inputs[0]), node.attrs["axes"]))


def _broadcast(w: Writer, node: Node) -> None:
    shape = w.shape(node.attrs["shape"], unsigned=True)
    w.give(node.output, w.op("BroadcastTo", w.ref(node.inputs[0]), shape))


def _concatenate(w: Writer, node: Node) -> None:
    handles = [w.ref(value) for value in node.inputs]
    w.give(node.output, w.op("Concat", np.int32(node.attrs["axis"]), handles))


def _split(w: Writer, node: Node) -> None:
    sizes = np.array(node.attrs["sizes"], np.uint32)
    parts = w.op("Split", w.ref(node.inputs[0]), sizes, np.int32(node.attrs["axis"]))
    for value, part in zip(node.outputs, parts if isinstance(parts, list) else [parts], strict=True):
        w.give(value, part)


def _refuse_split(node: Node) -> str | None:
    """Parts without elements end Apple's graph compiler on devices."""
    sizes = node.attrs["sizes"]
    if not is_static(sizes):
        return "parts of computed sizes"
    return "a part without elements" if 0 in sizes else None


def _slice(w: Writer, node: Node) -> None:
    """What goes backwards is cut forwards and reversed: a stride below zero gives a wrong length, or ends the
    process."""
    starts: list[AnySize] = []
    ends: list[AnySize] = []
    steps, backwards = [], []
    bounds = zip(node.attrs["start"], node.attrs["end"], node.attrs["strides"], strict=True)
    for axis, (start, end, step) in enumerate(bounds):
        if step < 0:
            count = slice_length(start, end, step)
            start, end = start - (count - 1) * -step, start + 1
            backwards.append(axis)
        starts.append(start)
        ends.append(end)
        steps.append(abs(step))
    x = w.ref(node.inputs[0])
    first, last = w.shape(tuple(starts)), w.shape(tuple(ends))
    y = w.op("Slice", x, first, last, np.array(steps, np.int32))
    y = w.op("Reverse", y, np.array(backwards, np.int32)) if backwards else y
    w.give(node.output, y)


def _pad(w: Writer, node: Node) -> None:
    x, value = node.inputs
    pads = tuple(p for pair in zip(node.attrs["low"], node.attrs["high"], strict=True) for p in pair)
    number = w.known[value].reshape(()) if value in w.known else w.reshaped(w.ref(value), value.shape, ())
    w.give(node.output, padded(w, w.ref(x), pads, number))


def padded(w: Writer, x: Any, pads: tuple[AnySize, ...], number: Any) -> Any:
    """x with elements before and after each axis."""
    if not any(pad != 0 for pad in pads):
        return x
    mode = "#coreai.padding_mode<constant>"
    return w.op("Pad", x, w.shape(pads, unsigned=True), number, padding_mode=mode)


def _arange(w: Writer, node: Node) -> None:
    """Whole numbers are counted, then scaled and moved."""
    attrs, dtype = node.attrs, node.output.dtype
    start, step, number = attrs["start"], attrs["step"], numpy_dtype(node.output.dtype)
    if isinstance(start, Size):
        first: Any = converted(w, w.size(start), "int32", dtype)
    else:
        first = None if start == 0 else np.array(start).astype(number)
    if isinstance(attrs["size"], int):
        y: Any = w.constant((step * np.arange(attrs["size"])).astype(number))
    else:
        y = w.op("Range", np.int32(0), w.scalar(attrs["size"]), np.int32(1))
        y = converted(w, y, "int32", dtype)
        y = y if step == 1 else w.op("BroadcastingMul", y, np.array(step).astype(number))
    w.give(node.output, y if first is None else w.op("BroadcastingAdd", y, first))


def _dimension(w: Writer, node: Node) -> None:
    size, dtype = node.attrs["size"], node.output.dtype
    if isinstance(size, Size) and is_float(dtype):
        w.give(node.output, converted(w, w.real(size), "float32", dtype))
    else:
        w.give(node.output, converted(w, w.scalar(size), "int32", dtype))


RULES = {
    "Reshape": Lowering(_reshape),
    "Transpose": Lowering(_transpose),
    "Broadcast": Lowering(_broadcast),
    "Concatenate": Lowering(_concatenate),
    "Split": Lowering(_split, _refuse_split),
    "Slice": Lowering(_slice),
    "Pad": Lowering(_pad),
    "Arange": Lowering(_arange),
    "Dimension": Lowering(_dimension),
}

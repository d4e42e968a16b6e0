"""Convolutions and poolings, channels first, over two or three axes; one axis stands as two, the first of one
element. Padding is an operation of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Node, Value
from converters.sizes import Shape
from converters.targets.coreai.beta import Handle
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.rules.shape import padded
from converters.targets.coreai.writer import Writer


def _refuse_convolution(node: Node) -> str | None:
    attrs = node.attrs
    if not attrs["channels_first"]:
        return "channels come last"
    if any(d != 1 for d in attrs["input_dilation"]):
        return "a spread input"
    if attrs["flip"]:
        return "a flipped kernel"
    return "cropping by negative padding" if min(*attrs["low"], *attrs["high"], 0) < 0 else None


def _raised(w: Writer, handle: Handle, shape: Shape) -> Handle:
    """N·C·W as N·C·1·W; two and three axes stay."""
    return handle if len(shape) > 3 else w.reshaped(handle, shape, (*shape[:2], 1, *shape[2:]))


def _lowered(w: Writer, handle: Handle, value: Value) -> None:
    raised = (*value.shape[:2], 1, *value.shape[2:])
    w.give(value, handle if len(value.shape) > 3 else w.reshaped(handle, raised, value.shape))


def _window(numbers: Any, rank: int, fill: int) -> np.ndarray:
    return np.array(numbers if rank > 3 else (fill, *numbers), np.uint32)


def _padded(w: Writer, node: Node, number: float) -> Handle:
    """The input between its padding, with two or three axes."""
    x, low, high = node.inputs[0], node.attrs["low"], node.attrs["high"]
    pads = (0, 0, 0, 0, *(p for pair in zip(low, high, strict=True) for p in pair))
    shape = (*x.shape[:2], *(size + a + z for size, a, z in zip(x.shape[2:], low, high, strict=True)))
    y = w.stated(padded(w, w.ref(x), pads, np.array(number, numpy_dtype(x.dtype))), shape)
    return _raised(w, y, shape)


def _convolution(w: Writer, node: Node) -> None:
    x, weight, *bias = node.inputs
    attrs, rank = node.attrs, len(x.shape)
    if rank == 3 and weight in w.known:
        kernel = w.constant(np.expand_dims(w.known[weight], 2))
    else:
        kernel = _raised(w, w.ref(weight), weight.shape)
    y = w.op(
        "Conv3d" if rank == 5 else "Conv2d",
        _padded(w, node, 0),
        kernel,
        _window(attrs["strides"], rank, 1),
        _window(attrs["dilation"], rank, 1),
        np.uint32(attrs["groups"]),
    )
    if bias:
        column = (*bias[0].shape, *(1,) * max(2, rank - 2))
        known = w.known.get(bias[0])
        added = (
            w.reshaped(w.ref(bias[0]), bias[0].shape, column)
            if known is None
            else w.constant(known.reshape(-1, *(1,) * max(2, rank - 2)))
        )  # type: ignore[arg-type]
        y = w.op("BroadcastingAdd", y, added)
    _lowered(w, y, node.output)


def _refuse_pool(node: Node) -> str | None:
    return None if node.attrs["channels_first"] else "channels come last"


def _pool(largest: bool) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        attrs, rank, dtype = node.attrs, len(node.inputs[0].shape), node.output.dtype
        x = _padded(w, node, -np.inf if largest else 0)
        kernel, strides = _window(attrs["kernel"], rank, 1), _window(attrs["strides"], rank, 1)
        dilation, axes = np.ones(len(kernel), np.uint32), 3 if rank == 5 else 2
        shape = node.output.shape if rank > 3 else (*node.output.shape[:2], 1, node.output.shape[2])
        if largest:
            result = (dtype, [size if isinstance(size, int) else None for size in shape])
            y = w.op(f"MaxPool{axes}d", x, kernel, strides, dilation, np.bool_(False), result=result)
        else:
            total = w.op(f"SumPool{axes}d", x, kernel, strides, dilation)
            y = w.op("BroadcastingMul", total, w.constant(1 / kernel.prod(), dtype))
        _lowered(w, y, node.output)

    return Lowering(emit, _refuse_pool)


RULES = {
    "Convolution": Lowering(_convolution, _refuse_convolution),
    "MaxPool": _pool(largest=True),
    "AvgPool": _pool(largest=False),
}

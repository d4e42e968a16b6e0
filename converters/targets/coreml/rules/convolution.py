"""Convolutions and poolings, channels first."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Writer


def _ints(values: Any) -> np.ndarray:
    return np.array(list(values), np.int32)


def _pads(node: Node) -> np.ndarray:
    """Low and high of each axis in turn."""
    return _ints(p for pair in zip(node.attrs["low"], node.attrs["high"], strict=True) for p in pair)


def _convolution(w: Writer, node: Node) -> None:
    x, weight, *bias = node.inputs
    zeros = np.zeros(weight.shape[0], numpy_dtype(weight.dtype))  # type: ignore[arg-type]
    w.emit(
        "conv",
        node,
        x=w.ref(x),
        weight=w.ref(weight),
        bias=w.ref(bias[0]) if bias else zeros,
        strides=_ints(node.attrs["strides"]),
        pad_type="custom",
        pad=_pads(node),
        dilations=_ints(node.attrs["dilation"]),
        groups=node.attrs["groups"],
    )


def _refuse_convolution(ios: int, node: Node) -> str | None:
    if not node.attrs["channels_first"]:
        return "channels come last"
    if _is_transposed(node):
        if any(s != 1 for s in node.attrs["strides"]) or min(low for low, _ in _cropped(node)) < 0:
            return "a transposed convolution that also skips, or adds at the beginning"
        return None
    if node.attrs["flip"]:
        return "a flipped kernel"
    return "cropping by negative padding" if min(*node.attrs["low"], *node.attrs["high"], 0) < 0 else None


def _cropped(node: Node) -> list[tuple[int, int]]:
    """What a transposed convolution cuts off each end of an axis; below zero: what it adds."""
    attrs = node.attrs
    reach = [(size - 1) * d for size, d in zip(node.inputs[1].shape[2:], attrs["dilation"], strict=True)]  # type: ignore[operator]
    return [(r - low, r - high) for r, low, high in zip(reach, attrs["low"], attrs["high"], strict=True)]


def _transposed_weight(w: Writer, node: Node) -> np.ndarray:
    """(O, C / G, k) as conv_transpose has it, (C, O / G, k), for which a flipped kernel is the plain one."""
    array = w.graph.constants[node.inputs[1]]
    if not node.attrs["flip"]:
        array = np.flip(array, tuple(range(2, array.ndim)))
    groups = array.reshape(node.attrs["groups"], -1, *array.shape[1:])
    return np.ascontiguousarray(groups.swapaxes(1, 2).reshape(-1, groups.shape[1], *array.shape[2:]))


def _is_transposed(node: Node) -> bool:
    return any(d != 1 for d in node.attrs["input_dilation"])


def _constants(node: Node) -> tuple[int, ...]:
    """The weight of a transposed convolution is laid out anew; Core ML dilates no computed one."""
    return (1,) if _is_transposed(node) or any(d != 1 for d in node.attrs["dilation"]) else ()


def _convolution_or_transposed(w: Writer, node: Node) -> None:
    if not _is_transposed(node):
        _convolution(w, node)
        return
    x, _, *bias = node.inputs
    y, count = node.output, len(node.attrs["strides"])
    crop = _cropped(node)
    added = [max(0, -high) for _, high in crop]
    shape = (*y.shape[:2], *(size - more for size, more in zip(y.shape[2:], added, strict=True)))
    form = {
        "x": w.ref(x),
        "weight": w.constant(_transposed_weight(w, node), f"{w.names[node.inputs[1]]}_transposed"),
        "pad": _ints(side for low, high in crop for side in (low, max(0, high))),
        "pad_type": "custom",
        "strides": _ints(node.attrs["input_dilation"]),
        "dilations": _ints(node.attrs["dilation"]),
        "groups": node.attrs["groups"],
    }
    if not any(added):
        given = w.ref(bias[0]) if bias else np.zeros(y.shape[1], numpy_dtype(y.dtype))  # type: ignore[arg-type]
        w.emit("conv_transpose", node, bias=given, **form)
        return
    dtype = numpy_dtype(y.dtype)
    part = w.op("conv_transpose", shape, y.dtype, bias=np.zeros(y.shape[1], dtype), **form)  # type: ignore[arg-type]
    pads = _ints([0] * 4 + [side for more in added for side in (0, more)])
    padding = {"pad": pads, "mode": "constant", "constant_val": np.zeros((), dtype)}
    if not bias:
        w.emit("pad", node, x=part, **padding)
        return
    padded = w.op("pad", y.shape, y.dtype, x=part, **padding)
    wide = (y.shape[1], *(1,) * count)
    column = w.op("reshape", wide, y.dtype, x=w.ref(bias[0]), shape=_ints(wide))
    w.emit("add", node, x=padded, y=column)


def _refuse_pool(ios: int, node: Node) -> str | None:
    return None if node.attrs["channels_first"] else "channels come last"


def _pool(kind: str, **fixed: Any) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        w.emit(
            kind,
            node,
            x=w.ref(node.inputs[0]),
            kernel_sizes=_ints(node.attrs["kernel"]),
            strides=_ints(node.attrs["strides"]),
            pad_type="custom",
            pad=_pads(node),
            **fixed,
            ceil_mode=False,
        )

    return Lowering(emit, _refuse_pool)


RULES = {
    "Convolution": Lowering(_convolution_or_transposed, _refuse_convolution, _constants),
    "MaxPool": _pool("max_pool"),
    "AvgPool": _pool("avg_pool", exclude_padding_from_average=False),
}

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
    if any(d != 1 for d in node.attrs["input_dilation"]) or node.attrs["flip"]:
        return "a transposed convolution"
    return "cropping by negative padding" if min(*node.attrs["low"], *node.attrs["high"], 0) < 0 else None


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
    "Convolution": Lowering(_convolution, _refuse_convolution),
    "MaxPool": _pool("max_pool"),
    "AvgPool": _pool("avg_pool", exclude_padding_from_average=False),
}

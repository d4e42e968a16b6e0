"""Convolutions and poolings, channels first; a transposed convolution is one with spread input and flipped
kernel."""

from __future__ import annotations

from typing import Any

from converters.graph import Node
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import Writer


def _refuse_convolution(opset: int, node: Node) -> str | None:
    if not node.attrs["channels_first"]:
        return "channels come last"
    if any(d != 1 for d in node.attrs["input_dilation"]) or node.attrs["flip"]:
        return "a transposed convolution"
    return "cropping by negative padding" if min(*node.attrs["low"], *node.attrs["high"], 0) < 0 else None


def _convolution(w: Writer, node: Node) -> None:
    attrs = node.attrs
    w.emit(
        "Conv",
        node,
        strides=list(attrs["strides"]),
        pads=[*attrs["low"], *attrs["high"]],
        dilations=list(attrs["dilation"]),
        group=attrs["groups"],
        kernel_shape=list(node.inputs[1].shape[2:]),
    )


def _refuse_pool(opset: int, node: Node) -> str | None:
    return None if node.attrs["channels_first"] else "channels come last"


def _pool(op_type: str, **fixed: int) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        kernel, strides = list(node.attrs["kernel"]), list(node.attrs["strides"])
        attrs: dict[str, Any] = {"pads": [*node.attrs["low"], *node.attrs["high"]], **fixed}
        w.emit(op_type, node, kernel_shape=kernel, strides=strides, **attrs)

    return Lowering(emit, _refuse_pool)


RULES = {
    "Convolution": Lowering(_convolution, _refuse_convolution),
    "MaxPool": _pool("MaxPool"),
    "AvgPool": _pool("AveragePool", count_include_pad=1),
}

"""Convolutions and poolings, channels first; a transposed convolution is one with spread input and flipped
kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.graph import Node, Value
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import Writer


def _refuse_convolution(opset: int, node: Node) -> str | None:
    attrs = node.attrs
    if not attrs["channels_first"]:
        return "channels come last"
    if any(d != 1 for d in attrs["input_dilation"]):
        if not attrs["flip"] or any(s != 1 for s in attrs["strides"]):
            return "a spread input without a flipped kernel, or with strides"
        cut = [pad for pad, _ in _transposed_pads(node) if pad < 0]
        far = [
            more
            for (_, more), d in zip(_transposed_pads(node), attrs["input_dilation"], strict=True)
            if -more >= d
        ]
        return "padding beyond the kernel" if cut or far else None
    if attrs["flip"]:
        return "a flipped kernel"
    return "cropping by negative padding" if min(*attrs["low"], *attrs["high"], 0) < 0 else None


def _transposed_pads(node: Node) -> list[tuple[int, int]]:
    """What a ConvTranspose cuts off at both ends of each axis; less than nothing at the end is added."""
    kernel = node.inputs[1].shape[2:]
    reach = [(size - 1) * d for size, d in zip(kernel, node.attrs["dilation"], strict=True)]
    return [(r - a, r - z) for r, a, z in zip(reach, node.attrs["low"], node.attrs["high"], strict=True)]


def _convolution(w: Writer, node: Node) -> None:
    attrs = node.attrs
    if any(d != 1 for d in attrs["input_dilation"]):
        return _transposed(w, node)
    return w.emit(
        "Conv",
        node,
        strides=list(attrs["strides"]),
        pads=[*attrs["low"], *attrs["high"]],
        dilations=list(attrs["dilation"]),
        group=attrs["groups"],
        kernel_shape=list(node.inputs[1].shape[2:]),
    )


def _transposed(w: Writer, node: Node) -> None:
    attrs, (x, weight, *bias) = node.attrs, node.inputs
    pads = _transposed_pads(node)
    w.give(
        "ConvTranspose",
        [w.name(x), _inputs_first(w, weight, attrs["groups"]), *(w.name(value) for value in bias)],
        [w.name(node.output)],
        strides=list(attrs["input_dilation"]),
        pads=[*(low for low, _ in pads), *(max(0, high) for _, high in pads)],
        output_padding=[max(0, -high) for _, high in pads],
        dilations=list(attrs["dilation"]),
        group=attrs["groups"],
        kernel_shape=list(weight.shape[2:]),
    )


def _inputs_first(w: Writer, weight: Value, groups: int) -> str:
    """(O, C / G, kernel) to (C, O / G, kernel)."""
    outputs, inputs, *kernel = (int(size) for size in weight.shape)  # type: ignore[arg-type]
    apart, joined = (
        (groups, outputs // groups, inputs, *kernel),
        (groups * inputs, outputs // groups, *kernel),
    )
    order = (0, 2, 1, *range(3, 3 + len(kernel)))
    if weight in w.graph.constants:
        turned = w.graph.constants[weight].reshape(apart).transpose(order).reshape(joined)
        return w.constant(np.ascontiguousarray(turned), name=w.name(weight))
    split = w.node("Reshape", w.name(weight), w.int64(apart))
    return w.node("Reshape", w.node("Transpose", split, perm=list(order)), w.int64(joined))


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

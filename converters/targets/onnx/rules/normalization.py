"""Normalizations. Runtimes expand GroupNormalization; InstanceNormalization of the groups is faster."""

from __future__ import annotations

import numpy as np

from converters.graph import Node, Value
from converters.sizes import product
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.rules.shape import reshape_target
from converters.targets.onnx.writer import Writer


def _vectors(w: Writer, node: Node, length: int, count: int) -> list[str]:
    """Weight and bias of a normalization, ones and zeros where there are none; `count` of them."""
    names = [w.name(value) for value in node.inputs[1:]]
    defaults = (np.ones, np.zeros)[len(names) : count]
    return names + [w.constant(make(length), node.output.dtype) for make in defaults]


def _refuse_last_axis(opset: int, node: Node) -> str | None:
    if not isinstance(node.inputs[0].shape[-1], int) and len(node.inputs) == 1:
        return "no weight for an axis of unknown size"
    return None


def _refuse_rms_norm(opset: int, node: Node) -> str | None:
    return _refuse_last_axis(opset, node) if opset >= 23 else "RMSNormalization came with opset 23"


def _over_last_axis(op_type: str) -> Lowering:
    def emit(w: Writer, node: Node) -> None:
        length = node.inputs[0].shape[-1]
        vectors = (
            _vectors(w, node, length, 1) if isinstance(length, int) else [w.name(v) for v in node.inputs[1:]]
        )
        operands = [w.name(node.inputs[0]), *vectors]
        w.give(op_type, operands, [w.name(node.output)], axis=-1, epsilon=node.attrs["eps"])

    return Lowering(emit, _refuse_rms_norm if op_type.startswith("RMS") else _refuse_last_axis)


def _refuse_group_norm(opset: int, node: Node) -> str | None:
    if not node.attrs["channels_first"]:
        return "channels come last"
    if node.attrs["interleaved"]:
        return "the groups take turns"
    return None if node.inputs[0].dtype == "float32" else "half precision, whose statistics need float32"


def _group_norm(w: Writer, node: Node) -> None:
    x, groups, eps = node.inputs[0], node.attrs["groups"], node.attrs["eps"]
    channels = x.shape[1]
    assert isinstance(channels, int)
    if groups == channels:
        operands = [w.name(x), *_vectors(w, node, channels, 2)]
        w.give("InstanceNormalization", operands, [w.name(node.output)], epsilon=eps)
        return
    rows = (x.shape[0], groups, product(x.shape[1:]))
    y = w.node("Reshape", w.name(x), w.int64([0, groups, -1]))
    plain = [w.constant(make(groups), x.dtype) for make in (np.ones, np.zeros)]
    y = w.node("InstanceNormalization", y, *plain, epsilon=eps)
    target = reshape_target(rows, x.shape)
    steps = [("Reshape", w.shape(x.shape) if target is None else w.int64(target))]
    steps += zip(("Mul", "Add"), [_column(w, vector, x) for vector in node.inputs[1:]], strict=False)
    for op_type, operand in steps[:-1]:
        y = w.node(op_type, y, operand)
    op_type, operand = steps[-1]
    w.give(op_type, [y, operand], [w.name(node.output)])


def _column(w: Writer, vector: Value, x: Value) -> str:
    """A vector over the channels in a shape that broadcasts against N·C·spatial."""
    name, shape = w.name(vector), [-1, *[1] * (len(x.shape) - 2)]
    if vector not in w.graph.constants or len(w.graph.users[vector]) > 1:
        return w.node("Reshape", name, w.int64(shape))
    w.initializers[name] = w.graph.constants[vector].reshape(shape)
    return name


RULES = {
    "LayerNorm": _over_last_axis("LayerNormalization"),
    "RMSNorm": _over_last_axis("RMSNormalization"),
    "GroupNorm": Lowering(_group_norm, _refuse_group_norm),
}

"""Arithmetic in 8-bit integers, and weights as codes.

    y = DynamicLinear(x, codes, scales, bias)

    q, scale, zero = DynamicQuantizeLinear(x)
    y = Cast(MatMulInteger(q, codes.T, zero)) * (scale * scales) + bias

onnxruntime joins these six nodes into one DynamicQuantizeMatMul. A convolution between InSteps, whose weight
and bias are ScaleCodes, becomes a QLinearConv: onnxruntime knows it by its QuantizeLinear and
DequantizeLinear nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from converters.graph import Node
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer


def _dynamic_linear(w: Writer, node: Node) -> None:
    x, _, scales, *bias = node.inputs
    name = w.name(x)
    q, scale, zero = w.once(("codes", x), lambda: w.node("DynamicQuantizeLinear", name, outputs=3))
    product = w.node("Cast", w.node("MatMulInteger", q, _transposed(w, node), zero), to=TensorProto.FLOAT)
    factors = w.node("Mul", scale, w.name(scales))
    if not bias:
        w.give("Mul", [product, factors], [w.name(node.output)])
        return
    w.give("Add", [w.node("Mul", product, factors), w.name(bias[0])], [w.name(node.output)])


def _transposed(w: Writer, node: Node) -> str:
    """The codes as (K, N): once more in the file only where that saves nothing, as in a tied embedding."""
    codes = node.inputs[1]
    name = w.name(codes)
    if any(user.op != "DynamicLinear" for user in w.graph.users[codes]):
        return w.once(("transposed", codes), lambda: w.node("Transpose", name, perm=[1, 0]))
    turned = np.transpose(w.graph.constants[codes])
    return w.once(("transposed", codes), lambda: w.constant(turned, name=f"{name}.T"))


def _scale_codes(w: Writer, node: Node) -> None:
    """DequantizeLinear where a layer computes in integers; else what onnxruntime computes once, when it loads
    the model."""
    codes, scales = node.inputs
    layers = [user.inputs[0] for user in w.graph.users[node.output]]
    if not any(x in w.graph.producers and w.graph.producers[x].op == "InSteps" for x in layers):
        wide = w.node("Cast", w.name(codes), to=ELEMENT_TYPES[scales.dtype])
        w.give("Mul", [wide, w.name(scales)], [w.name(node.output)])
        return
    axes = [axis for axis, size in enumerate(scales.shape) if size != 1]
    factors = w.graph.constants[scales].reshape((-1,) if axes else ())
    operands = [w.name(codes), w.constant(factors, name=w.name(scales))]
    if codes.dtype == "int8":  # onnxruntime joins a Gemm only where its weight's zeros are written out
        operands.append(w.constant(np.zeros(factors.shape, np.int8)))
    attrs: dict[str, Any] = {"axis": axes[0]} if axes else {}
    w.give("DequantizeLinear", operands, [w.name(node.output)], **attrs)


def _refuse_scale_codes(opset: int, node: Node) -> str | None:
    codes, scales = node.inputs
    if codes.dtype not in ("int8", "uint8", "int32"):
        return f"codes of {codes.dtype}"
    if scales.dtype != "float32" and opset < 19:
        return f"scales of {scales.dtype} came with opset 19"
    return "scales along several axes" if sum(size != 1 for size in scales.shape) > 1 else None


def _in_steps(w: Writer, node: Node) -> None:
    scale, zero = w.constant(node.attrs["scale"], "float32"), w.constant(node.attrs["zero"], "uint8")
    codes = w.node("QuantizeLinear", w.name(node.inputs[0]), scale, zero)
    w.give("DequantizeLinear", [codes, scale, zero], [w.name(node.output)])


RULES = {
    "DynamicLinear": Lowering(_dynamic_linear, constants=(1, 2)),
    "ScaleCodes": Lowering(_scale_codes, _refuse_scale_codes, constants=(0, 1)),
    "InSteps": Lowering(_in_steps),
}

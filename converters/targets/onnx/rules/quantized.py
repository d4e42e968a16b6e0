"""Products with weights that stay quantised in the file.

    y = QuantizedMatmul(x, words, scales, biases)   with value = scale * code + bias per group of g along K

    w = Cast(codes (K / g, g, N)) * scales (K / g, 1, N) + biases (K / g, 1, N)
    y = MatMul(x, Reshape(w, (K, N)))

onnxruntime computes w once, when it loads the model: exact, and as fast as float weights. DequantizeLinear
in its place
is joined into a product that rounds x to 8 bits, 0.5 % off. With runtime="onnxruntime", codes of 2 and 4
bits go into MatMulNBits, which keeps them packed in memory; its zero points are -bias / scale.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from converters.errors import UnsupportedOp
from converters.graph import Node
from converters.ops.quantized import unpacked, whole_zeros
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer

PACKED_BITS = (2, 4)  # what onnxruntime's own product takes on the CPU


def _refuse(opset: int, node: Node) -> str | None:
    x, words, *_ = node.inputs
    if not node.attrs["transpose"] or len(words.shape) != 2 or len(x.shape) < 2:
        return "its weights are no transposed matrix"
    return None


def _matmul(w: Writer, node: Node) -> None:
    bits, group = node.attrs["bits"], node.attrs["group_size"]
    words, scales, biases = (w.graph.constants[value] for value in node.inputs[1:])
    codes = unpacked(words, bits)  # (N, K)
    if _fits_packed(w.runtime, node):
        _packed_matmul(w, node, codes, scales, biases)
        return
    if bits == 2 or (bits <= 4 and w.opset < 21):
        hint = 'use runtime="onnxruntime"' if bits == 2 else "use opset 21 or above"
        raise UnsupportedOp(f"ONNX of opset {w.opset} has no {bits}-bit weights", hint=hint)
    n, k = codes.shape
    element = np.dtype(ml_dtypes.uint4) if bits <= 4 else np.dtype(np.uint8)
    columns = np.ascontiguousarray(codes.T).reshape(k // group, group, n).astype(element)
    name = f"{w.name(node.inputs[1])}.codes"
    value = w.node("Cast", w.constant(columns, name=name), to=_element_type(scales))

    def rows(array: np.ndarray, name: str) -> str:
        return w.constant(np.ascontiguousarray(array.T).reshape(k // group, 1, n), name=name)

    zeros = whole_zeros(scales, biases, bits)
    if zeros is not None:
        zero = rows(zeros.astype(element), f"{w.name(node.inputs[3])}.zeros")
        value = w.node("Sub", value, w.node("Cast", zero, to=_element_type(scales)))
    value = w.node("Mul", value, rows(scales, w.name(node.inputs[2])))
    if zeros is None:
        value = w.node("Add", value, rows(biases, w.name(node.inputs[3])))
    weight = w.node("Reshape", value, w.int64([k, n]))
    w.give("MatMul", [w.name(node.inputs[0]), weight], [w.name(node.output)])


def _element_type(array: np.ndarray) -> int:
    return ELEMENT_TYPES[array.dtype.name]


def _fits_packed(runtime: str | None, node: Node) -> bool:
    return runtime == "onnxruntime" and node.attrs["bits"] in PACKED_BITS and node.output.dtype == "float32"


def _packed_matmul(w: Writer, node: Node, codes: np.ndarray, scales: np.ndarray, biases: np.ndarray) -> None:
    bits, group = node.attrs["bits"], node.attrs["group_size"]
    n, k = codes.shape
    packed = _packed_rows(codes.reshape(n, k // group, group), bits)
    zeros = whole_zeros(scales, biases, bits)
    if zeros is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            zeros = np.where(scales != 0, -biases / scales, 0).astype(np.float32)
    else:
        zeros = _packed_rows(zeros, bits)
    operands = [
        w.name(node.inputs[0]),
        w.constant(packed, name=f"{w.name(node.inputs[1])}.codes"),
        w.constant(scales.astype(np.float32).ravel(), name=w.name(node.inputs[2])),
        w.constant(zeros.ravel(), name=f"{w.name(node.inputs[3])}.zeros"),
    ]
    sizes = {"K": k, "N": n, "bits": bits, "block_size": group}
    w.give("MatMulNBits", operands, [w.name(node.output)], domain="com.microsoft", **sizes)


def _packed_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis in bytes, the first one lowest."""
    per_byte = 8 // bits
    missing = -codes.shape[-1] % per_byte
    padded = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    parts = padded.reshape(*codes.shape[:-1], -1, per_byte).astype(np.uint8)
    return (parts << (np.arange(per_byte) * bits).astype(np.uint8)).sum(axis=-1, dtype=np.uint8)


RULES = {"QuantizedMatmul": Lowering(_matmul, _refuse, constants=(1, 2, 3))}

"""Products with weights that stay quantised in the file.

    y = QuantizedMatmul(x, words, scales, biases)   with value = scale * code + bias per group of g along K

    w = Cast(codes (K / g, g, N)) * scales (K / g, 1, N) + biases (K / g, 1, N)
    y = MatMul(x, Reshape(w, (K, N)))

onnxruntime computes w once, when it loads the model: exact, and as fast as float weights. DequantizeLinear
in its place
is joined into a product that rounds x to 8 bits, 0.5 % off. With runtime="onnxruntime", codes of 2 and 4
bits go into MatMulNBits, which keeps them packed in memory; its zero points are -bias / scale.

Weights that something else reads as well, such as a tied embedding, are in the file once, as MLX's words; the
product takes its codes from these, which onnxruntime does once as well.
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
    if _is_shared(w, node):
        (_packed_words if _fits_packed(w.runtime, node) else _words)(w, node)
        return
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
    _packed_product(w, node, operands)


def _packed_product(w: Writer, node: Node, operands: list[str]) -> None:
    k, n = node.inputs[0].shape[-1], node.output.shape[-1]
    sizes = {"K": k, "N": n, "bits": node.attrs["bits"], "block_size": node.attrs["group_size"]}
    if not w.exact:  # rounds x to 8 bits by block: a step of a decoder takes two thirds of the time
        sizes["accuracy_level"] = 4
    w.give("MatMulNBits", operands, [w.name(node.output)], domain="com.microsoft", **sizes)


def _is_shared(w: Writer, node: Node) -> bool:
    """Whether something else reads the words, and no code lies across two of them."""
    words = node.inputs[1]
    return 32 % node.attrs["bits"] == 0 and sum(words in other.inputs for other in w.graph.nodes) > 1


def _parts(w: Writer, words: str, bits: int) -> str:
    """(N, W) words as (N, W, 32 / bits) numbers of `bits` bits, the lowest first."""
    column = w.node("Unsqueeze", words, w.int64([2]))
    shifted = w.node(
        "BitShift", column, w.constant(np.arange(0, 32, bits).astype(np.uint32)), direction="RIGHT"
    )
    if w.opset < 18:
        return w.node("Mod", shifted, w.constant(np.array(2**bits, np.uint32)))
    return w.node("BitwiseAnd", shifted, w.constant(np.array(2**bits - 1, np.uint32)))


def _words(w: Writer, node: Node) -> None:
    n, k = node.output.shape[-1], node.inputs[0].shape[-1]
    scales = w.graph.constants[node.inputs[2]]
    words, *columns = (w.name(value) for value in node.inputs[1:])
    scale, bias = (w.node("Unsqueeze", column, w.int64([2])) for column in columns)
    codes = w.node("Cast", _parts(w, words, node.attrs["bits"]), to=_element_type(scales))
    grouped = w.node("Reshape", codes, w.shape((n, scales.shape[-1], node.attrs["group_size"])))
    weight = w.node("Reshape", w.node("Add", w.node("Mul", grouped, scale), bias), w.shape((n, k)))
    w.give(
        "MatMul", [w.name(node.inputs[0]), w.node("Transpose", weight, perm=[1, 0])], [w.name(node.output)]
    )


def _packed_words(w: Writer, node: Node) -> None:
    x, words, scales, biases = (w.name(value) for value in node.inputs)
    n, groups = w.graph.constants[node.inputs[2]].shape
    size = node.attrs["group_size"] * node.attrs["bits"] // 8
    packed = w.node("Cast", _parts(w, words, 8), to=ELEMENT_TYPES["uint8"])
    packed = w.node("Reshape", packed, w.int64([n, groups, size]))
    flat = w.int64([-1])
    bits = node.attrs["bits"]
    columns = [w.graph.constants[value] for value in node.inputs[2:]]
    whole = whole_zeros(columns[0], columns[1], bits)
    if whole is None:
        zeros = w.node("Div", w.node("Neg", biases), scales)
        zeros = w.node("Where", w.node("Equal", scales, w.constant(0, "float32")), biases, zeros)
        zeros = w.node("Reshape", zeros, flat)
    else:  # packed: onnxruntime unpacks all weights at every call where zeros have a fraction
        zeros = w.constant(_packed_rows(whole, bits).ravel(), name=f"{biases}.zeros")
    operands = [x, packed, w.node("Reshape", scales, flat), zeros]
    _packed_product(w, node, operands)


def _packed_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis in bytes, the first one lowest."""
    per_byte = 8 // bits
    missing = -codes.shape[-1] % per_byte
    padded = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    parts = padded.reshape(*codes.shape[:-1], -1, per_byte).astype(np.uint8)
    return (parts << (np.arange(per_byte) * bits).astype(np.uint8)).sum(axis=-1, dtype=np.uint8)


RULES = {"QuantizedMatmul": Lowering(_matmul, _refuse, constants=(1, 2, 3))}

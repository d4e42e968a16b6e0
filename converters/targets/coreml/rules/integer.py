"""Weights as codes, which Core ML keeps packed until it computes: `constexpr_*` operations.

w = ScaleCodes(codes, scales)        8 bits, a scale for each output           iOS 16
w = LookUp(codes, table)             4, 6 or 8 bits, a palette for the tensor  iOS 16
w = Dequantize(words, scales, biases)    2 to 8 bits, a scale and a zero for each block, iOS 18
"""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.ops.quantized import unpacked, whole_zeros
from converters.targets.coreml.blob import packed_codes
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Writer


def _scale_codes(w: Writer, node: Node) -> None:
    codes, scales = (w.graph.constants[value] for value in node.inputs)
    if w.ios >= 18:
        w.compressed("constexpr_blockwise_shift_scale", node, "data", data=codes, scale=scales)
        return
    parameters = {"zero_point": np.zeros((), codes.dtype), "axis": np.array(0, np.int32)}
    flat = scales.reshape(-1)
    w.compressed(
        "constexpr_affine_dequantize", node, "quantized_data", quantized_data=codes, scale=flat, **parameters
    )


def _refuse_scale_codes(ios: int, node: Node) -> str | None:
    codes, scales = node.inputs
    if codes.dtype not in ("int8", "uint8"):
        return f"codes of {codes.dtype}"
    if ios < 16:
        return "compressed weights came with iOS 16"
    along = [axis for axis, size in enumerate(scales.shape) if size != 1]
    return None if ios >= 18 or along in ([], [0]) else "scales along several axes came with iOS 18"


def _look_up(w: Writer, node: Node) -> None:
    codes, table = (w.graph.constants[value] for value in node.inputs)
    bits = max(1, (table.size - 1).bit_length())
    if w.ios >= 18:
        tables = table.reshape(*(1,) * codes.ndim, -1, 1)
        w.compressed("constexpr_lut_to_dense", node, "indices", bits, indices=codes, lut=tables)
        return
    packed, shape = packed_codes(codes, bits), np.array(codes.shape, np.uint32)
    w.compressed("constexpr_lut_to_dense", node, "indices", indices=packed, lut=table, shape=shape)


def _refuse_look_up(ios: int, node: Node) -> str | None:
    if ios < 16:
        return "compressed weights came with iOS 16"
    size = node.inputs[1].shape[0]
    return None if size in (2, 4, 16, 64, 256) else f"a palette of {size}"


def _dequantize(w: Writer, node: Node) -> None:
    words, scales, biases = (w.graph.constants[value] for value in node.inputs)
    bits = 4 if node.attrs["bits"] <= 4 else 8  # as codes are kept; of 2 and 3 bits there are none
    zeros = whole_zeros(scales, biases, bits)
    codes = unpacked(words, node.attrs["bits"])
    if zeros is None:
        zeros = (-biases / np.where(scales != 0, scales, 1)).astype(scales.dtype)
    w.compressed(
        "constexpr_blockwise_shift_scale", node, "data", bits, data=codes, scale=scales, offset=zeros
    )


def _refuse_dequantize(ios: int, node: Node) -> str | None:
    return "weights in blocks came with iOS 18" if ios < 18 else None


RULES = {
    "ScaleCodes": Lowering(_scale_codes, _refuse_scale_codes, constants=(0, 1)),
    "LookUp": Lowering(_look_up, _refuse_look_up, constants=(0, 1)),
    "Dequantize": Lowering(_dequantize, _refuse_dequantize, constants=(0, 1, 2)),
}

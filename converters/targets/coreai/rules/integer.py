"""Weights that stay codes in the file.

    w = ScaleCodes(codes, scales)            8 bits, a scale for each output
    w = LookUp(codes, table)                 1 to 8 bits, a palette for the tensor
    w = Dequantize(words, scales, biases)    2 to 8 bits, MLX's groups one to one: scale * (code - 0) + bias

Codes of 3, 5 and 6 bits are stored as 8: the dialect has no shifts and scales for such.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.ops.quantized import unpacked
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.writer import Writer

PACKED = (2, 4)  # bits of codes that are scaled in packed form
PALETTES = (1, 2, 3, 4, 6, 8)


def _scale_codes(w: Writer, node: Node) -> None:
    codes, scales = (w.known[value] for value in node.inputs)
    scales = np.broadcast_to(scales, scales.shape)
    zero = np.zeros(scales.shape, codes.dtype)
    nothing = np.zeros(scales.shape, scales.dtype)
    w.give(node.output, w.op("BlockwiseShiftScale", w.constant(codes), w.constant(scales), zero, nothing))


def _refuse_scale_codes(node: Node) -> str | None:
    codes, scales = node.inputs
    fits = len(codes.shape) == len(scales.shape)
    return None if fits and codes.dtype in ("int8", "uint8") else "codes of another type"


def _look_up(w: Writer, node: Node) -> None:
    codes, table = (w.known[value] for value in node.inputs)
    bits = next(bits for bits in PALETTES if 2**bits >= table.size)
    entries = np.zeros((*(1,) * codes.ndim, 2**bits, 1), table.dtype)
    entries[(0,) * codes.ndim][: table.size, 0] = table
    w.give(node.output, w.op("LutToDense", w.codes(codes, bits), w.constant(entries), np.int16(0)))


def _dequantize(w: Writer, node: Node) -> None:
    words, scales, biases = (w.known[value] for value in node.inputs)
    bits = node.attrs["bits"]
    stored = bits if bits in PACKED else 8
    codes = unpacked(words, bits)
    data, zero = w.codes(codes, stored), w.codes(np.zeros(scales.shape, np.uint8), stored)
    w.give(node.output, w.op("BlockwiseShiftScale", data, w.constant(scales), zero, w.constant(biases)))


RULES = {
    "ScaleCodes": Lowering(_scale_codes, _refuse_scale_codes, constants=(0, 1)),
    "LookUp": Lowering(_look_up, constants=(0, 1)),
    "Dequantize": Lowering(_dequantize, constants=(0, 1, 2)),
}

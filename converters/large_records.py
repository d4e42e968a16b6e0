"""Decoding MLX's primitives that do much at once: products of chosen or quantised matrices, the ops of
`mx.fast`
that a capture on Metal keeps whole, random bits. Part of capture, as `converters.records`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.rotary import rotary_tables
from converters.sizes import Shape
from converters.windows import signed

Results = list[tuple[Shape, str]]
QUANTIZATION_MODES = ("affine", "mxfp4", "mxfp8", "nvfp4")
AFFINE, FLOAT4 = 0, ("mxfp4", "nvfp4")
TWICE = (0, 1, 2, 3, 4, 6, 8, 12)  # the eight magnitudes of a 4-bit floating-point number, doubled
MODE_POSITION = {"QuantizedMatmul": 2, "GatherQMM": 2, "Quantize": 2}


def gather_mm(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """Products of the matrices that two index arrays pick; the arguments only say that these are sorted."""
    x, y, left, right = inputs
    return b("GatherMM", x, y, signed(b, left), signed(b, right))


def block_masked(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """Which masks there are follows from their number."""
    masked = {3: ("out",), 4: ("left", "right"), 5: ("out", "left", "right")}[len(inputs)]
    return b("BlockMaskedMM", *inputs, block=args[0], masked=masked)


def hadamard(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """A product with the matrix that MLX transforms the unit vectors to."""
    import mlx.core as mx

    (x,), size = inputs, inputs[0].shape[-1]
    if not isinstance(size, int):
        raise ShapeError(f"a Hadamard transform over a size that varies ({size})")
    with mx.stream(mx.cpu):
        matrix = np.array(mx.hadamard_transform(mx.eye(size), scale=args[0]))
    rows = x if len(x.shape) > 1 else b("Reshape", x, shape=(1, size))
    y = b("Matmul", rows, b.constant(matrix, dtype=x.dtype))
    return y if y.shape == x.shape else b("Reshape", y, shape=x.shape)


def _affine(b: Builder, parts: tuple[Value, ...], bits: int, mode: int, dtype: str) -> tuple[Any, ...]:
    """Codes, scales and biases of affine weights that are the same numbers, and their bits.

    The 4-bit floating-point numbers of mxfp4 and nvfp4 are halves of whole numbers from -12 to 12.
    """
    import ml_dtypes

    if mode == AFFINE:
        return (*parts, bits)
    words, scales = (b.constants[value] for value in parts)
    nibbles = words.view(np.uint8)
    codes = np.stack([nibbles & 15, nibbles >> 4], axis=-1).reshape(*words.shape[:-1], 8 * words.shape[-1])
    wide = np.array([12 + sign * twice for sign in (1, -1) for twice in TWICE], np.uint8)[codes]
    packed = np.ascontiguousarray(wide).view(np.uint32)
    if QUANTIZATION_MODES[mode] == "nvfp4":
        steps = scales.view(ml_dtypes.float8_e4m3fn).astype(np.float32) / 2
    else:
        steps = np.exp2(scales.astype(np.float32) - 128)
    named = (part.name for part in (parts[0], parts[1], parts[1]))
    arrays = (packed, steps.astype(numpy_dtype(dtype)), (-12 * steps).astype(numpy_dtype(dtype)))
    return (*(b.constant(array, name) for array, name in zip(arrays, named, strict=True)), 8)


def quantized_matmul(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """(x, codes, scales, biases if affine)."""
    group_size, bits, mode, transpose = args
    x, *parts = inputs
    *parts, bits = _affine(b, tuple(parts), bits, mode, x.dtype)
    return b("QuantizedMatmul", x, *parts, group_size=group_size, bits=bits, transpose=transpose)


def gather_qmm(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """As GatherMM with a quantised right side."""
    group_size, bits, mode, transpose, *_ = args
    x, *parts, left, right = inputs
    *parts, bits = _affine(b, tuple(parts), bits, mode, x.dtype)
    positions = (signed(b, left), signed(b, right))
    return b("GatherQMM", x, *parts, *positions, group_size=group_size, bits=bits, transpose=transpose)


def quantize(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Any:
    """Both directions are one primitive."""
    group_size, bits, mode, dequantize = args
    if not dequantize:
        return b.outputs("Quantize", *inputs, group_size=group_size, bits=bits)
    *parts, bits = _affine(b, inputs, bits, mode, results[0][1])
    return b.outputs("Dequantize", *parts, group_size=group_size, bits=bits)


def layer_norm(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """(x, weight or scalar 1, bias or scalar 0)."""
    x, weight, bias = inputs
    operands = [x]
    if weight.shape or bias.shape:
        ones = b.constant(1, dtype=x.dtype)
        operands.append(weight if weight.shape else b("Broadcast", ones, shape=bias.shape))
    if bias.shape:
        operands.append(bias)
    return b("LayerNorm", *operands, eps=args[0])


def rms_norm(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """(x, weight or scalar 1)."""
    x, weight = inputs
    return b("RMSNorm", x, *([weight] if weight.shape else []), eps=args[0])


def rope(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """The tables of cosines and sines become nodes of their own."""
    dims, traditional, base, scale, _ = args
    x, offset, *freqs = inputs
    cos, sin = rotary_tables(b, x, offset, freqs[0] if freqs else None, dims, base, scale)
    return b("RoPE", x, cos, sin, traditional=traditional, heads=0)


def attention(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    """(q, k, v, mask if any, sinks if any)."""
    scale, causal, sinks, *_ = args
    return b("ScaledDotProductAttention", *inputs, scale=scale, causal=causal, sinks=sinks, heads=())


def refusal(
    b: Builder, name: str, arguments: tuple[Any, ...], inputs: tuple[Value, ...], results: Results
) -> str | None:
    """Why a record of a known primitive cannot be converted, or None."""
    if name in MODE_POSITION and arguments[MODE_POSITION[name]] != AFFINE:
        mode = QUANTIZATION_MODES[arguments[MODE_POSITION[name]]]
        first = 0 if name == "Quantize" else 1
        if mode not in FLOAT4 or not all(v in b.constants for v in inputs[first : first + 2]):
            return f"{mode} weights, use affine ones"
    if name == "RandomBits" and not _reaches_input(b, inputs[0]):
        return "its key is fixed: make the key an input, or call eval()"
    if name == "RoPE" and not arguments[4]:
        return "the backward form"
    if name == "ScaledDotProductAttention" and arguments[3]:
        return "the training form"
    return None


def _reaches_input(b: Builder, value: Value) -> bool:
    producers = {output: node for node in b.nodes for output in node.outputs}
    front = [value]
    while front:
        value = front.pop()
        if value in producers:
            front += producers[value].inputs
        elif value not in b.constants:
            return True
    return False


DECODERS = {
    "BlockMaskedMM": block_masked,
    "GatherMM": gather_mm,
    "GatherQMM": gather_qmm,
    "Hadamard": hadamard,
    "LayerNorm": layer_norm,
    "Quantize": quantize,
    "QuantizedMatmul": quantized_matmul,
    "RMSNorm": rms_norm,
    "RoPE": rope,
    "ScaledDotProductAttention": attention,
}

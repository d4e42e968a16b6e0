"""Affine quantisation as in MLX: value = scale * code + bias, one scale and bias per group along the last
axis.

The codes of a row are one stream of bits, `bits` each, lowest first, in uint32 words. Letters: K values of
a row,
W = K * bits / 32 words, G = K / group_size groups.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, broadcast, in_float32
from converters.ops.linear import transposed
from converters.sizes import Shape, divide

ATTRS = ("group_size", "bits")


def unpacked(words: np.ndarray, bits: int) -> np.ndarray:
    """The codes (…, K) of words (…, W), as uint8."""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    codes = stream.reshape(*words.shape[:-1], -1, bits)
    return (codes << np.arange(bits, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)


def packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """The words (…, W) of codes (…, K)."""
    stream = (codes.astype(np.uint8)[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    flat = stream.reshape(*codes.shape[:-1], -1)
    return np.packbits(flat, axis=-1, bitorder="little").view(np.uint32)


def whole_zeros(scales: np.ndarray, biases: np.ndarray, bits: int) -> np.ndarray | None:
    """The zeros as codes, where bias = -scale * zero up to rounding: what takes `bits` bits instead of 32."""
    scales, wide = scales.astype(np.float32), biases.astype(np.float32)
    zeros = np.rint(-wide / np.where(scales != 0, scales, 1))
    slack = 4 * float(ml_dtypes.finfo(biases.dtype).eps)
    if np.any((zeros < 0) | (zeros >= 2**bits) | (np.abs(scales * zeros + wide) > slack * np.abs(wide))):
        return None
    return zeros.astype(np.uint8)


def _dequantize(
    words: np.ndarray, scales: np.ndarray, biases: np.ndarray, group_size: int, bits: int
) -> np.ndarray:
    codes = unpacked(words, bits).reshape(*scales.shape, group_size)
    wide = codes.astype(np.float32) * scales[..., None].astype(np.float32) + biases[..., None]
    return wide.reshape(*scales.shape[:-1], -1).astype(scales.dtype)


def _values(words: Value, bits: int) -> Shape:
    return (*words.shape[:-1], divide(words.shape[-1] * 32, bits))


def _dequantize_shape(words: Value, scales: Value, biases: Value, group_size: int, bits: int) -> Inferred:
    shape = _values(words, bits)
    if scales.shape != (*shape[:-1], divide(shape[-1], group_size)) or biases.shape != scales.shape:
        raise ShapeError(f"{shape} in groups of {group_size} does not take scales of {scales.shape}")
    return [(shape, scales.dtype)]


def _expand_dequantize(
    b: Builder, words: Value, scales: Value, biases: Value, group_size: int, bits: int
) -> Value:
    ((shape, _),) = _dequantize_shape(words, scales, biases, group_size, bits)
    codes = _expand_aligned(b, words, bits) if 32 % bits == 0 else _expand_straddling(b, words, bits)
    grouped = b("Reshape", codes, shape=(*scales.shape, group_size))
    column = (*scales.shape, 1)
    wide = b("Multiply", b("AsType", grouped, dtype=scales.dtype), b("Reshape", scales, shape=column))
    return b("Reshape", b("Add", wide, b("Reshape", biases, shape=column)), shape=shape)


def _expand_aligned(b: Builder, words: Value, bits: int) -> Value:
    """Codes that lie whole in a word: (…, W, 32 / bits)."""
    shifts = b.constant(np.arange(0, 32, bits), dtype="uint32")
    shifted = b("RightShift", b("Reshape", words, shape=(*words.shape, 1)), shifts)
    return b("BitwiseAnd", shifted, b.constant(2**bits - 1, dtype="uint32"))


def _expand_straddling(b: Builder, words: Value, bits: int) -> Value:
    """32 codes in `bits` words, some across two of them: (…, W / bits, 32)."""
    first, offset = np.divmod(np.arange(32) * bits, 32)
    rows = b("Reshape", words, shape=(*words.shape[:-1], divide(words.shape[-1], bits), bits))
    axis = len(words.shape)
    low = b("Gather", rows, b.constant(first, dtype="int32"), axis=axis)
    high = b("Gather", rows, b.constant(np.minimum(first + 1, bits - 1), dtype="int32"), axis=axis)
    low = b("RightShift", low, b.constant(offset, dtype="uint32"))
    # by 32 - offset in two steps: a shift by 32 is undefined
    high = b(
        "LeftShift",
        b("LeftShift", high, b.constant(1, dtype="uint32")),
        b.constant(31 - offset, dtype="uint32"),
    )
    return b("BitwiseAnd", b("BitwiseOr", low, high), b.constant(2**bits - 1, dtype="uint32"))


def _matmul(
    x: np.ndarray,
    words: np.ndarray,
    scales: np.ndarray,
    biases: np.ndarray,
    group_size: int,
    bits: int,
    transpose: bool,
) -> np.ndarray:
    weight = _dequantize(words, scales, biases, group_size, bits)
    return x @ (weight.swapaxes(-1, -2) if transpose else weight)


def _matmul_shape(
    x: Value, words: Value, scales: Value, biases: Value, group_size: int, bits: int, transpose: bool
) -> Inferred:
    ((weight, _),) = _dequantize_shape(words, scales, biases, group_size, bits)
    inner, outer = (weight[-1], weight[-2]) if transpose else (weight[-2], weight[-1])
    if x.shape[-1] != inner:
        raise ShapeError(f"inner sizes of a quantised product differ: {x.shape} and {weight}")
    lead = broadcast(x.shape[:-2], weight[:-2]) if len(weight) > 2 else x.shape[:-2]
    return [((*lead, x.shape[-2], outer) if len(x.shape) > 1 else (outer,), x.dtype)]


def _expand_matmul(
    b: Builder, x: Value, words: Value, scales: Value, biases: Value, *, transpose: bool, **attrs: Any
) -> Value:
    weight = b("Dequantize", words, scales, biases, **attrs)
    return b("Matmul", x, transposed(b, weight) if transpose else weight)


def _gathered(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return array.reshape(-1, *array.shape[-2:])[indices.astype(np.int64)]


def _gather_matmul(
    x: np.ndarray, *rest: np.ndarray, group_size: int, bits: int, transpose: bool
) -> np.ndarray:
    *parts, left, right = rest
    words, scales, biases = (_gathered(part, right) for part in parts)
    return _matmul(_gathered(x, left), words, scales, biases, group_size, bits, transpose)


def _gather_matmul_shape(x: Value, *rest: Value, group_size: int, bits: int, transpose: bool) -> Inferred:
    words, _, _, left, _ = rest
    outer = words.shape[-2] if transpose else _values(words, bits)[-1]
    return [((*left.shape, x.shape[-2], outer), x.dtype)]


def _expand_gather_matmul(b: Builder, x: Value, *rest: Value, **attrs: Any) -> Value:
    from converters.ops.linear import gathered

    *parts, left, right = rest
    words, scales, biases = (gathered(b, part, right) for part in parts)
    return b("QuantizedMatmul", gathered(b, x, left), words, scales, biases, **attrs)


def _quantize(x: np.ndarray, group_size: int, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = x.astype(np.float32).reshape(*x.shape[:-1], -1, group_size)
    low, high = groups.min(axis=-1), groups.max(axis=-1)
    largest = np.float32(2**bits - 1)
    flipped = np.abs(low) > np.abs(high)
    scale = np.maximum((high - low) / largest, np.float32(1e-7))
    scale = np.where(flipped, scale, -scale)
    edge = np.where(flipped, low, high)
    zero = np.rint(edge / scale)
    scale = np.where(zero != 0, edge / np.where(zero != 0, zero, 1), scale).astype(x.dtype)
    bias = np.where(zero != 0, edge, 0).astype(x.dtype)
    wide = (groups - bias[..., None].astype(np.float32)) / scale[..., None].astype(np.float32)
    codes = np.clip(np.rint(wide), 0, largest).reshape(x.shape)
    return packed(codes, bits), scale, bias


def _quantize_shapes(x: Value, group_size: int, bits: int) -> Inferred:
    lead, values = x.shape[:-1], x.shape[-1]
    groups = (*lead, divide(values, group_size))
    return [((*lead, divide(values * bits, 32)), "uint32"), (groups, x.dtype), (groups, x.dtype)]


OPS = (
    Op("Dequantize", ATTRS, _dequantize, _dequantize_shape, _expand_dequantize),
    Op("Quantize", ATTRS, _quantize, _quantize_shapes),
    Op("QuantizedMatmul", (*ATTRS, "transpose"), in_float32(_matmul), _matmul_shape, _expand_matmul),
    Op(
        "GatherQMM",
        (*ATTRS, "transpose"),
        in_float32(_gather_matmul),
        _gather_matmul_shape,
        _expand_gather_matmul,
    ),
)

"""Constants that are stored compressed, and quantization of activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import DTYPES, Meaning, axis_of, ints, limited
from converters.targets.coreml.package import unpack

Array = np.ndarray


def _along(parameter: Array, data: Array, axis: Any) -> Array:
    """A scalar, or a vector along one axis of `data`, shaped so that it broadcasts."""
    parameter = np.asarray(parameter)
    if parameter.ndim == 0 or parameter.size == 1:
        return parameter.reshape(())
    place = axis_of(axis, data.ndim)
    if parameter.shape != (data.shape[place],):
        raise ValueError(f"{parameter.shape} along axis {place} of {data.shape}")
    return parameter.reshape([-1 if index == place else 1 for index in range(data.ndim)])


def _affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Any) -> Array:
    centered = quantized_data.astype(np.float32) - _along(zero_point, quantized_data, axis).astype(np.float32)
    return centered * _along(scale, quantized_data, axis)


def _dequantize(input: Array, scale: Array, zero_point: Array | None = None, axis: Any = 0) -> Array:
    return _affine_dequantize(
        input, np.zeros((), np.float32) if zero_point is None else zero_point, scale, axis
    )


def _quantize(
    input: Array,
    scale: Array,
    output_dtype: str,
    zero_point: Array | None = None,
    axis: Any = 0,
) -> Array:
    bounds = np.iinfo(DTYPES[output_dtype])
    values = np.rint(input / _along(scale, input, axis))
    if zero_point is not None:
        values = values + _along(zero_point, input, axis).astype(np.float32)
    return np.clip(np.nan_to_num(values), bounds.min, bounds.max).astype(DTYPES[output_dtype])


def _repeated(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Each entry repeated over its block, so that the leading axes have the sizes of `shape`."""
    if blocks.ndim < len(shape):
        raise ValueError(f"blocks {blocks.shape} of {shape}")
    for axis, size in enumerate(shape):
        count = blocks.shape[axis]
        if count == 0 or size % count:
            raise ValueError(f"{count} blocks in {size} elements of axis {axis}")
        if count not in (1, size):
            blocks = np.repeat(blocks, size // count, axis)
    return blocks


def _blockwise(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale * (data - offset), each scale for a block whose size follows from the shapes."""
    if data.ndim != scale.ndim or (offset is not None and offset.shape != scale.shape):
        raise ValueError(f"scales {scale.shape} of {data.shape}")
    values = data.astype(np.float32)
    if offset is not None:
        values = values - _repeated(offset.astype(np.float32), data.shape)
    return values * _repeated(scale, data.shape)


def _lut_to_dense(
    indices: Array,
    lut: Array,
    shape: Any = None,
    vector_axis: Any = None,
    ios: int = 16,
) -> Array:
    """Entries of a table by their indices; before iOS 18 the indices are packed bits."""
    if ios < 18:
        sizes = limited(ints(np.asarray(shape).astype(np.int64)))
        bits = int(math.log2(lut.size))
        if lut.ndim != 1 or 1 << bits != lut.size or indices.size != -(-math.prod(sizes) * bits // 8):
            raise ValueError(f"{indices.size} bytes of indices into {lut.shape} for {sizes}")
        return lut[unpack(indices, bits, math.prod(sizes))].reshape(sizes)
    return _palettized(indices, lut, vector_axis)


def _palettized(indices: Array, lut: Array, vector_axis: Any) -> Array:
    """A table per block; an entry is one element, or a vector that is laid along `vector_axis`."""
    if lut.ndim != indices.ndim + 2:
        raise ValueError(f"a table {lut.shape} for indices {indices.shape}")
    length = lut.shape[-1]
    limited([*indices.shape, length])
    if indices.size and int(indices.max()) >= lut.shape[-2]:
        raise IndexError(f"index {indices.max()} into a table of {lut.shape[-2]}")
    places: list[Array] = []
    for axis, size in enumerate(indices.shape):
        count = lut.shape[axis]
        if count == 0 or size % count:
            raise ValueError(f"{count} tables in {size} elements of axis {axis}")
        place = np.arange(size) // (size // count) if size else np.arange(0)
        places.append(place.reshape([-1 if index == axis else 1 for index in range(indices.ndim)]))
    entries = lut[(*places, indices)]  # (*indices, vector)
    if length == 1:
        return entries[..., 0]
    if vector_axis is None:
        raise ValueError("vectors without their axis")
    axis = axis_of(vector_axis, indices.ndim)
    laid = np.moveaxis(entries, -1, axis + 1)
    return laid.reshape([size * (length if index == axis else 1) for index, size in enumerate(indices.shape)])


def _sparse_to_dense(nonzero_data: Array, mask: Array, shape: Any = None, ios: int = 16) -> Array:
    """Elements where the mask is set, zeros elsewhere; before iOS 18 the mask is packed bits."""
    if ios < 18:
        sizes = limited(ints(np.asarray(shape).astype(np.int64)))
        if mask.size != -(-math.prod(sizes) // 8):
            raise ValueError(f"a mask of {mask.size} bytes for {sizes}")
        mask = unpack(mask, 1, math.prod(sizes)).reshape(sizes)
    if int(np.count_nonzero(mask)) != nonzero_data.size:
        raise ValueError(f"{nonzero_data.size} elements for {np.count_nonzero(mask)} places")
    result = np.zeros(mask.shape, nonzero_data.dtype)
    result[mask != 0] = nonzero_data.reshape(-1)
    return result


def _lut_to_sparse(
    indices_mask: Array,
    indices_nonzero_data: Array,
    lut: Array,
    vector_axis: Any = None,
) -> tuple[Array, Array]:
    """The mask and the elements that `constexpr_sparse_to_dense` takes."""
    indices = _sparse_to_dense(indices_nonzero_data, indices_mask, ios=18)
    dense = _palettized(indices, lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1:
        mask = np.repeat(mask, lut.shape[-1], axis_of(vector_axis, mask.ndim))
    return mask, dense[mask != 0]


def _sparse_blockwise(
    data_mask: Array,
    nonzero_data: Array,
    scale: Array,
    offset: Array | None = None,
) -> tuple[Array, Array]:
    dense = _blockwise(_sparse_to_dense(nonzero_data, data_mask, ios=18), scale, offset)
    return data_mask, dense[data_mask != 0]


MEANINGS = {
    "quantize": Meaning(_quantize, lambda output_dtype, **_: (DTYPES[output_dtype],)),
    "dequantize": Meaning(_dequantize, "scale"),
    "constexpr_affine_dequantize": Meaning(_affine_dequantize, "scale"),
    "constexpr_cast": Meaning(
        lambda source_val, output_dtype: source_val, lambda output_dtype, **_: (DTYPES[output_dtype],)
    ),
    "constexpr_blockwise_shift_scale": Meaning(_blockwise, "scale"),
    "constexpr_lut_to_dense": Meaning(_lut_to_dense, "lut", versioned=True, moves=True),
    "constexpr_sparse_to_dense": Meaning(_sparse_to_dense, "nonzero_data", versioned=True, moves=True),
    "constexpr_lut_to_sparse": Meaning(_lut_to_sparse, ("=uint8", "lut")),
    "constexpr_sparse_blockwise_shift_scale": Meaning(_sparse_blockwise, ("=uint8", "scale")),
}

"""Operations that move elements: to another shape, order or place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from converters.targets.coreml.meaning.definition import Meaning, axes_of, axis_of, ints, limited

Array = np.ndarray


def _reshape(x: Array, shape: Any, ios: int = 15) -> Array:
    """0 takes the size of `x` at the same place, counted from the left, from iOS 17 on from the right."""
    wanted = ints(shape)
    if 0 in wanted and x.size:
        if ios < 17 and len(wanted) != x.ndim:
            raise ValueError(f"a 0 in the shape {wanted} of another rank than {x.shape}")
        sizes = [1] * max(0, len(wanted) - x.ndim) + list(x.shape)
        sizes = sizes[len(sizes) - len(wanted) :]
        wanted = [size if size else sizes[axis] for axis, size in enumerate(wanted)]
    if wanted.count(-1) > 1 or any(size < -1 for size in wanted):
        raise ValueError(f"the shape {wanted}")
    return x.reshape(wanted)


def _reshape_like(
    x: Array,
    ref_tensors: tuple[Array, ...],
    begins: tuple[Any, ...],
    ends: tuple[Any, ...],
    end_masks: tuple[Any, ...],
) -> Array:
    shape: list[int] = []
    for reference, begin, end, mask in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += reference.shape[int(begin) : None if mask else int(end)]
    return x.reshape(shape)


def _expand_dims(x: Array, axes: Any) -> Array:
    return np.expand_dims(x, axes_of(axes, x.ndim + len(ints(axes))))


def _squeeze(x: Array, axes: Any = None) -> Array:
    """Axes that are not of size 1 stay, as in PyTorch."""
    chosen = range(x.ndim) if axes is None else axes_of(axes, x.ndim)
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in chosen or size != 1])


def _transpose(x: Array, perm: Any) -> Array:
    if len(ints(perm)) != x.ndim:
        raise ValueError(f"an order {ints(perm)} of the axes of {x.shape}")
    return x.transpose(axes_of(perm, x.ndim))


def _flatten2d(x: Array, axis: Any = 1) -> Array:
    cut = int(axis) if int(axis) >= 0 else int(axis) + x.ndim
    return x.reshape(math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))


def _reverse(x: Array, axes: Any = None) -> Array:
    return np.flip(x, None if axes is None else axes_of(axes, x.ndim))


def _reverse_sequence(x: Array, lengths: Any, seq_axis: Any = 0, batch_axis: Any = 0) -> Array:
    sequence, batch = axis_of(seq_axis, x.ndim), axis_of(batch_axis, x.ndim)
    counts = ints(lengths, x.shape[batch])
    if sequence == batch or any(not 0 <= count <= x.shape[sequence] for count in counts):
        raise ValueError(f"lengths {counts} along axis {sequence} of {x.shape}")
    result = x.copy()
    moved, source = np.moveaxis(result, (batch, sequence), (0, 1)), np.moveaxis(x, (batch, sequence), (0, 1))
    for row, count in enumerate(counts):
        moved[row, :count] = source[row, :count][::-1]
    return result


def slices(
    x: Array,
    begin: Any,
    end: Any,
    stride: Any,
    begin_mask: Any,
    end_mask: Any,
    squeeze_mask: Any,
) -> tuple[slice | int, ...]:
    """The index that slice_by_index and slice_update mean.

    A masked begin or end is the side from which the stride starts, or where it ends; a squeezed axis keeps
    only the element at begin.
    """
    rank = x.ndim
    begins, ends = ints(begin, rank), ints(end, rank)
    strides = [1] * rank if stride is None else ints(stride, rank)
    masks = [
        [False] * rank if m is None else [bool(v) for v in ints(m, rank)] for m in (begin_mask, end_mask)
    ]
    squeezed = [False] * rank if squeeze_mask is None else [bool(v) for v in ints(squeeze_mask, rank)]
    index: list[slice | int] = []
    for axis in range(rank):
        first = None if masks[0][axis] else begins[axis]
        if squeezed[axis]:
            index.append(first or 0)
        else:
            index.append(slice(first, None if masks[1][axis] else ends[axis], strides[axis]))
    return tuple(index)


def _slice_by_index(
    x: Array,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Array:
    return np.asarray(x[slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)])


def _slice_update(
    x: Array,
    update: Array,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Array:
    result = x.copy()
    index = slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    if result[index].shape != update.shape:
        raise ValueError(f"an update {update.shape} for a slice {result[index].shape}")
    result[index] = update
    return result


def _slice_by_size(x: Array, begin: Any, size: Any) -> Array:
    """A size of -1 takes all that is left."""
    index = []
    for first, count, whole in zip(ints(begin, x.ndim), ints(size, x.ndim), x.shape, strict=True):
        start = first + whole if first < 0 else first
        end = whole if count == -1 else start + count
        if not 0 <= start <= end <= whole:
            raise ValueError(f"{count} elements from {first} on of {x.shape}")
        index.append(slice(start, end))
    return x[tuple(index)]


def _concat(values: tuple[Array, ...], axis: Any, interleave: Any = False) -> Array:
    if len({value.dtype for value in values}) > 1:
        raise TypeError(f"different types: {', '.join(value.dtype.name for value in values)}")
    limited([sum(value.size for value in values)])
    if not interleave:
        return np.concatenate([np.atleast_1d(value) for value in values], int(axis))
    place = axis_of(axis, values[0].ndim)
    stacked = np.stack(values, place + 1)
    return stacked.reshape(*stacked.shape[:place], -1, *stacked.shape[place + 2 :])


def _stack(values: tuple[Array, ...], axis: Any) -> Array:
    if len({value.dtype for value in values}) > 1:
        raise TypeError(f"different types: {', '.join(value.dtype.name for value in values)}")
    return np.stack(values, int(axis))


def _split(x: Array, axis: Any, num_splits: Any = None, split_sizes: Any = None) -> tuple[Array, ...]:
    place = axis_of(axis, x.ndim)
    if split_sizes is None:
        if num_splits is None or int(num_splits) < 1 or x.shape[place] % int(num_splits):
            raise ValueError(f"{x.shape} in {num_splits} parts along axis {place}")
        sizes = [x.shape[place] // int(num_splits)] * int(num_splits)
    else:
        sizes = ints(split_sizes)
        if sum(sizes) != x.shape[place] or min(sizes, default=0) < 0:
            raise ValueError(f"{x.shape} in parts of {sizes} along axis {place}")
    ends = np.cumsum(sizes)
    return tuple(x[(*[slice(None)] * place, slice(e - s, e))] for s, e in zip(sizes, ends, strict=True))


def _depth_to_space(x: Array, block_size: Any) -> Array:
    """Channel (row, column, c) of a block goes to that row and column, as in TensorFlow."""
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // (b * b), h * b, w * b)


def _space_to_depth(x: Array, block_size: Any) -> Array:
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b * b, h // b, w // b)


def _pixel_shuffle(x: Array, upscale_factor: Any) -> Array:
    """Channel (c, row, column) goes to that row and column, as in PyTorch."""
    n, c, h, w = x.shape
    f = int(upscale_factor)
    y = x.reshape(n, c // (f * f), f, f, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // (f * f), h * f, w * f)


def _pixel_unshuffle(x: Array, downscale_factor: Any) -> Array:
    n, c, h, w = x.shape
    f = int(downscale_factor)
    y = x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4)
    return y.reshape(n, c * f * f, h // f, w // f)


def _space_to_batch(x: Array, block_shape: Any, paddings: Any) -> Array:
    n, c = x.shape[:2]
    p, q = ints(block_shape, 2)
    pads = [(0, 0), (0, 0), *(tuple(row) for row in np.asarray(paddings).reshape(2, 2).tolist())]
    limited(size + before + after for size, (before, after) in zip(x.shape, pads, strict=True))
    y = np.pad(x, pads)
    h, w = y.shape[2:]
    return (
        y.reshape(n, c, h // p, p, w // q, q)
        .transpose(3, 5, 0, 1, 2, 4)
        .reshape(n * p * q, c, h // p, w // q)
    )


def _batch_to_space(x: Array, block_shape: Any, crops: Any) -> Array:
    n, c, h, w = x.shape
    p, q = ints(block_shape, 2)
    y = (
        x.reshape(p, q, n // (p * q), c, h, w)
        .transpose(2, 3, 4, 0, 5, 1)
        .reshape(n // (p * q), c, h * p, w * q)
    )
    (top, bottom), (left, right) = np.asarray(crops).reshape(2, 2).tolist()
    if min(top, bottom, left, right) < 0:
        raise ValueError("negative crops")
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def _crop(x: Array, crop_height: Any, crop_width: Any) -> Array:
    (top, bottom), (left, right) = ints(crop_height, 2), ints(crop_width, 2)
    if min(top, bottom, left, right) < 0 or top + bottom > x.shape[-2] or left + right > x.shape[-1]:
        raise ValueError(f"{x.shape} without {top}, {bottom} rows and {left}, {right} columns")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _sliding_windows(x: Array, axis: Any, size: Any, stride: Any = 1) -> Array:
    place = axis_of(axis, x.ndim)
    if int(stride) < 1:
        raise ValueError(f"stride {int(stride)}")
    view = sliding_window_view(x, int(size), place)[(*[slice(None)] * place, slice(None, None, int(stride)))]
    limited(view.shape)
    return np.moveaxis(view, -1, place + 1)


_FUNCTIONS: dict[str, Any] = {
    "reshape_like": _reshape_like,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "flatten2d": _flatten2d,
    "reverse": _reverse,
    "reverse_sequence": _reverse_sequence,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "split": _split,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "space_to_batch": _space_to_batch,
    "batch_to_space": _batch_to_space,
    "crop": _crop,
    "sliding_windows": _sliding_windows,
}


def _of_values(values: tuple[Array, ...], **_: Any) -> tuple[str, ...]:
    return (values[0].dtype.name,)


MEANINGS = {name: Meaning(function, moves=True) for name, function in _FUNCTIONS.items()} | {
    "reshape": Meaning(_reshape, versioned=True, moves=True),
    "slice_update": Meaning(_slice_update, same=("x", "update"), moves=True),
    "concat": Meaning(_concat, _of_values, moves=True),
    "stack": Meaning(_stack, _of_values, moves=True),
}

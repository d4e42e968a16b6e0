"""Gathering and scattering at computed positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import NUMBERS, Meaning, axis_of, limited

Array = np.ndarray
ONE = np.int32(1)
GATHERED = NUMBERS | {"int16", "uint16", "int8", "uint8"}


def _positions(indices: Array, size: int | Array, ios: int) -> Array:
    """Indices counted from the front. IndexError outside, where Core ML would read what it happens to find;
    from iOS 17 on that holds for negative ones too."""
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices of type {indices.dtype.name}")
    wide = indices.astype(np.int64)
    if ios < 17:
        wide = np.where(wide < 0, wide + size, wide)
    outside = (wide < 0) | (wide >= size)
    if outside.any():
        raise IndexError(f"index {indices[outside].flat[0]} outside of {size} elements")
    return wide


def _gather(
    x: Array,
    indices: Any,
    axis: Any = 0,
    batch_dims: Any = 0,
    validate_indices: Any = False,
    ios: int = 15,
) -> Array:
    place, batch = axis_of(axis, x.ndim), int(batch_dims)
    where = _positions(np.asarray(indices), x.shape[place], ios)
    if not 0 <= batch <= min(place, where.ndim) or x.shape[:batch] != where.shape[:batch]:
        raise ValueError(f"{batch} batch axes of {x.shape} and indices {where.shape}")
    limited([*x.shape[:place], *where.shape[batch:], *x.shape[place + 1 :]])
    if batch == 0:
        return np.take(x, where, place)
    rows = x.reshape(-1, *x.shape[batch:])
    parts = [
        np.take(row, at, place - batch) for row, at in zip(rows, where.reshape(len(rows), -1), strict=True)
    ]
    shape = [*x.shape[:place], *where.shape[batch:], *x.shape[place + 1 :]]
    return np.stack(parts).reshape(shape)


def _gather_along_axis(
    x: Array,
    indices: Array,
    axis: Any = 0,
    validate_indices: Any = False,
    ios: int = 15,
) -> Array:
    place = axis_of(axis, x.ndim)
    _aligned(x, indices, place)
    return np.take_along_axis(x, _positions(indices, x.shape[place], ios), place)


def _aligned(x: Array, indices: Array, place: int) -> None:
    sizes = [(a, b) for axis, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True)) if axis != place]
    if any(a != b for a, b in sizes):
        raise ValueError(f"indices {indices.shape} along axis {place} of {x.shape}")


def _points(x: Array, indices: Array, batch: int, ios: int) -> tuple[Array, ...]:
    """The index arrays that the last axis of `indices` means, after `batch` axes in common."""
    depth = indices.shape[-1]
    if depth > x.ndim - batch or x.shape[:batch] != indices.shape[:batch]:
        raise ValueError(f"indices {indices.shape} into {x.shape}")
    sizes = np.array(x.shape[batch : batch + depth], np.int64)
    where = _positions(indices, np.broadcast_to(sizes, indices.shape), ios) if indices.size else indices
    grids = np.meshgrid(*(np.arange(size) for size in x.shape[:batch]), indexing="ij", sparse=True)
    rest = where.ndim - 1 - batch
    return (*(grid.reshape(*grid.shape, *[1] * rest) for grid in grids), *np.moveaxis(where, -1, 0))


def _gather_nd(
    x: Array,
    indices: Array,
    batch_dims: Any = 0,
    validate_indices: Any = False,
    ios: int = 15,
) -> Array:
    batch = int(batch_dims)
    limited([*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]])
    return np.asarray(x[_points(x, indices, batch, ios)])


def _apply(result: Array, index: Any, updates: Array, mode: str) -> None:
    """Combine updates into `result` at an index; positions that occur several times take all in turn."""
    ufuncs: dict[str, Callable[..., Any]] = {
        "add": np.add.at,
        "sub": np.subtract.at,
        "mul": np.multiply.at,
        "max": np.maximum.at,
        "min": np.minimum.at,
    }
    if mode == "update":
        result[index] = updates
    elif mode == "div":
        divide = np.divide if result.dtype.kind == "f" else np.floor_divide
        divide.at(result, index, updates)
    elif mode in ufuncs:
        ufuncs[mode](result, index, updates)
    else:
        raise ValueError(f"mode {mode!r}")


def _scatter(
    data: Array,
    indices: Array,
    updates: Array,
    axis: Any = 0,
    mode: str = "add",
    validate_indices: Any = False,
    ios: int = 15,
) -> Array:
    place = axis_of(axis, data.ndim)
    where = _positions(indices, data.shape[place], ios)
    if updates.shape != (*data.shape[:place], *where.shape, *data.shape[place + 1 :]):
        raise ValueError(
            f"updates {updates.shape} at indices {where.shape} along axis {place} of {data.shape}"
        )
    result = data.copy()
    _apply(result, (*[slice(None)] * place, where), updates, mode)
    return result


def _scatter_along_axis(
    data: Array,
    indices: Array,
    updates: Array,
    axis: Any = 0,
    mode: str = "add",
    validate_indices: Any = False,
    ios: int = 15,
) -> Array:
    place = axis_of(axis, data.ndim)
    _aligned(data, indices, place)
    if updates.shape != indices.shape:
        raise ValueError(f"updates {updates.shape} at indices {indices.shape}")
    index: list[Array] = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
    index[place] = _positions(indices, data.shape[place], ios)
    result = data.copy()
    _apply(result, tuple(index), updates, mode)
    return result


def _scatter_nd(
    data: Array,
    indices: Array,
    updates: Array,
    mode: str = "add",
    validate_indices: Any = False,
    ios: int = 15,
) -> Array:
    index = _points(data, indices, 0, ios)
    if updates.shape != (*indices.shape[:-1], *data.shape[indices.shape[-1] :]):
        raise ValueError(f"updates {updates.shape} at indices {indices.shape} of {data.shape}")
    result = data.copy()
    _apply(result, index, updates, mode)
    return result


def _non_zero(x: Array) -> Array:
    return np.argwhere(x).astype(np.int32)


def _one_hot(
    indices: Array,
    one_hot_vector_size: Any,
    axis: Any = -1,
    on_value: Any = ONE,
    off_value: Any = 0,
) -> Array:
    """Indices outside are nowhere on."""
    size, on = int(one_hot_vector_size), np.asarray(on_value)
    limited([math.prod(indices.shape), size])
    hot = np.arange(size) == indices[..., None]
    return np.moveaxis(np.where(hot, on, np.asarray(off_value, on.dtype)), -1, int(axis))


def _one_hot_dtype(on_value: Any = ONE, **_: Any) -> tuple[str, ...]:
    return (on_value.dtype.name,)


MEANINGS = {
    "gather": Meaning(_gather, versioned=True, moves=True, allowed=GATHERED),
    "gather_along_axis": Meaning(_gather_along_axis, versioned=True, moves=True, allowed=GATHERED),
    "gather_nd": Meaning(_gather_nd, versioned=True, moves=True, allowed=GATHERED),
    "scatter": Meaning(_scatter, "data", ("data", "updates"), NUMBERS, versioned=True),
    "scatter_along_axis": Meaning(_scatter_along_axis, "data", ("data", "updates"), NUMBERS, versioned=True),
    "scatter_nd": Meaning(_scatter_nd, "data", ("data", "updates"), NUMBERS, versioned=True),
    "non_zero": Meaning(_non_zero, "=int32", moves=True),
    "one_hot": Meaning(_one_hot, _one_hot_dtype, moves=True),
}

"""Ops that combine elements along axes: reductions, positions of extremes, running scans, sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, in_float32, same

KINDS: dict[str, Callable[..., Any]] = {
    "and": np.all,
    "or": np.any,
    "sum": np.sum,
    "prod": np.prod,
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
}


def reduced(x: Value, axes: tuple[int, ...], keepdims: bool, dtype: str) -> Inferred:
    """The shape that is left when `axes` are combined."""
    if keepdims:
        return [(tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)), dtype)]
    return [(tuple(size for axis, size in enumerate(x.shape) if axis not in axes), dtype)]


def _reduce_shape(x: Value, kind: str, axes: tuple[int, ...], keepdims: bool, dtype: str) -> Inferred:
    return reduced(x, axes, keepdims, dtype)


def _reduce(x: np.ndarray, kind: str, axes: tuple[int, ...], keepdims: bool, dtype: str) -> np.ndarray:
    target = numpy_dtype(dtype)
    if kind in ("sum", "prod", "mean"):
        wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else target
        return KINDS[kind](x.astype(wide), axis=axes, keepdims=keepdims).astype(target)
    if kind in ("min", "max") and x.shape and 0 in [x.shape[axis] for axis in axes]:
        shape = reduced(Value("", x.shape, ""), axes, keepdims, "")[0][0]
        limits = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
        worst = (
            (limits.max if kind == "min" else limits.min)
            if limits
            else (np.inf if kind == "min" else -np.inf)
        )
        return np.full(shape, worst, target)  # type: ignore[arg-type]
    return KINDS[kind](x, axis=axes, keepdims=keepdims).astype(target)


def _arg_reduce(x: np.ndarray, kind: str, axis: int, keepdims: bool) -> np.ndarray:
    return (np.argmax if kind == "max" else np.argmin)(x, axis=axis, keepdims=keepdims).astype(np.uint32)


def _arg_reduce_shape(x: Value, kind: str, axis: int, keepdims: bool) -> Inferred:
    return reduced(x, (axis,), keepdims, "uint32")


SCANS: dict[str, Callable[..., Any]] = {
    "sum": np.add.accumulate,
    "prod": np.multiply.accumulate,
    "max": np.maximum.accumulate,
    "min": np.minimum.accumulate,
    "logaddexp": np.logaddexp.accumulate,
}


def _scan(x: np.ndarray, kind: str, axis: int, reverse: bool, inclusive: bool, dtype: str) -> np.ndarray:
    target = numpy_dtype(dtype)
    moved = np.moveaxis(x.astype(target), axis, 0)
    moved = moved[::-1] if reverse else moved
    if not inclusive:
        first = np.full_like(moved[:1], scan_identity(kind, target))
        moved = np.concatenate([first, moved[:-1]])
    result = SCANS[kind](moved, axis=0) if len(moved) else moved
    return np.moveaxis(result[::-1] if reverse else result, 0, axis).astype(target)


COMBINED = {"sum": "Add", "prod": "Multiply", "max": "Maximum", "min": "Minimum", "logaddexp": "LogAddExp"}


def _expand_scan(
    b: Builder, x: Value, kind: str, axis: int, reverse: bool, inclusive: bool, dtype: str
) -> Value:
    """Over a known size in steps that double; over one that varies by reducing a triangle."""
    x = x if x.dtype == dtype else b("AsType", x, dtype=dtype)
    size = x.shape[axis]
    neutral = b.constant(scan_identity(kind, numpy_dtype(dtype)), dtype=dtype)
    if not isinstance(size, int):
        return _expand_scan_dynamic(b, x, neutral, kind, axis, reverse, inclusive)

    def shifted(value: Value, count: int) -> Value:
        if count >= size:
            return b("Broadcast", neutral, shape=x.shape)
        filled = b("Broadcast", neutral, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))
        start, end = [0] * len(x.shape), list(x.shape)
        start[axis], end[axis] = (count, size) if reverse else (0, size - count)
        kept = b("Slice", value, start=tuple(start), end=tuple(end), strides=(1,) * len(start))
        return b("Concatenate", *((kept, filled) if reverse else (filled, kept)), axis=axis)

    x = x if inclusive or not size else shifted(x, 1)
    step = 1
    while step < size:
        x = b(COMBINED[kind], x, shifted(x, step))
        step *= 2
    return x


def _expand_scan_dynamic(
    b: Builder, x: Value, neutral: Value, kind: str, axis: int, reverse: bool, inclusive: bool
) -> Value:
    size, last = x.shape[axis], len(x.shape) - 1
    order = (*(i for i in range(last + 1) if i != axis), axis)
    moved = b("Transpose", x, axes=order) if axis != last else x
    places = b("Arange", start=0, step=1, size=size, dtype="int32")
    row, column = (b("Reshape", places, shape=shape) for shape in ((size, 1), (1, size)))
    row, column = (column, row) if reverse else (row, column)
    seen = b("GreaterEqual" if inclusive else "Greater", row, column)
    triangle = b("Select", seen, b("Reshape", moved, shape=(*moved.shape[:-1], 1, size)), neutral)
    if kind == "logaddexp":
        y = b("Reshape", b("LogSumExp", triangle, axis=last + 1), shape=moved.shape)
    else:
        y = b("Reduce", triangle, kind=kind, axes=(last + 1,), keepdims=False, dtype=x.dtype)
    return y if axis == last else b("Transpose", y, axes=tuple(int(i) for i in np.argsort(order)))


def scan_identity(kind: str, dtype: np.dtype[Any]) -> Any:
    """The value that leaves a running `kind` as it is."""
    if kind in ("sum", "prod"):
        return 0 if kind == "sum" else 1
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if kind == "max" else np.iinfo(dtype).max
    return np.inf if kind == "min" else -np.inf


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return shifted / np.sum(shifted, axis=axis, keepdims=True)


def _log_sum_exp(x: np.ndarray, axis: int) -> np.ndarray:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top


def _expand_log_sum_exp(b: Builder, x: Value, axis: int) -> Value:
    largest = b("Reduce", x, kind="max", axes=(axis,), keepdims=True, dtype=x.dtype)
    finite = b("Less", b("Abs", largest), b.constant(np.inf, dtype=x.dtype))
    top = b("Select", finite, largest, b.constant(0, dtype=x.dtype))
    total = b(
        "Reduce", b("Exp", b("Subtract", x, top)), kind="sum", axes=(axis,), keepdims=True, dtype=x.dtype
    )
    return b("Add", b("Log", total), top)


def _kept(x: Value, axis: int) -> Inferred:
    return reduced(x, (axis,), True, x.dtype)


def _sortable(x: np.ndarray) -> np.ndarray:
    """NumPy sorts the nan of bfloat16 anywhere."""
    return x.astype(np.float32) if x.dtype.name == "bfloat16" else x


def _sort(x: np.ndarray, axis: int, **_: Any) -> np.ndarray:
    return np.sort(_sortable(x), axis=axis, kind="stable").astype(x.dtype)


def _arg_sort(x: np.ndarray, axis: int, **_: Any) -> np.ndarray:
    return np.argsort(_sortable(x), axis=axis, kind="stable").astype(np.uint32)


def _positions(x: Value, **_: Any) -> Inferred:
    return [(x.shape, "uint32")]


OPS = (
    Op("Reduce", ("kind", "axes", "keepdims", "dtype"), _reduce, _reduce_shape),
    Op("ArgReduce", ("kind", "axis", "keepdims"), _arg_reduce, _arg_reduce_shape),
    Op(
        "Scan",
        ("kind", "axis", "reverse", "inclusive", "dtype"),
        _scan,
        lambda x, dtype, **_: [(x.shape, dtype)],
        _expand_scan,
    ),
    Op("Softmax", ("axis",), in_float32(_softmax), same),
    Op("LogSumExp", ("axis",), in_float32(_log_sum_exp), _kept, _expand_log_sum_exp),
    Op("Sort", ("axis",), _sort, same),
    Op("ArgSort", ("axis",), _arg_sort, _positions),
    Op("Partition", ("kth", "axis"), _sort, same),
    Op("ArgPartition", ("kth", "axis"), _arg_sort, _positions),
)

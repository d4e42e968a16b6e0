"""Reductions over axes, sums along an axis, and sorting."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import DTYPES, NUMBERS, Meaning, axes_of, axis_of
from converters.targets.coreml.meaning.elementwise import saturated

Array = np.ndarray
Reduction = Callable[[Array, tuple[int, ...]], Array]  # with the reduced axes kept as size 1


def _log_sum_exp(x: Array, axes: tuple[int, ...]) -> Array:
    peak = x.max(axes, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0)
    return np.log(np.exp(x - peak).sum(axes, keepdims=True)) + peak


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    return x.mean(axes, dtype=np.float32 if x.dtype.kind == "f" else np.float64, keepdims=True)


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    return x.sum(axes, dtype=x.dtype, keepdims=True)


_REDUCTIONS: dict[str, Reduction] = {
    "reduce_sum": _sum,
    "reduce_mean": _mean,
    "reduce_max": lambda x, axes: x.max(axes, keepdims=True),
    "reduce_min": lambda x, axes: x.min(axes, keepdims=True),
    "reduce_prod": lambda x, axes: x.prod(axes, dtype=x.dtype, keepdims=True),
    "reduce_sum_square": lambda x, axes: _sum(x * x, axes),
    "reduce_l1_norm": lambda x, axes: _sum(np.abs(x), axes),
    "reduce_l2_norm": lambda x, axes: np.sqrt(_sum(x * x, axes)),
    "reduce_log_sum": lambda x, axes: np.log(_sum(x, axes)),
    "reduce_log_sum_exp": _log_sum_exp,
}


def _reduce(function: Reduction, x: Array, axes: Any = None, keep_dims: Any = False) -> Array:
    """Integers stay integers: what is not whole is cut."""
    chosen = tuple(range(x.ndim)) if axes is None else axes_of(axes, x.ndim)
    result = function(x, chosen)
    if x.dtype.kind != "f" and result.dtype != x.dtype:
        result = saturated(result, x.dtype.name)
    return result if keep_dims else np.squeeze(result, chosen)


def _arg(
    function: Callable[..., Array],
    x: Array,
    axis: Any = -1,
    keep_dims: Any = False,
    output_dtype: str = "int32",
) -> Array:
    """The first of several."""
    return function(x, axis_of(axis, x.ndim), keepdims=bool(keep_dims)).astype(DTYPES[output_dtype.lower()])


def _arg_dtype(x: Array, output_dtype: str = "int32", **_: Any) -> tuple[str, ...]:
    return (DTYPES[output_dtype.lower()],)


def _cumsum(x: Array, axis: Any = 0, exclusive: Any = False, reverse: Any = False) -> Array:
    place = axis_of(axis, x.ndim)
    x = np.flip(x, place) if reverse else x
    result = np.cumsum(x, place, dtype=x.dtype)
    if exclusive:
        result = np.roll(result, 1, place)
        result[(*[slice(None)] * place, slice(0, 1))] = 0
    return np.flip(result, place) if reverse else result


def _order(x: Array, axis: int, ascending: Any) -> Array:
    """Indices that sort; equal elements keep their order."""
    if ascending:
        return np.argsort(x, axis, kind="stable")
    backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - backwards, axis)


def _argsort(x: Array, axis: Any = -1, ascending: Any = False) -> Array:
    return _order(x, axis_of(axis, x.ndim), ascending).astype(np.int32)


def _topk(
    x: Array,
    k: Any = 1,
    axis: Any = -1,
    ascending: Any = False,
    sort: Any = True,
    return_indices: Any = True,
    output_indices_dtype: str = "int32",
) -> Array | tuple[Array, Array]:
    """The k largest (or smallest) along an axis, in order whatever `sort` says; k = -1 takes all."""
    place = axis_of(axis, x.ndim)
    count = x.shape[place] if int(k) == -1 else int(k)
    if not 0 <= count <= x.shape[place]:
        raise ValueError(f"the first {count} of {x.shape[place]}")
    indices = _order(x, place, ascending)[(*[slice(None)] * place, slice(count))]
    values = np.take_along_axis(x, indices, place)
    return (values, indices.astype(DTYPES[output_indices_dtype])) if return_indices else values


MEANINGS = {
    name: Meaning(partial(_reduce, function), allowed=NUMBERS) for name, function in _REDUCTIONS.items()
} | {
    "reduce_argmax": Meaning(partial(_arg, np.argmax), _arg_dtype),
    "reduce_argmin": Meaning(partial(_arg, np.argmin), _arg_dtype),
    "cumsum": Meaning(_cumsum, allowed=NUMBERS),
    "argsort": Meaning(_argsort, "=int32", moves=True),
    "topk": Meaning(_topk, moves=True),
}

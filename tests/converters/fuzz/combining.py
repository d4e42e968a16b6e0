"""Operations that combine elements: reductions, scans, sorting, products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from fuzz.operation import Choice, Operation, Unfit


def _full(v: Any) -> bool:
    return not v.empty


def _over_axes(*kinds: str) -> Callable[..., Choice]:
    """Some axes, or all."""

    def choose(d: Any) -> Choice:
        x = d.value(*kinds)
        return (x,), {"axis": d.axes(x) or None, "keepdims": d.flag()}

    return choose


def _over_axis(*kinds: str) -> Callable[..., Choice]:
    """One axis of an operand that is never empty, or all."""

    def choose(d: Any) -> Choice:
        x = d.value(*kinds, rank=1, check=_full)
        return (x,), {"axis": d.axis(x), "keepdims": d.flag()}

    return choose


def _choose_softmax(d: Any) -> Choice:
    x = d.value("float", rank=1, check=_full)
    return (x,), {"axis": d.axis(x)}


def _choose_scan(*kinds: str) -> Callable[..., Choice]:
    def choose(d: Any) -> Choice:
        x = d.value(*kinds, rank=1)
        return (x,), {"axis": d.axis(x), "reverse": d.flag(), "inclusive": not d.flag()}

    return choose


def _choose_sort(d: Any) -> Choice:
    x = d.value("float", "integer", "bool", rank=1)
    return (x,), {"axis": d.axis(x)}


def _choose_largest(d: Any) -> Choice:
    x = d.value("float", "integer", rank=1, check=_full)
    axis = d.axis(x)
    return (x,), {"count": d.integer(1, min(x.dims[axis])), "axis": axis}


def _largest(x: mx.array, count: int, axis: int) -> mx.array:
    """In order: where each of them stands is not defined."""
    return mx.sort(mx.topk(x, count, axis=axis), axis=axis)


def _largest_places(x: mx.array, count: int, axis: int) -> mx.array:
    places = mx.argpartition(x, -count, axis=axis)
    chosen = mx.take(places, mx.arange(x.shape[axis] - count, x.shape[axis]), axis=axis)
    return mx.sort(mx.take_along_axis(x, chosen, axis=axis), axis=axis)


def _fits_product(x: Any, y: Any) -> bool:
    """Whether x @ y has one inner size and batches that broadcast."""
    if x.dims[-1] != (y.dims[-2] if y.rank > 1 else y.dims[-1]):
        return False
    batches = zip(x.dims[-3::-1], y.dims[-3::-1], strict=False)
    return all(a == b or set(a) == {1} or set(b) == {1} for a, b in batches)


def _choose_product(d: Any) -> Choice:
    x = d.value("float", rank=1)
    if d.flag() and x.shape[-1]:
        columns = (d.integer(1, 5),) if d.flag(4) is False else ()
        return (x, d.constant((x.shape[-1], *columns), x.dtype)), {}
    return (x, d.value("float", rank=1, check=lambda y: _fits_product(x, y))), {}


def _choose_linear(d: Any) -> Choice:
    x = d.value("float", rank=1)
    if not x.shape[-1]:
        raise Unfit
    rows = d.integer(1, 6)
    weight = d.constant((rows, x.shape[-1]), x.dtype)
    return (x, weight, *([d.constant((rows,), x.dtype)] if d.flag() else [])), {}


def _linear(x: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


def _choose_addmm(d: Any) -> Choice:
    (x, y), _ = _choose_product(d)
    if y.rank < 2:
        raise Unfit
    bias = d.constant((y.shape[-1] or 1,), x.dtype)
    return (bias, x, y), {"alpha": d.choice((1.0, 0.5)), "beta": d.choice((1.0, 2.0))}


def _choose_outer(d: Any) -> Choice:
    x = d.value("float", "integer", rank=1)
    return (x, d.value(dtype=x.dtype, rank=1)), {}


def _choose_inner(d: Any) -> Choice:
    x = d.value("float", rank=1)
    return (x, d.value("float", rank=1, check=lambda y: y.dims[-1] == x.dims[-1])), {}


def _choose_einsum(d: Any) -> Choice:
    x = d.value("float", rank=2)
    x = d.value("float", rank=2, check=lambda v: v.rank == x.rank)
    if x.rank == 2:
        y = d.value("float", rank=2, check=lambda v: v.rank == 2 and v.dims[0] == x.dims[1])
        return (x, y), {"formula": d.choice(("ij,jk->ik", "ij,jk->ki", "ij,jk->k"))}
    if x.rank == 3:
        y = d.value("float", rank=3, check=lambda v: v.rank == 3 and v.dims[::2] == x.dims[::2])
        return (x, y), {"formula": d.choice(("bik,bjk->bij", "bik,bjk->jib"))}
    raise Unfit


def _log_sums(x: mx.array, axis: int, **attrs: Any) -> mx.array:
    """Of few elements where MLX's sums of short floats stop growing: it rounds after each element."""
    if x.dtype != mx.float32 and x.shape[axis] > 32:
        raise Unfit
    return mx.logcumsumexp(x, axis=axis, **attrs)


OVER_AXES: dict[str, tuple[Callable[..., Any], tuple[str, ...], str]] = {
    "sum": (mx.sum, ("float", "integer", "bool"), "whole"),
    "mean": (mx.mean, ("float", "integer"), "smooth"),
    "prod": (mx.prod, ("float", "integer"), "whole"),
    "max": (mx.max, ("float", "integer", "bool"), "moves"),
    "min": (mx.min, ("float", "integer", "bool"), "moves"),
    "all": (mx.all, ("bool",), "moves"),
    "any": (mx.any, ("bool",), "moves"),
    "var": (mx.var, ("float",), "smooth"),
    "std": (mx.std, ("float",), "smooth"),
    "logsumexp": (mx.logsumexp, ("float",), "smooth"),
}
SCANS: dict[str, tuple[Callable[..., Any], tuple[str, ...], str]] = {
    "cumsum": (mx.cumsum, ("float", "integer", "bool"), "whole"),
    "cumprod": (mx.cumprod, ("float", "integer"), "whole"),
    "cummax": (mx.cummax, ("float", "integer"), "moves"),
    "cummin": (mx.cummin, ("float", "integer"), "moves"),
    "logcumsumexp": (_log_sums, ("float",), "smooth"),
}


COMBINING: dict[str, Operation] = {
    **{
        name: Operation(fn, _over_axes(*kinds), rounding) for name, (fn, kinds, rounding) in OVER_AXES.items()
    },
    **{name: Operation(fn, _choose_scan(*kinds), how) for name, (fn, kinds, how) in SCANS.items()},
    "argmax": Operation(mx.argmax, _over_axis("float", "integer", "bool"), "steps"),
    "argmin": Operation(mx.argmin, _over_axis("float", "integer", "bool"), "steps"),
    "softmax": Operation(mx.softmax, _choose_softmax),
    "sort": Operation(mx.sort, _choose_sort, "moves"),
    "argsort": Operation(mx.argsort, _choose_sort, "steps"),
    "largest": Operation(_largest, _choose_largest, "moves"),
    "largest_places": Operation(_largest_places, _choose_largest, "steps"),
    "matmul": Operation(mx.matmul, _choose_product),
    "matmul_again": Operation(mx.matmul, _choose_product),
    "linear": Operation(_linear, _choose_linear),
    "addmm": Operation(mx.addmm, _choose_addmm),
    "outer": Operation(mx.outer, _choose_outer, "exact"),
    "inner": Operation(mx.inner, _choose_inner),
    "einsum": Operation(lambda x, y, formula: mx.einsum(formula, x, y), _choose_einsum),
}

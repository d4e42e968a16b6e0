"""Operations that read and write at positions held by arrays, brought into range."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from fuzz.operation import Choice, Operation, Unfit

KINDS = ("float", "integer", "bool")


def positions(where: mx.array, size: int) -> mx.array:
    """Integers in [-size, size): every second value counts from the back."""
    where = mx.remainder(where.astype(mx.int32), size)
    return mx.where(where % 2 == 1, where - size, where)


def _choose_take(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    where = d.value("integer", check=lambda v: v.rank <= 2) if not d.flag(3) else d.constant((3,), "int32")
    return (x, where), {"axis": d.axis(x)}


def _take(x: mx.array, where: mx.array, axis: int) -> mx.array:
    return mx.take(x, positions(where, x.shape[axis]), axis=axis)


def _choose_along(d: Any) -> Choice:
    """Positions of the same shape but along the axis."""
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    axis = d.axis(x)

    def fits(v: Any) -> bool:
        others = (i == axis % x.rank or a == b for i, (a, b) in enumerate(zip(x.dims, v.dims, strict=True)))
        return v.kind == "integer" and all(others)

    def fitting(v: Any) -> bool:
        return v.rank == x.rank and fits(v)

    try:
        where = d.value("integer", check=fitting)
    except Unfit:
        if None in x.shape:
            raise
        shape = tuple(2 if i == axis % x.rank else size for i, size in enumerate(x.shape))
        where = d.constant(shape, "int64")
    return (x, where), {"axis": axis}


def _take_along(x: mx.array, where: mx.array, axis: int) -> mx.array:
    return mx.take_along_axis(x, positions(where, x.shape[axis]), axis=axis)


def _put_along(x: mx.array, where: mx.array, axis: int) -> mx.array:
    """One value at every position, so that repeated positions do not matter."""
    return mx.put_along_axis(x, positions(where, x.shape[axis]), mx.array(1, x.dtype), axis=axis)


def _add_along(x: mx.array, where: mx.array, axis: int) -> mx.array:
    """Written at positions that differ: the order of a sort. MLX does not check that they are inside."""
    if where.shape[axis] > x.shape[axis]:
        raise Unfit
    return mx.put_along_axis(x, mx.argsort(where, axis=axis), where.astype(x.dtype), axis=axis)


def _choose_points(d: Any) -> Choice:
    """Two index arrays that broadcast, for the first and the last axis."""
    x = d.value(*KINDS, rank=2, check=lambda v: not v.empty)
    where = d.value("integer", check=lambda v: v.rank <= 2)
    return (x, where, d.partner(where, "integer")), {}


def _points(x: mx.array, where: mx.array, other: mx.array) -> mx.array:
    middle = (slice(None),) * (x.ndim - 2)
    return x[(positions(where, x.shape[0]), *middle, positions(other, x.shape[-1]))]


def _choose_rows(d: Any) -> Choice:
    """Rows to write at, each once, by the order of a sort."""
    x = d.value("float", "integer", rank=1, check=lambda v: not v.empty)
    where = d.value("integer", rank=1, check=lambda v: v.rank == 1 and v.dims[0] == x.dims[0])
    return (x, where), {"kind": d.choice(("set", "add", "maximum", "minimum", "multiply"))}


def _write_rows(x: mx.array, where: mx.array, kind: str) -> mx.array:
    rows = mx.argsort(where)
    updates = x * 2
    if kind == "set":
        x = x + 0
        x[rows] = updates
        return x
    return getattr(x.at[rows], kind)(updates)


def _choose_add_rows(d: Any) -> Choice:
    """Rows that may repeat: sums are the same in any order where the numbers are exact."""
    x = d.value("integer", rank=1, check=lambda v: not v.empty)
    where = d.value(
        "integer", rank=1, check=lambda v: v.rank <= 2
    )  # MLX crashes where rank-0 updates are made
    return (x, where), {"kind": d.choice(("add", "maximum", "minimum"))}


def _add_rows(x: mx.array, where: mx.array, kind: str) -> mx.array:
    rows = positions(where, x.shape[0])
    updates = mx.broadcast_to(where.reshape(*where.shape, *[1] * (x.ndim - 1)), (*where.shape, *x.shape[1:]))
    return getattr(x.at[rows], kind)(updates.astype(x.dtype))


def _choose_window(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    bounds = tuple(
        (d.choice((None, 0, 1)), d.choice((None, -1)), d.choice((1, 1, 2)))
        for _ in range(d.integer(1, x.rank))
    )
    return (x,), {"bounds": bounds, "kind": d.choice(("set", "add", "multiply", "maximum"))}


def _window(x: mx.array, bounds: Any, kind: str) -> mx.array:
    where = tuple(slice(*b) for b in bounds)
    updates = mx.flip(x[where], 0)
    if kind == "set":
        x = x + 0 if x.dtype != mx.bool_ else mx.logical_or(x, x)
        x[where] = updates
        return x
    return getattr(x.at[where], kind)(updates)


def _choose_search(d: Any) -> Choice:
    x = d.value("float", "integer", check=lambda v: v.rank == 1)
    return (x, d.value(dtype=x.dtype)), {"right": d.flag()}


def _choose_moving(d: Any) -> Choice:
    """A window of known size whose start is computed."""
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    axis = d.integer(0, x.rank - 1)
    where = d.value("integer", check=lambda v: not v.empty)
    return (x, where), {"axis": axis, "size": d.integer(1, min(x.dims[axis]))}


def _moving(x: mx.array, where: mx.array, axis: int, size: int) -> mx.array:
    start = mx.remainder(mx.max(where).astype(mx.int32), x.shape[axis] - size + 1)
    sizes = tuple(size if i == axis else s for i, s in enumerate(x.shape))
    return mx.slice(x, start.reshape(1), (axis,), sizes)


INDEXING: dict[str, Operation] = {
    name: Operation(compute, choose, rounding)
    for name, (compute, choose, rounding) in {
        "take": (_take, _choose_take, "moves"),
        "take_along_axis": (_take_along, _choose_along, "moves"),
        "put_along_axis": (_put_along, _choose_along, "moves"),
        "put_in_order": (_add_along, _choose_along, "moves"),
        "points": (_points, _choose_points, "moves"),
        "write_rows": (_write_rows, _choose_rows, "exact"),
        "add_rows": (_add_rows, _choose_add_rows, "moves"),
        "window": (_window, _choose_window, "exact"),
        "searchsorted": (
            lambda x, v, right: mx.searchsorted(mx.sort(x), v, side="right" if right else "left"),
            _choose_search,
            "steps",
        ),
        "moving_window": (_moving, _choose_moving, "moves"),
    }.items()
}

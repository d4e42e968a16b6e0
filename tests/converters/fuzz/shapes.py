"""Operations that move elements, and those that make arrays from sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from case_table import to_mlx
from fuzz.elementwise import TYPES, mlx_dtype
from fuzz.operation import Choice, Operation, Unfit, drawn_array

KINDS = ("float", "integer", "bool")


def constant(shape: tuple[int, ...], dtype: str, values: str, seed: int) -> mx.array:
    """A weight."""
    return to_mlx(drawn_array(shape, dtype, values, seed))


def _choose_constant(d: Any) -> Choice:
    x = d.value(*KINDS)
    shape = tuple(d.integer(1, 4) if size is None else size for size in x.shape)
    attrs = {"shape": shape, "dtype": d.choice(TYPES), "values": "grid", "seed": d.integer(0, 9)}
    return (), attrs


def _join(x: mx.array, start: int, end: int) -> mx.array:
    return mx.flatten(x, start, end)


def _choose_join(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    start = d.integer(0, x.rank - 1)
    end = d.integer(start, x.rank - 1)
    return (x,), {"start": start - x.rank if d.flag() else start, "end": end}


def _choose_divide_axis(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    axis = d.integer(0, x.rank - 1)
    factors = [f for f in (1, 2, 3, 4) if all(size % f == 0 for size in x.dims[axis])]
    return (x,), {"axis": axis, "factor": d.choice(factors), "last": d.flag()}


def _divide_axis(x: mx.array, axis: int, factor: int, last: bool) -> mx.array:
    rest = x.shape[axis] // factor
    return mx.unflatten(x, axis, (rest, factor) if last else (factor, rest))


def _choose_reshape(d: Any) -> Choice:
    """To other sizes of the static axes, the dynamic ones first; or to a vector."""
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    sizes = [size for size in x.shape if size is not None and size > 1]
    d_sizes = [sizes[i] for i in d.permutation(len(sizes))]
    return (x,), {"last": tuple(d_sizes[: d.integer(0, len(d_sizes))])}


def _choose_axis(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    return (x,), {"axis": d.axis(x)}


def _choose_expand(d: Any) -> Choice:
    x = d.value(*KINDS)
    return (x,), {"axis": d.integer(-x.rank - 1, x.rank)}


def _choose_squeeze(d: Any) -> Choice:
    x = d.value(*KINDS, check=lambda v: 1 in v.shape)
    ones = [axis - x.rank if d.flag() else axis for axis, size in enumerate(x.shape) if size == 1]
    return (x,), {"axis": tuple(ones[: d.integer(1, len(ones))])}


def _choose_transpose(d: Any) -> Choice:
    x = d.value(*KINDS, rank=2)
    return (x,), {"axes": tuple(a - x.rank if d.flag(4) else a for a in d.permutation(x.rank))}


def _choose_two_axes(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    return (x,), {"a": d.axis(x), "b": d.axis(x)}


def _choose_broadcast(d: Any) -> Choice:
    x = d.value(*KINDS)
    return (x, d.partner(x, *KINDS)), {}


def _choose_widen(d: Any) -> Choice:
    x = d.value(*KINDS)
    return (x,), {"sizes": tuple(d.choice((1, 2, 3)) for _ in range(d.integer(1, 2)))}


def _alike(d: Any, x: Any, axis: int, count: int) -> list[Any]:
    """Values that x can be joined with along an axis."""

    def fits(v: Any) -> bool:
        return (
            v.dtype == x.dtype
            and v.rank == x.rank
            and all(i == axis % x.rank or a == b for i, (a, b) in enumerate(zip(x.dims, v.dims, strict=True)))
        )

    return [d.value(check=fits) for _ in range(count)]


def _choose_concatenate(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    axis = d.axis(x)
    return (x, *_alike(d, x, axis, d.integer(1, 2))), {"axis": axis}


def _choose_stack(d: Any) -> Choice:
    x = d.value(*KINDS)
    others = [
        d.value(check=lambda v: v.dims == x.dims and v.dtype == x.dtype) for _ in range(d.integer(1, 2))
    ]
    return (x, *others), {"axis": d.integer(-x.rank - 1, x.rank)}


def _choose_split(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    axis = d.axis(x)
    size = x.shape[axis]
    if size is None:
        return (x,), {"parts": (1,), "axis": axis}
    divisors = [k for k in (1, 2, 3, 4) if size % k == 0]
    if d.flag() or not size:
        return (x,), {"parts": d.choice(divisors), "axis": axis}
    return (x,), {"parts": tuple(sorted({d.integer(1, size), d.integer(0, size)})), "axis": axis}


def _split(x: mx.array, parts: int | tuple[int, ...], axis: int) -> Sequence[mx.array]:
    return list(mx.split(x, parts if isinstance(parts, int) else list(parts), axis=axis))


def _choose_slice(d: Any) -> Choice:
    """Bounds of each axis that hold at all its sizes, counted from either end."""
    x = d.value(*KINDS, rank=1)
    bounds = []
    for size in x.shape:
        if d.flag() and size is not None:
            start, stop = d.integer(-size, size), d.integer(-size, size + 1)
            bounds.append(
                (start if d.flag() else None, stop if d.flag() else None, d.choice((1, 2, -1, -2, 3)))
            )
        else:
            bounds.append(
                (d.choice((None, None, 0, 1, -1, -2)), d.choice((None, None, -1)), d.choice((1, 1, -1)))
            )
    return (x,), {"bounds": tuple(bounds[: d.integer(1, len(bounds))])}


def _slice(x: mx.array, bounds: Sequence[tuple[int | None, int | None, int]]) -> mx.array:
    return x[tuple(slice(*b) for b in bounds)]


def _choose_item(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    axis = d.integer(0, x.rank - 1)
    return (x,), {"axis": axis, "index": d.choice((0, -1))}


def _item(x: mx.array, axis: int, index: int) -> mx.array:
    return x[(slice(None),) * axis + (index,)]


def _choose_pad(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    widths = tuple((d.integer(0, 2), d.integer(0, 2)) for _ in range(x.rank))
    return (x,), {"widths": widths, "value": d.choice((0, 1, 2))}


def _choose_pad_edge(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: v.rank <= 3 and not v.empty)
    return (x,), {"widths": tuple((d.integer(0, 2), d.integer(0, 1)) for _ in range(x.rank))}


def _choose_tile(d: Any) -> Choice:
    x = d.value(*KINDS, check=lambda v: v.rank <= 3)
    return (x,), {"times": tuple(d.choice((1, 2, 3)) for _ in range(d.integer(1, max(1, x.rank))))}


def _choose_repeat(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: v.rank <= 4)
    return (x,), {"times": d.choice((1, 2, 3)), "axis": d.choice((None, d.axis(x)))}


def _choose_roll(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: not v.empty)
    return (x,), {"shift": d.choice((1, -1, 2)), "axis": d.axis(x)}


def _choose_triangle(d: Any) -> Choice:
    x = d.value("float", "integer", rank=2)
    return (x,), {"k": d.integer(-2, 2)}


def _choose_diagonal(d: Any) -> Choice:
    x = d.value(*KINDS, rank=2, check=lambda v: v.shape[-1] is not None and v.shape[-1] == v.shape[-2])
    return (x,), {"offset": d.integer(-1, 1)}


def _choose_strided(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1, check=lambda v: None not in v.shape and v.clean[0].size >= 4)
    size = x.clean[0].size
    width, step = d.integer(1, 3), d.integer(1, 2)
    rows = d.integer(1, max(1, (size - width) // step))
    if (rows - 1) * step + width > size:
        raise Unfit
    return (x,), {"shape": (rows, width), "strides": (step, 1), "offset": 0}


def _strided(x: mx.array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> mx.array:
    """MLX does not check that the elements are inside."""
    if x.size <= offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)):
        raise Unfit
    return mx.as_strided(mx.contiguous(x), shape, strides, offset)


def _choose_size_of(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    return (x,), {
        "axis": d.integer(0, x.rank - 1),
        "dtype": d.choice(("float32", "int32", "float16", "uint8")),
    }


def _arange(x: mx.array, axis: int, dtype: str) -> mx.array:
    return mx.arange(x.shape[axis], dtype=mlx_dtype(dtype))


def _arange_back(x: mx.array, axis: int, dtype: str) -> mx.array:
    return mx.arange(2 * x.shape[axis], -2, -2, dtype=mlx_dtype("int32")).astype(mlx_dtype(dtype))


def _choose_like(d: Any) -> Choice:
    return (d.value(*KINDS),), {"value": d.choice((0, 1, 3)), "dtype": d.choice(TYPES)}


def _like(x: mx.array, value: float, dtype: str) -> mx.array:
    return mx.full(x.shape, value, dtype=mlx_dtype(dtype))


def _choose_eye(d: Any) -> Choice:
    x = d.value(*KINDS, rank=1)
    return (x,), {"axis": d.integer(0, x.rank - 1), "k": d.integer(-1, 1)}


SHAPES: dict[str, Operation] = {
    name: Operation(compute, choose, "moves")
    for name, (compute, choose) in {
        "flatten": (_join, _choose_join),
        "unflatten": (_divide_axis, _choose_divide_axis),
        "reshape": (lambda x, last: mx.reshape(x, (-1, *last)), _choose_reshape),
        "expand_dims": (lambda x, axis: mx.expand_dims(x, axis), _choose_expand),
        "squeeze": (lambda x, axis: mx.squeeze(x, axis), _choose_squeeze),
        "transpose": (lambda x, axes: mx.transpose(x, axes), _choose_transpose),
        "swapaxes": (lambda x, a, b: mx.swapaxes(x, a, b), _choose_two_axes),
        "moveaxis": (lambda x, a, b: mx.moveaxis(x, a, b), _choose_two_axes),
        "broadcast_to": (
            lambda x, y: mx.broadcast_to(x, mx.broadcast_shapes(x.shape, y.shape)),
            _choose_broadcast,
        ),
        "widen": (lambda x, sizes: mx.broadcast_to(x, (*sizes, *x.shape)), _choose_widen),
        "concatenate": (lambda *xs, axis: mx.concatenate(list(xs), axis=axis), _choose_concatenate),
        "stack": (lambda *xs, axis: mx.stack(list(xs), axis=axis), _choose_stack),
        "split": (_split, _choose_split),
        "slice": (_slice, _choose_slice),
        "item": (_item, _choose_item),
        "flip": (lambda x, axis: mx.flip(x, axis), _choose_axis),
        "pad": (lambda x, widths, value: mx.pad(x, widths, constant_values=value), _choose_pad),
        "pad_edge": (lambda x, widths: mx.pad(x, widths, mode="edge"), _choose_pad_edge),
        "tile": (lambda x, times: mx.tile(x, times), _choose_tile),
        "repeat": (lambda x, times, axis: mx.repeat(x, times, axis), _choose_repeat),
        "roll": (lambda x, shift, axis: mx.roll(x, shift, axis), _choose_roll),
        "tril": (lambda x, k: mx.tril(x, k), _choose_triangle),
        "triu": (lambda x, k: mx.triu(x, k), _choose_triangle),
        "diagonal": (lambda x, offset: mx.diagonal(x, offset, -2, -1), _choose_diagonal),
        "as_strided": (_strided, _choose_strided),
    }.items()
}
CREATING: dict[str, Operation] = {
    name: Operation(compute, choose, "moves")
    for name, (compute, choose) in {
        "constant": (constant, _choose_constant),
        "arange": (_arange, _choose_size_of),
        "arange_back": (_arange_back, _choose_size_of),
        "full_like": (_like, _choose_like),
        "eye": (lambda x, axis, k: mx.eye(x.shape[axis], k=k), _choose_eye),
    }.items()
}

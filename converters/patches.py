"""What `mx.export_function` cannot record, replaced while a function is traced by operations that it can.

| operation | stands for |
|---|---|
| `~x` of integers, `bitwise_invert` | exclusive or with -1 |
| `contiguous` | the array itself |
| `checkpoint`, `custom_function` | the plain function |
| `logcumsumexp` | logsumexp over a triangle |
| `segmented_mm` | products of masked rows |
| `from_fp8` | a table of the 256 values |
| `dequantize` of floating-point codes | tables of codes and scales, multiplied |
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx


def _invert(x: mx.array, stream: Any = None) -> mx.array:
    if x.dtype == mx.bool_:
        return mx.logical_not(x)
    return mx.bitwise_xor(x, mx.array(-1, mx.int64).astype(x.dtype))


def _contiguous(a: mx.array, allow_col_major: bool = False, stream: Any = None) -> mx.array:
    return a


def _checkpoint(fun: Callable[..., Any]) -> Callable[..., Any]:
    return fun


def _call_plain(custom: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of an `mx.custom_function` without its transforms: the first function it holds."""
    plain = next(part for part in gc.get_referents(custom) if callable(part) and not isinstance(part, type))
    return plain(*args, **kwargs)


def _logcumsumexp(
    a: mx.array,
    axis: int | None = None,
    *,
    reverse: bool = False,
    inclusive: bool = True,
    stream: Any = None,
) -> mx.array:
    if axis is None:
        a, axis = a.reshape(-1), 0
    moved = mx.moveaxis(a, axis, -1)
    places = mx.arange(moved.shape[-1])
    row, column = (places[None, :], places[:, None]) if reverse else (places[:, None], places[None, :])
    seen = row >= column if inclusive else row > column
    lowest = mx.array(-float("inf"), a.dtype)
    total = mx.logsumexp(mx.where(seen, moved[..., None, :], lowest), axis=-1)
    return mx.moveaxis(total, -1, axis)


def _segmented_mm(a: mx.array, b: mx.array, segments: mx.array, stream: Any = None) -> mx.array:
    places = mx.arange(a.shape[-1], dtype=mx.uint32)
    inside = mx.logical_and(places >= segments[..., :1], places < segments[..., 1:])
    return mx.where(inside[..., None, :], a, mx.array(0, a.dtype)) @ b


def _from_fp8(x: mx.array, dtype: mx.Dtype = mx.bfloat16, stream: Any = None) -> mx.array:
    table = ORIGINALS["from_fp8"](mx.arange(256, dtype=mx.uint8), dtype)
    mx.eval(table)
    return table[x]


def _dequantize(
    w: mx.array,
    scales: mx.array,
    biases: mx.array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    global_scale: mx.array | None = None,
    dtype: mx.Dtype | None = None,
    stream: Any = None,
) -> mx.array:
    if mode == "affine" or global_scale is not None:
        return ORIGINALS["dequantize"](w, scales, biases, group_size, bits, mode, global_scale, dtype)
    width, dtype = (8 if mode == "mxfp8" else 4), dtype or mx.bfloat16
    shifts = mx.arange(0, 32, width, dtype=mx.uint32)
    codes = mx.bitwise_and(mx.right_shift(w[..., None], shifts), mx.array(2**width - 1, mx.uint32))
    table = (
        mx.concatenate([FLOAT4, -FLOAT4])
        if width == 4
        else _from_fp8(mx.arange(256, dtype=mx.uint8), mx.float32)
    )
    steps = (
        _from_fp8(scales, mx.float32) if mode == "nvfp4" else mx.power(2.0, scales.astype(mx.float32) - 127)
    )
    values = table[codes].reshape(*scales.shape, -1) * steps[..., None]
    return values.reshape(*w.shape[:-1], -1).astype(dtype)


FLOAT4 = mx.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], mx.float32)
REPLACED: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (mx, "bitwise_invert", _invert),
    (mx.array, "__invert__", _invert),
    (mx, "contiguous", _contiguous),
    (mx, "checkpoint", _checkpoint),
    (mx.custom_function, "__call__", _call_plain),
    (mx, "logcumsumexp", _logcumsumexp),
    (mx.array, "logcumsumexp", _logcumsumexp),
    (mx, "segmented_mm", _segmented_mm),
    (mx, "from_fp8", _from_fp8),
    (mx, "dequantize", _dequantize),
)
ORIGINALS: dict[str, Any] = {"from_fp8": mx.from_fp8, "dequantize": mx.dequantize}


@contextmanager
def recordable() -> Iterator[None]:
    """The replacements above, for the whole process, until the block ends."""
    saved = [(owner, name, getattr(owner, name)) for owner, name, _ in REPLACED]
    try:
        for owner, name, function in REPLACED:
            setattr(owner, name, function)
        yield
    finally:
        for owner, name, function in saved:
            setattr(owner, name, function)

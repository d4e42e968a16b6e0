"""Operations that make tensors from sizes and numbers, or fill around and between the elements of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import (
    FLOATS,
    NUMBERS,
    Meaning,
    chosen,
    ints,
    limited,
)

Array = np.ndarray
ZERO = np.float32(0)  # what is filled in by default


def _fill(shape: Any, value: Any = ZERO) -> Array:
    return np.full(limited(ints(shape)), value)


def _fill_like(ref_tensor: Array, value: Any = ZERO) -> Array:
    return np.full(ref_tensor.shape, value)


def _range_1d(start: Array, end: Array, step: Array) -> Array:
    """start + i * step, as long as end is not reached."""
    if not step:
        raise ValueError("a step of 0")
    count = np.ceil((np.float64(end) - np.float64(start)) / np.float64(step))
    if not np.isfinite(count):
        raise ValueError(f"from {start} to {end} by {step}")
    limited([max(0, int(count))])
    return (np.arange(max(0, int(count))) * np.float64(step) + np.float64(start)).astype(start.dtype)


def _tile(x: Array, reps: Any) -> Array:
    times = ints(reps, x.ndim)
    if min(times, default=1) < 1:
        raise ValueError(f"repetitions {times}")
    limited(size * count for size, count in zip(x.shape, times, strict=True))
    return np.tile(x, times)


def _pad(x: Array, pad: Any, mode: str = "constant", constant_val: Any = 0) -> Array:
    """`pad` has (before, after) for each of the last axes."""
    chosen(mode, ("constant", "reflect", "replicate"))
    flat = ints(pad)
    if len(flat) % 2 or len(flat) > 2 * x.ndim or min(flat, default=0) < 0:
        raise ValueError(f"padding {flat} for rank {x.ndim}")
    pairs = [(0, 0)] * (x.ndim - len(flat) // 2) + list(zip(flat[::2], flat[1::2], strict=True))
    limited(size + before + after for size, (before, after) in zip(x.shape, pairs, strict=True))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=np.asarray(constant_val).item())
    if mode == "reflect" and any(
        max(pair) >= size for pair, size in zip(pairs, x.shape, strict=True) if any(pair)
    ):
        raise ValueError(f"reflected padding {pairs} of {x.shape}")
    return np.pad(x, pairs, "reflect" if mode == "reflect" else "edge")


def _band_part(x: Array, lower: Any = -1, upper: Any = -1) -> Array:
    """Zeros outside of `lower` diagonals below and `upper` above the main one; negative keeps all."""
    down = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])
    keep = np.ones(down.shape, bool)
    if int(lower) >= 0:
        keep &= down <= int(lower)
    if int(upper) >= 0:
        keep &= -down <= int(upper)
    return np.where(keep, x, np.zeros((), x.dtype))


def _of_value(value: Any = ZERO, **_: Any) -> tuple[str, ...]:
    return (value.dtype.name,)


MEANINGS = {
    "fill": Meaning(_fill, _of_value, moves=True),
    "fill_like": Meaning(_fill_like, _of_value, moves=True),
    "range_1d": Meaning(_range_1d, "start", ("start", "end", "step"), NUMBERS, moves=True),
    "tile": Meaning(_tile, moves=True),
    "pad": Meaning(_pad, allowed=FLOATS, moves=True),
    "band_part": Meaning(_band_part, moves=True),
    "shape": Meaning(lambda x: np.array(x.shape, np.int32), "=int32", moves=True),
}

"""Convolutions and pooling, in one, two and three dimensions: (N, C, *D) with *D the spatial sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from converters.targets.coreml.meaning.definition import FLOATS, Meaning, chosen, ints, limited

Array = np.ndarray
Pads = list[tuple[int, int]]
PAD_TYPES = ("valid", "custom", "same", "same_lower")
COLUMNS_MAX = 1 << 26  # elements of unfolded input at a time
SHIFTS_MAX = 64  # windows up to this size are computed as a sum or maximum of shifted inputs


def spatial_pads(
    pad_type: str, pad: Any, sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> Pads:
    """Padding before and after each spatial axis; `windows` are the dilated kernel sizes.

    "same" pads so that the output has ceil(size / stride) elements, an odd element after, for "same_lower"
    before.
    """
    chosen(pad_type, PAD_TYPES)
    rank = len(sizes)
    if pad_type == "valid":
        return [(0, 0)] * rank
    if pad_type == "custom":
        flat = ints([0] * 2 * rank if pad is None else pad, 2 * rank)
        if min(flat, default=0) < 0:
            raise ValueError(f"negative padding {flat}")
        return list(zip(flat[::2], flat[1::2], strict=True))
    pads = []
    for size, window, stride in zip(sizes, windows, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        less, more = total // 2, total - total // 2
        pads.append((more, less) if pad_type == "same_lower" else (less, more))
    return pads


def _positive(values: Any, rank: int, default: int = 1) -> list[int]:
    result = [default] * rank if values is None else ints(values, rank)
    if min(result, default=1) < 1:
        raise ValueError(f"{result} must be positive")
    return result


def _padded(x: Array, pads: Pads, value: float = 0) -> Array:
    if not any(before or after for before, after in pads):
        return x
    limited([*x.shape[:2], *(s + a + b for s, (a, b) in zip(x.shape[2:], pads, strict=True))])
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def _shifts(windows: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return product(*(range(window) for window in windows))


def _shifted(
    x: Array, shift: Sequence[int], step: Sequence[int], stride: Sequence[int], out: Sequence[int]
) -> Array:
    """The elements of `x` that meet the kernel element `shift`, one per output element."""
    starts = [s * d for s, d in zip(shift, step, strict=True)]
    ends = [a + (n - 1) * s + 1 for a, n, s in zip(starts, out, stride, strict=True)]
    return x[(..., *(slice(a, e, s) for a, e, s in zip(starts, ends, stride, strict=True)))]


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    dilations: Any = None,
    groups: Any = 1,
) -> Array:
    """Cross-correlation of (N, C, *D) with (O, C / groups, *K), zeros around."""
    rank, groups = x.ndim - 2, int(groups)
    kernel, outs = weight.shape[2:], weight.shape[0]
    if not 1 <= rank <= 3 or weight.ndim != x.ndim or 0 in weight.shape:
        raise ValueError(f"{x.shape} with a kernel {weight.shape}")
    if groups < 1 or x.shape[1] != weight.shape[1] * groups or outs % groups:
        raise ValueError(f"{x.shape} in {groups} groups with a kernel {weight.shape}")
    stride, dilation = _positive(strides, rank), _positive(dilations, rank)
    windows = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    x = _padded(x, spatial_pads(pad_type, pad, x.shape[2:], windows, stride))
    out = [(n - w) // s + 1 for n, w, s in zip(x.shape[2:], windows, stride, strict=True)]
    if min(out) < 1:
        raise ValueError(f"padded input {x.shape} is smaller than the kernel {weight.shape}")
    limited([x.shape[0], outs, *out])
    if weight.shape[1] == 1 and groups > 1 and math.prod(kernel) <= SHIFTS_MAX:
        result = _depthwise(x, weight, out, stride, dilation)
    else:
        result = _unfolded(x, weight, groups, out, stride, dilation, windows)
    return result if bias is None else result + bias.reshape(-1, *[1] * rank)


def _depthwise(x: Array, weight: Array, out: list[int], stride: list[int], dilation: list[int]) -> Array:
    batch, channels = x.shape[:2]
    rank = len(out)
    kernels = weight.reshape(channels, -1, *weight.shape[2:])  # (C, O / C, *K)
    result = np.zeros((batch, channels, kernels.shape[1], *out), np.float32)
    for shift in _shifts(weight.shape[2:]):
        factor = kernels[(slice(None), slice(None), *shift)].reshape(channels, -1, *[1] * rank)
        result += _shifted(x, shift, dilation, stride, out)[:, :, None] * factor
    return result.reshape(batch, -1, *out)


def _unfolded(
    x: Array,
    weight: Array,
    groups: int,
    out: list[int],
    stride: list[int],
    dilation: list[int],
    windows: list[int],
) -> Array:
    """One matrix product per picture and group, over the unfolded input (C / groups * K, positions)."""
    batch, channels = x.shape[:2]
    kernel, outs = weight.shape[2:], weight.shape[0]
    rank, size = len(out), math.prod(kernel)
    matrix = weight.reshape(groups, outs // groups, -1)
    rows, positions = channels // groups * size, math.prod(out)
    result = np.empty((batch, groups, outs // groups, positions), np.float32)
    view = sliding_window_view(x, windows, axis=tuple(range(2, 2 + rank)))
    view = view[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]
    view = view[(..., *(slice(None, None, d) for d in dilation))]
    view = view.transpose(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))  # (N, C, *K, *out)
    step = max(1, COLUMNS_MAX // max(1, groups * rows * positions))
    for start in range(0, batch, step):
        columns = view[start : start + step].reshape(-1, groups, rows, positions)
        result[start : start + step] = np.matmul(matrix, columns)
    return result.reshape(batch, outs, *out)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Any = None,
    output_shape: Any = None,
    pad_type: str = "valid",
    strides: Any = None,
    dilations: Any = None,
    groups: Any = 1,
) -> Array:
    """The transpose of a convolution: (N, C, *D) with (C, O / groups, *K); padding is cut off the result."""
    rank, groups = x.ndim - 2, int(groups)
    channels, per_group, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    if not 1 <= rank <= 3 or weight.ndim != x.ndim or 0 in weight.shape:
        raise ValueError(f"{x.shape} with a kernel {weight.shape}")
    if groups < 1 or x.shape[1] != channels or channels % groups:
        raise ValueError(f"{x.shape} in {groups} groups with a kernel {weight.shape}")
    stride, dilation = _positive(strides, rank), _positive(dilations, rank)
    sizes = x.shape[2:]
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(sizes, stride, kernel, dilation, strict=True)]
    wanted = None if output_shape is None else ints(output_shape)[-rank:]
    starts, out = _transposed_window(pad_type, pad, wanted, sizes, stride, full)
    limited([x.shape[0], per_group * groups, *full])
    limited([x.shape[0], per_group * groups, math.prod(kernel), math.prod(sizes)])
    limited([x.shape[0], per_group * groups, *out])
    matrix = weight.reshape(groups, channels // groups, -1).transpose(0, 2, 1)
    columns = np.matmul(matrix, x.reshape(x.shape[0], groups, channels // groups, -1))
    columns = columns.reshape(x.shape[0], groups * per_group, *kernel, *sizes)
    extent = [max(f, a + n) for f, a, n in zip(full, starts, out, strict=True)]
    result = np.zeros((x.shape[0], groups * per_group, *extent), np.float32)
    for shift in _shifts(kernel):
        target = _shifted(result, shift, dilation, stride, sizes)
        target += columns[(slice(None), slice(None), *shift)]
    result = result[(..., *(slice(a, a + n) for a, n in zip(starts, out, strict=True)))]
    return result if bias is None else result + bias.reshape(-1, *[1] * rank)


def _transposed_window(
    pad_type: str,
    pad: Any,
    wanted: list[int] | None,
    sizes: Sequence[int],
    stride: list[int],
    full: list[int],
) -> tuple[list[int], list[int]]:
    """Where the output begins in the full result, and its sizes."""
    if chosen(pad_type, PAD_TYPES).startswith("same"):
        out = wanted or [n * s for n, s in zip(sizes, stride, strict=True)]
        cuts = [max(0, f - n) for f, n in zip(full, out, strict=True)]
        return [c - c // 2 if pad_type == "same_lower" else c // 2 for c in cuts], out
    pads = spatial_pads(pad_type, pad, sizes, full, stride)
    out = wanted or [f - a - b for f, (a, b) in zip(full, pads, strict=True)]
    if min(out) < 1:
        raise ValueError(f"padding {pads} leaves nothing of {full}")
    return [before for before, _ in pads], out


class _Windows:
    """The windows of a pooling operation."""

    def __init__(self, x: Array, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: Any):
        rank = x.ndim - 2
        if not 1 <= rank <= 3:
            raise ValueError(f"rank {x.ndim}")
        self.kernel, self.stride = _positive(kernel_sizes, rank), _positive(strides, rank)
        sizes = x.shape[2:]
        self.pads = spatial_pads(pad_type.lower(), pad, sizes, self.kernel, self.stride)
        self.sizes = [n + a + b for n, (a, b) in zip(sizes, self.pads, strict=True)]
        self.out = []
        self.more: list[int] = []  # elements that the last window needs beyond the padding
        for n, k, s, (before, after), size in zip(
            self.sizes, self.kernel, self.stride, self.pads, sizes, strict=True
        ):
            count = (n - k + (s - 1 if ceil_mode else 0)) // s + 1
            if ceil_mode and before + after > 0 and (count - 1) * s >= size + before:
                count -= 1
            if count < 1:
                raise ValueError(f"a window of {k} in {n} elements")
            self.out.append(count)
            self.more.append(max(0, (count - 1) * s + k - n))

    def extended(self, x: Array, value: float) -> Array:
        """`x` with its padding and what the last windows need."""
        return _padded(x, [(a, b + m) for (a, b), m in zip(self.pads, self.more, strict=True)], value)

    def reduce(self, x: Array, function: np.ufunc) -> Array:
        """`function` over each window of the extended input."""
        axes = tuple(range(2, x.ndim))
        if all(n == 1 for n in self.out) and x.shape[2:] == tuple(self.kernel):
            return function.reduce(x, axes, keepdims=True)
        if math.prod(self.kernel) > SHIFTS_MAX:
            for axis, (kernel, stride, count) in enumerate(
                zip(self.kernel, self.stride, self.out, strict=True), 2
            ):
                view = sliding_window_view(x, kernel, axis)
                view = view[(*[slice(None)] * axis, slice(None, None, stride))]
                x = function.reduce(view[(*[slice(None)] * axis, slice(count))], -1)
            return x
        ones = [1] * len(self.out)
        parts = (_shifted(x, shift, ones, self.stride, self.out) for shift in _shifts(self.kernel))
        result = next(parts).copy()
        for part in parts:
            function(result, part, out=result)
        return result

    def counts(self, sizes: Sequence[int], exclude_padding: bool) -> Array:
        """How many elements each window averages: those of the input, or of the padded input."""
        result = np.ones([1] * len(self.out), np.float32)
        for axis, (k, s, n) in enumerate(zip(self.kernel, self.stride, self.out, strict=True)):
            low, high = 0, self.sizes[axis]
            if exclude_padding:
                low, high = self.pads[axis][0], self.pads[axis][0] + sizes[axis]
            starts = np.arange(n) * s
            count = np.clip(starts + k, low, high) - np.clip(starts, low, high)
            result = result * count.reshape([-1 if a == axis else 1 for a in range(len(self.out))])
        return result


def avg_pool(
    x: Array,
    kernel_sizes: Any,
    pad_type: str,
    strides: Any = None,
    pad: Any = None,
    exclude_padding_from_average: Any = False,
    ceil_mode: Any = False,
) -> Array:
    """The mean of each window; padding counts as zeros unless excluded."""
    windows = _Windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    counts = windows.counts(x.shape[2:], bool(exclude_padding_from_average))
    return windows.reduce(windows.extended(x, 0), np.add) / counts.astype(np.float32)


def _pool(function: Callable[[_Windows, Array], Array]) -> Callable[..., Array]:
    def pool(
        x: Array,
        kernel_sizes: Any,
        pad_type: str,
        strides: Any = None,
        pad: Any = None,
        ceil_mode: Any = False,
    ) -> Array:
        return function(_Windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode), x)

    return pool


MEANINGS = {
    "conv": Meaning(conv, allowed=FLOATS),
    "conv_transpose": Meaning(conv_transpose, allowed=FLOATS),
    "avg_pool": Meaning(avg_pool, allowed=FLOATS),
    "max_pool": Meaning(_pool(lambda w, x: w.reduce(w.extended(x, -np.inf), np.maximum)), allowed=FLOATS),
    "l2_pool": Meaning(_pool(lambda w, x: np.sqrt(w.reduce(w.extended(x * x, 0), np.add))), allowed=FLOATS),
}

"""Convolutions and poolings over 1, 2 or 3 spatial axes.

Letters: N batch, C channels, O output channels, G groups, k kernel. `channels_first=False` is MLX's layout
(N·spatial·C, weights O·spatial·C/G); True is that of ONNX and Core ML (N·C·spatial, weights O·C/G·spatial). A
third operand of Convolution is the bias (O).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, in_float32
from converters.sizes import AnySize, floor_divide

CONVOLUTION_ATTRS = (
    "strides",
    "low",
    "high",
    "dilation",
    "input_dilation",
    "groups",
    "flip",
    "channels_first",
)
POOL_ATTRS = ("kernel", "strides", "low", "high", "channels_first")


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation from channels-last to channels-first."""
    return (0, rank - 1, *range(1, rank - 1))


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from channels-first to channels-last."""
    return (0, *range(2, rank), 1)


def spatial(shape: Any, channels_first: bool) -> Any:
    """The sizes between batch and channels."""
    return shape[2:] if channels_first else shape[1:-1]


def _windows(size: AnySize, kernel: int, stride: int, low: AnySize, high: AnySize) -> AnySize:
    return floor_divide(size + low + high - kernel, stride) + 1


def _shape(x: Value, sizes: list[AnySize], channels: AnySize, channels_first: bool) -> Inferred:
    n = x.shape[0]
    return [((n, channels, *sizes) if channels_first else (n, *sizes, channels), x.dtype)]


def _convolution_shape(x: Value, weight: Value, bias: Value | None = None, **attrs: Any) -> Inferred:
    first = attrs["channels_first"]
    channels = weight.shape[1 if first else -1] * attrs["groups"]
    if x.shape[1 if first else -1] != channels:
        raise ShapeError(f"a convolution with weights {weight.shape} does not take {x.shape}")
    sizes = []
    for i, (size, kernel) in enumerate(
        zip(spatial(x.shape, first), spatial(weight.shape, first), strict=True)
    ):
        reach = (kernel - 1) * attrs["dilation"][i] + 1
        spread = (size - 1) * attrs["input_dilation"][i] + 1
        sizes.append(_windows(spread, reach, attrs["strides"][i], attrs["low"][i], attrs["high"][i]))
    return _shape(x, sizes, weight.shape[0], first)


def _convolution(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, **attrs: Any
) -> np.ndarray:
    rank = x.ndim
    if not attrs["channels_first"]:
        x, weight = x.transpose(to_first(rank)), weight.transpose(to_first(rank))
    if attrs["flip"]:
        weight = np.flip(weight, tuple(range(2, rank)))
    x = _spread(x, attrs["input_dilation"])
    x = _padded(x, attrs["low"], attrs["high"], 0)
    windows = _view_windows(x, weight.shape[2:], attrs["strides"], attrs["dilation"])
    groups, count = attrs["groups"], rank - 2
    outputs = []
    for group in range(groups):
        part = windows[:, group * weight.shape[1] : (group + 1) * weight.shape[1]]
        per_group = weight.shape[0] // groups
        kernel = weight[group * per_group : (group + 1) * per_group]
        axes = [1, *range(2 + count, 2 + 2 * count)], list(range(1, rank))
        outputs.append(np.moveaxis(np.tensordot(part, kernel, axes), -1, 1))
    y = np.concatenate(outputs, axis=1)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * count)
    return y if attrs["channels_first"] else y.transpose(to_last(rank))


def _spread(x: np.ndarray, dilation: tuple[int, ...]) -> np.ndarray:
    if all(d == 1 for d in dilation):
        return x
    sizes = [(size - 1) * d + 1 for size, d in zip(x.shape[2:], dilation, strict=True)]
    y = np.zeros((*x.shape[:2], *sizes), x.dtype)
    y[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = x
    return y


def _padded(x: np.ndarray, low: Any, high: Any, value: float) -> np.ndarray:
    cut = [slice(max(0, -a), size - max(0, -b)) for size, a, b in zip(x.shape[2:], low, high, strict=True)]
    x = x[(slice(None), slice(None), *cut)]
    pads = [(0, 0), (0, 0), *((max(0, a), max(0, b)) for a, b in zip(low, high, strict=True))]
    return np.pad(x, pads, constant_values=value)


def _view_windows(x: np.ndarray, kernel: Any, strides: Any, dilation: Any) -> np.ndarray:
    """N·C·windows·kernel, without copying."""
    count = len(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    spans = zip(x.shape[2:], reach, strides, strict=True)
    sizes = [max(0, (size - most) // step + 1) for size, most, step in spans]
    if 0 in sizes:
        return np.empty((*x.shape[:2], *sizes, *kernel), x.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + count)))
    steps = [slice(None, None, s) for s in strides] + [slice(None, None, d) for d in dilation]
    return windows[(slice(None), slice(None), *steps)]


def _pool_shape(x: Value, kernel: Any, strides: Any, low: Any, high: Any, channels_first: bool) -> Inferred:
    sizes = [
        _windows(size, kernel[i], strides[i], low[i], high[i])
        for i, size in enumerate(spatial(x.shape, channels_first))
    ]
    return _shape(x, sizes, x.shape[1 if channels_first else -1], channels_first)


def _pool(
    x: np.ndarray, kernel: Any, strides: Any, low: Any, high: Any, channels_first: bool, largest: bool
) -> Any:
    rank = x.ndim
    if not channels_first:
        x = x.transpose(to_first(rank))
    x = _padded(x, low, high, -np.inf if largest else 0)
    windows = _view_windows(x, kernel, strides, (1,) * len(kernel))
    y = (np.max if largest else np.mean)(windows, axis=tuple(range(rank, 2 * rank - 2)))
    return y if channels_first else y.transpose(to_last(rank))


def _expand_channels_last(op: str) -> Any:
    """The channels-last form as the channels-first one between transposes."""

    def expand(b: Builder, x: Value, *weights: Value, **attrs: Any) -> Value | None:
        if attrs["channels_first"]:
            return None
        rank = len(x.shape)
        moved = [b("Transpose", value, axes=to_first(rank)) for value in (x, *weights[:1])]
        y = b(op, *moved, *weights[1:], **{**attrs, "channels_first": True})
        return b("Transpose", y, axes=to_last(rank))

    return expand


_CHANNELS_FIRST = _expand_channels_last("Convolution")


def _expand_convolution(b: Builder, x: Value, weight: Value, *bias: Value, **attrs: Any) -> Value | None:
    """To a plain convolution, step by step, each for targets that refuse the one before: channels first; a
    spread input with a flipped kernel (a transposed convolution); zeros between the elements; no flip; no
    negative padding; zeros between the elements of the kernel."""
    if not attrs["channels_first"]:
        return _CHANNELS_FIRST(b, x, weight, *bias, **attrs)
    count = len(attrs["strides"])
    spread = any(d != 1 for d in attrs["input_dilation"])
    if spread and attrs["flip"]:
        x, attrs["input_dilation"] = _with_zeros_between(b, x, attrs["input_dilation"]), (1,) * count
    elif spread or attrs["flip"]:
        weight, attrs["flip"] = _flipped(b, weight), not attrs["flip"]
    elif min(*attrs["low"], *attrs["high"]) < 0:
        start = (0, 0, *(max(0, -low) for low in attrs["low"]))
        cut = (0, 0, *(max(0, -high) for high in attrs["high"]))
        end = tuple(size - less for size, less in zip(x.shape, cut, strict=True))
        x = b("Slice", x, start=start, end=end, strides=(1,) * len(start))
        attrs["low"], attrs["high"] = (tuple(max(0, p) for p in attrs[side]) for side in ("low", "high"))
    elif any(d != 1 for d in attrs["dilation"]):
        weight, attrs["dilation"] = _with_zeros_between(b, weight, attrs["dilation"]), (1,) * count
    else:
        return None
    return b("Convolution", x, weight, *bias, **attrs)


def _flipped(b: Builder, weight: Value) -> Value:
    spatial_sizes = weight.shape[2:]
    count = len(spatial_sizes)
    return b(
        "Slice",
        weight,
        start=(0, 0, *(size - 1 for size in spatial_sizes)),
        end=(*weight.shape[:2], *(-1,) * count),
        strides=(1, 1, *(-1,) * count),
    )


def _with_zeros_between(b: Builder, x: Value, dilation: tuple[int, ...]) -> Value:
    """d - 1 zeros after each element of an axis, without those after the last."""
    n, c, *sizes = x.shape
    apart = b("Reshape", x, shape=(n, c, *(part for size in sizes for part in (size, 1))))
    after = tuple(d - 1 for d in dilation)
    high = (0, 0, *(part for more in after for part in (0, more)))
    padded = b("Pad", apart, b.constant(0, dtype=x.dtype), low=(0,) * len(high), high=high)
    whole = tuple(size * d for size, d in zip(sizes, dilation, strict=True))
    joined = b("Reshape", padded, shape=(n, c, *whole))
    end = (n, c, *(size - more for size, more in zip(whole, after, strict=True)))
    return b("Slice", joined, start=(0,) * len(end), end=end, strides=(1,) * len(end))


OPS = (
    Op(
        "Convolution",
        CONVOLUTION_ATTRS,
        in_float32(_convolution),
        _convolution_shape,
        _expand_convolution,
    ),
    Op(
        "MaxPool",
        POOL_ATTRS,
        in_float32(lambda x, **attrs: _pool(x, **attrs, largest=True)),
        _pool_shape,
        _expand_channels_last("MaxPool"),
    ),
    Op(
        "AvgPool",
        POOL_ATTRS,
        in_float32(lambda x, **attrs: _pool(x, **attrs, largest=False)),
        _pool_shape,
        _expand_channels_last("AvgPool"),
    ),
)

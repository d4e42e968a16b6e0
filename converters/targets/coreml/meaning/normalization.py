"""Normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.targets.coreml.meaning.activation import per_channel
from converters.targets.coreml.meaning.definition import FLOATS, Meaning, axes_of

Array = np.ndarray


def _scaled(x: Array, gamma: Array | None, beta: Array | None) -> Array:
    x = x if gamma is None else x * gamma
    return x if beta is None else x + beta


def _batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Any = 1e-5,
) -> Array:
    scale = 1 / np.sqrt(variance + np.float32(epsilon))
    scale = scale if gamma is None else scale * gamma
    y = (x - per_channel(mean, x)) * per_channel(scale, x)
    return y if beta is None else y + per_channel(beta, x)


def _standardized(x: Array, axes: tuple[int, ...], epsilon: Any) -> Array:
    centered = x - x.mean(axes, keepdims=True)
    variance = np.square(centered).mean(axes, keepdims=True)
    return centered / np.sqrt(variance + np.float32(epsilon))


def _instance_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Any = 1e-5,
) -> Array:
    parameters = (None if p is None else per_channel(p, x) for p in (gamma, beta))
    return _scaled(_standardized(x, tuple(range(2, x.ndim)), epsilon), *parameters)


def _layer_norm(
    x: Array,
    axes: Any = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Any = 1e-5,
) -> Array:
    """gamma and beta have the sizes of the normalized axes, in the order of the axes of `x`."""
    chosen = tuple(range(x.ndim)) if axes is None else axes_of(axes, x.ndim)
    shape = [size if axis in chosen else 1 for axis, size in enumerate(x.shape)]
    sizes = tuple(x.shape[axis] for axis in sorted(chosen))
    for parameter in (gamma, beta):
        if parameter is not None and parameter.shape != sizes:
            raise ValueError(f"a parameter {parameter.shape} for axes of sizes {sizes}")
    parameters = (None if p is None else p.reshape(shape) for p in (gamma, beta))
    return _scaled(_standardized(x, chosen, epsilon), *parameters)


def _l2_norm(x: Array, epsilon: Any = 1e-6) -> Array:
    """Over the last three axes."""
    if x.ndim < 3:
        raise ValueError(f"rank {x.ndim}, 3 at least")
    return x / np.sqrt(np.square(x).sum((-3, -2, -1), keepdims=True) + np.float32(epsilon))


def _local_response_norm(x: Array, size: Any, alpha: Any = 1e-4, beta: Any = 0.75, k: Any = 1.0) -> Array:
    """Over `size` neighbouring channels, one more before than after where that is even, as in PyTorch."""
    size = int(size)
    if size < 1 or x.ndim < 3:
        raise ValueError(f"{size} neighbours of {x.shape}")
    squares = np.square(x)
    sums = np.zeros_like(x)
    channels = x.shape[1]
    for shift in range(-(size // 2), (size - 1) // 2 + 1):
        low, high = max(0, -shift), min(channels, channels - shift)
        if low < high:
            sums[:, low:high] += squares[:, low + shift : high + shift]
    return x / np.power(np.float32(k) + np.float32(alpha) / size * sums, np.float32(beta))


MEANINGS = {
    "batch_norm": Meaning(_batch_norm, allowed=FLOATS),
    "instance_norm": Meaning(_instance_norm, allowed=FLOATS),
    "layer_norm": Meaning(_layer_norm, allowed=FLOATS),
    "l2_norm": Meaning(_l2_norm, allowed=FLOATS),
    "local_response_norm": Meaning(_local_response_norm, allowed=FLOATS),
}

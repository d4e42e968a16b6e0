"""Convolution made visible: small kernels over a picture, computed by MLX as a network's layers are.

    values = convolve(read_values("six.txt"), KERNELS["edge-4"])     # float32 (H, W) or (H, W, C)
    values = pool(values, "max", size=2)

As everywhere in this field, "convolution" is cross-correlation: the kernel is not turned around.
H, W: height, width; C: channels, each filtered by itself; all values as in the picture, 0 to 255.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgevision.errors import UsageError, UserError

if TYPE_CHECKING:
    from PIL import Image

KERNELS: dict[str, np.ndarray] = {
    name: np.array(rows, np.float32)
    for name, rows in {
        "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        "edge": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
        "edge-4": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
        "edge-8": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
        "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
        "box-blur": [[1 / 9] * 3] * 3,
    }.items()
}
KERNEL_SIDE_MAX = 63
STRIP_PRODUCTS = 1 << 24  # a picture is filtered in strips that take about so many products
NUMBERS_MAX = 1 << 20  # bytes of a text file of numbers
NUMBERS_SUFFIXES = (".txt", ".csv")


def kernel_named(text: str) -> tuple[str, np.ndarray]:
    """The name and the numbers of `edge-4`, or of an own kernel such as `relief=-2,-1,0;-1,1,1;0,1,2`.

    Returns:
        The name, and float32 (height, width).

    Raises:
        UsageError: an unknown name; rows of different lengths; what is not a finite number.
    """
    name, own, rows = text.partition("=")
    if not own:
        if name not in KERNELS:
            raise UsageError(
                f"kernel {name!r} is unknown",
                hint=f"choose from {', '.join(KERNELS)}, or give your own as NAME=0,1,0;1,-4,1;0,1,0",
            )
        return name, KERNELS[name]
    try:
        kernel = np.array(
            [[float(number) for number in row.split(",")] for row in rows.split(";")], np.float32
        )
    except ValueError:
        raise UsageError(
            f"kernel {text!r} is no matrix of numbers",
            hint="numbers between commas, rows of one length between semicolons: NAME=0,1,0;1,-4,1;0,1,0",
        ) from None
    if not np.isfinite(kernel).all() or max(kernel.shape) > KERNEL_SIDE_MAX:
        raise UsageError(f"kernel {name!r}: numbers must be finite, sides at most {KERNEL_SIDE_MAX}")
    return name or "own", kernel


def convolve(values: np.ndarray, kernel: np.ndarray, padding: int | str = 0, stride: int = 1) -> np.ndarray:
    """Each channel of a picture under the kernel.

    Args:
        values: (H, W) or (H, W, C).
        kernel: (height, width).
        padding: zeros put around the picture, a number or "same": as many as keep its size at stride 1.
        stride: pixels from one place of the kernel to the next.

    Returns:
        float32 ((H + 2 * padding - height) // stride + 1, likewise for W[, C]).

    Raises:
        UsageError: the kernel is larger than the padded picture, or "same" with an even side.
    """
    import mlx.core as mx

    height, width = kernel.shape
    if padding == "same" and not height % 2 == width % 2 == 1:
        raise UsageError(f"padding same needs a kernel with odd sides, this one is {height} x {width}")
    down, right = ((height - 1) // 2, (width - 1) // 2) if padding == "same" else (int(padding),) * 2
    if min(down, right) < 0 or stride < 1:
        raise UsageError("padding must be 0 or more, stride 1 or more")
    picture = values.reshape(*values.shape[:2], -1).astype(np.float32)
    if picture.shape[2] == 1:  # MLX is several times slower with one channel: the same twice
        picture = np.repeat(picture, 2, axis=2)
    picture = np.pad(picture, ((down, down), (right, right), (0, 0)))
    rows, channels = _places(picture.shape[0], height, stride), picture.shape[2]
    if rows < 1 or _places(picture.shape[1], width, stride) < 1:
        raise UsageError(
            f"a kernel of {height} x {width} does not fit into {picture.shape[0]} x {picture.shape[1]}",
            hint="give --padding, or a smaller kernel",
        )
    weight = mx.array(
        np.broadcast_to(kernel[None, :, :, None].astype(np.float32), (channels, *kernel.shape, 1))
    )
    strip = max(1, STRIP_PRODUCTS * stride // (picture[0].size * kernel.size))  # rows of the result
    parts = []
    for start in range(0, rows, strip):
        end = min(start + strip, rows)
        part = mx.array(picture[None, start * stride : (end - 1) * stride + height])
        with mx.stream(mx.cpu):  # exact float32: some GPUs multiply with fewer bits
            parts.append(np.array(mx.conv2d(part, weight, stride=stride, groups=channels)[0]))
    filtered = np.concatenate(parts)[:, :, : values[0, 0].size]
    return filtered.reshape(*filtered.shape[:2], *values.shape[2:])


def pool(values: np.ndarray, kind: str, size: int = 2, stride: int | None = None) -> np.ndarray:
    """The largest or the mean value of every window of size x size.

    Args:
        values: (H, W) or (H, W, C).
        kind: "max" or "avg".
        stride: pixels from one window to the next; default: `size`, windows side by side.

    Returns:
        float32; windows that would stick out are left out, as in a network.

    Raises:
        UsageError: another kind, or a window larger than the picture.
    """
    import mlx.core as mx
    import mlx.nn as nn

    layers = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
    if kind not in layers:
        raise UsageError(f"pooling {kind!r} is unknown", hint="choose max or avg")
    if size < 1 or (stride is not None and stride < 1):
        raise UsageError("size and stride of the pooling must be 1 or more")
    if size > min(values.shape[:2]):
        raise UsageError(
            f"a window of {size} x {size} does not fit into {values.shape[0]} x {values.shape[1]}"
        )
    picture = values[:, :, None] if values.ndim == 2 else values
    with mx.stream(mx.cpu):
        pooled = np.array(layers[kind](size, stride)(mx.array(picture[None].astype(np.float32)))[0])
    return pooled.reshape(*pooled.shape[:2], *values.shape[2:])


def read_values(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as float32 (H, W) or (H, W, 3), 0 to 255; transparent parts become white.

    A `.txt` or `.csv` file is a matrix: one row per line, numbers with commas or blanks between.

    Raises:
        UserError: no picture, or no matrix.
    """
    path = Path(path)
    if path.suffix.lower() in NUMBERS_SUFFIXES:
        return _read_matrix(path)
    from edgevision.pictures import on_background, open_picture

    return np.asarray(on_background(open_picture(path), 255), np.float32)


def as_picture(values: np.ndarray, span: str = "clip") -> Image.Image:
    """Values as an 8-bit picture.

    Args:
        values: (H, W) or (H, W, 3).
        span: "clip": below 0 black, above 255 white; "stretch": the smallest black, the largest white.
    """
    from PIL import Image

    if span not in ("clip", "stretch"):
        raise UsageError(f"span {span!r} is unknown", hint="choose clip or stretch")
    if span == "stretch":
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


def matrix_text(values: np.ndarray) -> str:
    """The numbers of a matrix (H, W) in columns, whole ones without a point, others with three digits."""
    whole = bool((values == np.round(values)).all())
    cells = [[f"{value + 0.0:.{0 if whole else 3}f}" for value in row] for row in values.tolist()]
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join(" ".join(cell.rjust(width) for cell in row) for row in cells)


def _places(length: int, kernel: int, stride: int) -> int:
    return (length - kernel) // stride + 1


def _read_matrix(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"{path} is not there", hint="give a picture, or a text file of numbers")
    with path.open("rb") as file:
        text = file.read(NUMBERS_MAX + 1)
    try:
        if len(text) > NUMBERS_MAX:
            raise ValueError(f"more than {NUMBERS_MAX:,} bytes")
        lines = text.decode().replace(",", " ").splitlines()
        values = np.array(
            [[float(word) for word in line.split()] for line in lines if line.strip()], np.float32
        )
        if values.ndim != 2 or not all(map(math.isfinite, values.flat)):
            raise ValueError("no finite numbers")
    except ValueError as error:
        raise UserError(
            f"{path} is not a matrix: {error}", hint="one row per line, the same count in each"
        ) from None
    return values


__all__ = ["KERNELS", "as_picture", "convolve", "kernel_named", "matrix_text", "pool", "read_values"]

"""Slightly other pictures of the same things, at random, inside the compiled step."""

from __future__ import annotations

import mlx.core as mx


def distorted(
    images: mx.array, turn: float, stretch: float, shift: float, part: tuple[int, int] = (0, 1)
) -> mx.array:
    """Each picture (B, H, W, C) turned, stretched, sheared and moved by its own random amounts.

    Each pixel is taken from the nearest one of the picture, and is zero where there is none. The amounts come
    from `mx.random`.

    Args:
        turn: largest angle in radians; small, for it is taken for its own sine.
        stretch: largest change of height and width, as a share; shears go to half of it.
        shift: largest movement in pixels.
        part: (number, count): the pictures are every `count`-th of a batch, from `number` on, and get what
            they would get in the whole.
    """
    b, h, w, c = images.shape
    number, count = part
    u = mx.random.uniform(-1, 1, (6, b * count, 1, 1))[:, number::count]
    y, x = (mx.arange(h) - (h - 1) / 2)[:, None], mx.arange(w) - (w - 1) / 2
    angle, shear = turn * u[0], stretch / 2 * u[1]
    rows = (1 + stretch * u[2]) * y + (shear + angle) * x + shift * u[3]  # (B, H, W)
    columns = (1 + stretch * u[4]) * x + (shear - angle) * y + shift * u[5]
    rows, columns = mx.round(rows + (h - 1) / 2), mx.round(columns + (w - 1) / 2)
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    source = mx.where(inside, rows * w + columns, h * w).astype(mx.uint32)
    pixels = mx.pad(images.reshape(b, h * w, c), [(0, 0), (0, 1), (0, 0)])  # the last one is black
    return mx.take_along_axis(pixels, source.reshape(b, h * w, 1), axis=1).reshape(images.shape)

"""Digits that we draw ourselves, by seed: where MNIST cannot be had, and for tests that need no file.

Each is a numeral in Pillow's own font with a pen of random thickness: enlarged, turned, sheared, bent, moved,
a little noisy; white on black, 28 x 28, as MNIST's. The splits have different seeds.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SIZES = {"train": 12_000, "test": 2_000}
SEEDS = {"train": 1, "test": 2}
SIDE = 28
PENS = (0, 1, 2, 3)  # pixels around the outline of a numeral
NUMERAL = 64  # pixels, the side of a drawn numeral
BEND_KNOTS = 4  # per side; between them the bending is linear


def draw(split: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (N, 28, 28, 1), labels int32 (N,)) of a split; the first `count` of it.

    Number i of a split is always the same picture.
    """
    count = SIZES[split] if count is None else min(count, SIZES[split])
    images = np.zeros((count, SIDE, SIDE, 1), np.uint8)
    labels = np.zeros(count, np.int32)
    for index in range(count):
        random = np.random.default_rng((SEEDS[split], index))
        labels[index] = random.integers(10)
        numeral = _numeral(int(labels[index]), PENS[random.integers(len(PENS))])
        images[index, :, :, 0] = _draw_one(numeral, random)
    return images, labels


@cache
def _numeral(digit: int, pen: int) -> np.ndarray:
    """A numeral that fills NUMERAL x NUMERAL in one direction, grey in [0, 1], with a black border of 1."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (128, 128))
    font = ImageFont.load_default(64)
    ImageDraw.Draw(image).text((64, 64), str(digit), fill=255, font=font, anchor="mm", stroke_width=pen)
    cut = image.crop(image.getbbox())
    side = max(cut.size)
    square = Image.new("L", (side, side))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    grey = np.asarray(square.resize((NUMERAL, NUMERAL), Image.Resampling.BILINEAR), np.float32) / 255
    return np.pad(grey, 1)


def _draw_one(numeral: np.ndarray, random: np.random.Generator) -> np.ndarray:
    angle, shear = random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3)
    width, height = random.uniform(0.7, 1.25), random.uniform(0.85, 1.05)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([20 * width, 20 * height])
    centre = (SIDE - 1) / 2 + random.uniform(-1.5, 1.5, 2)
    y, x = np.mgrid[:SIDE, :SIDE]
    places = np.linalg.inv(matrix) @ np.stack([x - centre[0], y - centre[1]]).reshape(2, -1)
    bends = random.normal(0, random.uniform(0, 0.07), (2, BEND_KNOTS, BEND_KNOTS))
    knots = np.clip(places + 0.5, 0, 1) * (BEND_KNOTS - 1.001)
    places = places + np.stack([_bilinear(bend, knots[1], knots[0]) for bend in bends])
    column, row = np.clip((places + 0.5) * (NUMERAL - 1) + 1, 0, NUMERAL + 0.999)
    grey = _bilinear(numeral, row, column).reshape(SIDE, SIDE)
    noise = random.normal(0, random.uniform(0, 0.06), grey.shape)
    grey = np.clip(grey * random.uniform(0.75, 1.3) + noise * (grey > 0.02), 0, 1)
    return (grey * 255).round().astype(np.uint8)


def _bilinear(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The values of an image at fractional places below its last row and column."""
    y, x = row.astype(int), column.astype(int)
    v, u = row - y, column - x
    top = image[y, x] * (1 - u) + image[y, x + 1] * u
    return top * (1 - v) + (image[y + 1, x] * (1 - u) + image[y + 1, x + 1] * u) * v


__all__ = ["draw"]

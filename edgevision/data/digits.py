"""Digits that we draw ourselves, by seed: where MNIST cannot be had, and for tests that need no file.

Each is a numeral in Pillow's own font, enlarged, turned, sheared, moved, thickened, and a little noisy;
white on
black, 28 x 28, as MNIST's. Another split has another seed.
"""

from __future__ import annotations

import numpy as np

CLASSES = tuple(str(digit) for digit in range(10))
SIZES = {"train": 12_000, "test": 2_000}
SEEDS = {"train": 1, "test": 2}
SIDE = 28


def draw(split: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (N, 28, 28, 1), labels int32 (N,)) of a split; the first `count` of it.

    The digit number i of a split is always the same picture.
    """
    count = SIZES[split] if count is None else min(count, SIZES[split])
    numerals = [_numeral(digit) for digit in range(10)]
    images = np.zeros((count, SIDE, SIDE, 1), np.uint8)
    labels = np.zeros(count, np.int32)
    for index in range(count):
        random = np.random.default_rng((SEEDS[split], index))
        labels[index] = random.integers(10)
        images[index, :, :, 0] = _draw_one(numerals[labels[index]], random)
    return images, labels


def _numeral(digit: int) -> np.ndarray:
    """A numeral as large as it gets on 64 x 64, grey in [0, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (96, 96))
    ImageDraw.Draw(image).text((48, 48), str(digit), fill=255, font=ImageFont.load_default(64), anchor="mm")
    left, top, right, bottom = image.getbbox() or (0, 0, 96, 96)
    side = max(right - left, bottom - top)
    canvas = Image.new("L", (side, side))
    canvas.paste(
        image.crop((left, top, right, bottom)), ((side - right + left) // 2, (side - bottom + top) // 2)
    )
    return np.asarray(canvas.resize((64, 64), Image.Resampling.BILINEAR), np.float32) / 255


def _draw_one(numeral: np.ndarray, random: np.random.Generator) -> np.ndarray:
    angle, shear = random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3)
    width, height = random.uniform(0.6, 1.0), random.uniform(0.85, 1.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([20 * width, 20 * height])
    centre = (SIDE - 1) / 2 + random.uniform(-2, 2, 2)
    y, x = np.mgrid[:SIDE, :SIDE]
    places = np.linalg.inv(matrix) @ np.stack([x - centre[0], y - centre[1]]).reshape(2, -1)
    column, row = (places + 0.5) * 63
    gray = _bilinear(numeral, row, column).reshape(SIDE, SIDE)
    gray = np.clip((gray - random.uniform(0.1, 0.4)) * random.uniform(1.5, 3), 0, 1)
    noise = random.normal(0, random.uniform(0, 0.06), gray.shape)
    return (
        (np.clip(gray * random.uniform(0.75, 1) + noise * (gray > 0.02), 0, 1) * 255).round().astype(np.uint8)
    )


def _bilinear(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The image at fractional places, black outside."""
    padded = np.pad(image, 1)
    row, column = np.clip(row + 1, 0, 64.999), np.clip(column + 1, 0, 64.999)
    y, x = row.astype(int), column.astype(int)
    v, u = row - y, column - x
    top = padded[y, x] * (1 - u) + padded[y, x + 1] * u
    return top * (1 - v) + (padded[y + 1, x] * (1 - u) + padded[y + 1, x + 1] * u) * v

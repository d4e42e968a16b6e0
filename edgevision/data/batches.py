"""Batches of a data set that is held once in unified memory; the order is a function of seed and epoch
alone."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from edgevision.data import ImageSet


@dataclass(frozen=True)
class Place:
    """Where training is: the next batch is number `index` of epoch `epoch`."""

    epoch: int
    index: int


class Batches:
    """Shuffled batches with pictures moved by up to `shift` pixels.

    The batch at a place is the same in every run with the same seed, whatever came before: a resumed run
    needs
    only the place.

    Args:
        data: uint8 pictures and labels; they stay uint8 in memory.
        size: pictures per batch; the rest of an epoch that fills no batch is left out.
        shift: largest movement in pixels, down and to the right; new pixels are black.
    """

    def __init__(self, data: ImageSet, size: int, seed: int, shift: int = 0):
        self.size, self.seed, self.shift = min(size, len(data)), seed, shift
        self.images, self.labels = mx.array(data.images), mx.array(data.labels)
        self.per_epoch = len(data) // self.size
        self._order: tuple[int, np.ndarray] | None = None

    def place(self, step: int) -> Place:
        """Where step number `step` (from 0) is."""
        return Place(*divmod(step, self.per_epoch))

    def at(self, place: Place) -> tuple[mx.array, mx.array, mx.array]:
        """(uint8 images (B, H, W, C), labels (B,), movements int32 (B, 2) from 0 to 2 * shift) of a place."""
        if self._order is None or self._order[0] != place.epoch:
            order = np.random.default_rng((self.seed, place.epoch)).permutation(len(self.labels))
            self._order = place.epoch, order
        chosen = mx.array(self._order[1][place.index * self.size : (place.index + 1) * self.size])
        random = np.random.default_rng((self.seed, place.epoch, place.index))
        moves = mx.array(random.integers(0, 2 * self.shift + 1, (self.size, 2)).astype(np.int32))
        return self.images[chosen], self.labels[chosen], moves


def normalized(images: mx.array) -> mx.array:
    """uint8 pictures as float32 in [0, 1]."""
    return images.astype(mx.float32) / 255


def moved(images: mx.array, moves: mx.array, shift: int) -> mx.array:
    """Each picture (B, H, W, C) moved by its row of `moves` minus `shift`."""
    if shift == 0:
        return images
    b, h, w, _ = images.shape
    padded = mx.pad(images, [(0, 0), (shift, shift), (shift, shift), (0, 0)])
    rows = (mx.arange(h)[None] + moves[:, :1])[:, :, None]  # (B, H, 1)
    columns = (mx.arange(w)[None] + moves[:, 1:])[:, None, :]  # (B, 1, W)
    return padded[mx.arange(b)[:, None, None], rows, columns]

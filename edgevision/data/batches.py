"""Batches of a data set that is held once in unified memory, in an order that seed and epoch alone decide."""

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
    """Shuffled batches.

    The batch at a place is the same in every run with the same seed, whatever came before: a resumed run
    needs only the place.

    Args:
        data: uint8 pictures and labels; they stay uint8 in memory.
        size: pictures per batch; the rest of an epoch that fills no batch is left out.
    """

    def __init__(self, data: ImageSet, size: int, seed: int):
        self.size, self.seed = min(size, len(data)), seed
        self.images, self.labels = mx.array(data.images), mx.array(data.labels)
        self.per_epoch = len(data) // self.size
        self._order: tuple[int, np.ndarray] | None = None

    def place(self, step: int) -> Place:
        """Where step number `step` (from 0) is."""
        return Place(*divmod(step, self.per_epoch))

    def at(self, place: Place) -> tuple[mx.array, mx.array]:
        """(uint8 images (B, H, W, C), labels (B,)) of a place."""
        if self._order is None or self._order[0] != place.epoch:
            order = np.random.default_rng((self.seed, place.epoch)).permutation(len(self.labels))
            self._order = place.epoch, order
        chosen = mx.array(self._order[1][place.index * self.size : (place.index + 1) * self.size])
        return self.images[chosen], self.labels[chosen]


def normalized(images: mx.array) -> mx.array:
    """uint8 pictures as float32 in [0, 1]."""
    return images.astype(mx.float32) / 255

"""Batches of a data set in an order that seed and epoch alone decide, made ahead on other threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import mlx.core as mx
import numpy as np

from edgevision.data import ImageSet

Batch = tuple[np.ndarray, ...]
Change = Callable[[Batch, np.random.Generator], Batch]


class Batches:
    """Shuffled batches.

    The batch of a step is the same in every run with the same seed, whatever came before and on whichever
    thread it is made: a resumed run needs only the number of the step.

    Args:
        data: uint8 pictures and labels; they stay uint8.
        size: pictures per batch; the rest of an epoch that fills no batch is left out.
        change: what is done to a batch, (images (N, H, W, C), labels (N,)), with random numbers of that step.
        part: (number, count): of each batch only every `count`-th picture, from `number` on.
    """

    def __init__(
        self,
        data: ImageSet,
        size: int,
        seed: int,
        change: Change | None = None,
        part: tuple[int, int] = (0, 1),
    ):
        self.size, self.seed, self._change, self._part = min(size, len(data)), seed, change, part
        self._data = data
        self.per_epoch = len(data) // self.size
        self._order = lru_cache(2)(
            lambda epoch: np.random.default_rng((seed, epoch)).permutation(len(data.labels))
        )

    def at(self, step: int) -> Batch:
        """(uint8 images (B, H, W, C), labels (B,)) of a step, from 0, or what `change` makes of it."""
        epoch, index = divmod(step, self.per_epoch)
        chosen = self._order(epoch)[index * self.size : (index + 1) * self.size]
        batch: Batch = (self._data.images[chosen], self._data.labels[chosen])
        if self._change is not None:  # before the part is taken: the same pictures however many take part
            batch = self._change(batch, np.random.default_rng((self.seed, 1, step)))
        first, count = self._part
        return tuple(array[first::count] for array in batch)


class Ahead:
    """The batches of steps `start` to `stop`, made by threads before they are asked for.

    waited: seconds that the training spent here for want of a batch.
    """

    def __init__(self, at: Callable[[int], Batch], start: int, stop: int, threads: int = 2, ahead: int = 6):
        self._at, self._steps, self._threads, self._ahead = at, range(start, stop), threads, ahead
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(self._threads, "batches") as pool:
            coming: deque[Future[Batch]] = deque()
            try:
                for step in self._steps:
                    last = min(step + self._ahead, self._steps.stop)
                    coming.extend(pool.submit(self._at, s) for s in range(step + len(coming), last))
                    began = time.monotonic()
                    batch = coming.popleft().result()
                    self.waited += time.monotonic() - began
                    yield batch
            finally:
                for future in coming:
                    future.cancel()


def normalized(images: mx.array) -> mx.array:
    """uint8 pictures as float32 in [0, 1]."""
    return images.astype(mx.float32) / 255


__all__ = ["Ahead", "Batches", "normalized"]

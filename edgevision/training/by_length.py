"""Batches of texts that are about equally long, so that little of a step is spent on filling rows up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

GRID = 8  # tokens; rows are as long as a multiple of it, so that a step is compiled for few sizes
POOL = 32  # batches whose texts are sorted by length together


class ByLength:
    """Which texts each step of a training takes: a function of seed and step alone.

    Args:
        lengths: (N, K), tokens of each of the K sides of a text. per_step: texts.
    """

    def __init__(self, lengths: np.ndarray, per_step: int, seed: int):
        self._lengths, self._per_step, self._seed = lengths, per_step, seed
        self.per_epoch = len(lengths) // per_step
        self._order = lru_cache(2)(self._sorted)

    def at(self, step: int) -> np.ndarray:
        """The texts of a step, from 0."""
        epoch, index = divmod(step, self.per_epoch)
        return self._order(epoch)[index]

    def _sorted(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng((self._seed, epoch))
        order = random.permutation(len(self._lengths))[: self.per_epoch * self._per_step]
        steps: list[np.ndarray] = []
        for start in range(0, len(order), POOL * self._per_step):
            pool = order[start : start + POOL * self._per_step]
            keys = -(-self._lengths[pool] // GRID)
            pool = pool[np.lexsort((self._lengths[pool, 0], *keys.T))]
            steps += np.split(pool, len(pool) // self._per_step)
        return [steps[i] for i in random.permutation(len(steps))]


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """int32 (B, a multiple of GRID), -1 at the end of the shorter ones."""
    width = max(1, -(-max(map(len, rows)) // GRID)) * GRID
    found = np.full((len(rows), width), -1, np.int32)
    for row, ids in zip(found, rows, strict=True):
        row[: len(ids)] = ids
    return found


__all__ = ["ByLength", "padded"]

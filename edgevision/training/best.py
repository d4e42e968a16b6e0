"""The best weights of a training so far, and when to stop because they do not get better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from converters.storage import replacing_file
from edgevision.training import checkpoints
from edgevision.training.recipe import Recipe

WEIGHTS = "checkpoints/best.safetensors"
LOWEST = -1e30  # below every score; a checkpoint holds no infinities


class Best:
    """score: of the best measurement; step: when that was; stale: measurements since."""

    def __init__(self, live: Path, recipe: Recipe):
        self._live, self._path, self._recipe = live, live / WEIGHTS, recipe
        self.score, self.step, self.stale = LOWEST, 0, 0

    def note(self, step: int, score: float, model: nn.Module) -> None:
        """A measurement of `model`; the larger the score the better. The best weights are written.

        Raises:
            UserError: these hold values that are no numbers; the best ones before them are kept.
        """
        score = float(np.float32(score))  # as a checkpoint holds it
        if score <= self.score:
            self.stale += 1
            return
        if self._recipe.keep == "best":
            weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
            checkpoints.check_numbers(weights, step, self._live)
            with replacing_file(self._path) as new:
                mx.save_safetensors(str(new), weights)
        self.score, self.step, self.stale = score, step, 0

    @property
    def exhausted(self) -> bool:
        """Whether the recipe's patience is at its end."""
        return self._recipe.patience is not None and self.stale >= self._recipe.patience

    @property
    def kept_step(self) -> int:
        """The step whose weights are kept; 0 where these are the last ones."""
        return self.step if self._recipe.keep == "best" else 0

    def keep(self, model: nn.Module) -> None:
        """Give `model` the best weights, where the recipe wants these and there are some."""
        if self._recipe.keep == "best" and self.step:
            model.load_weights(str(self._path))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"score": mx.array(self.score), "step": mx.array(self.step), "stale": mx.array(self.stale)}

    def restore(self, tree: dict[str, mx.array]) -> None:
        """Put back what `state` gave."""
        score, step, stale = (np.array(tree[name]) for name in ("score", "step", "stale"))
        self.score, self.step, self.stale = float(score), int(step), int(stale)


__all__ = ["Best"]

"""Learning which class a picture is of."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.data import ImageSet
from edgevision.data.batches import Batch, Batches, normalized
from edgevision.training import loop
from edgevision.training.augmentation import changed, changes_pictures
from edgevision.training.distortion import distorted
from edgevision.training.group import Group
from edgevision.training.recipe import Recipe
from edgevision.training.step import Measured

PIXELS_AT_ONCE = 1 << 20  # of the pictures that are classified together


class Classification:
    """A `loop.Task`: models take float32 pictures (B, H, W, C) in [0, 1] and give logits (B, classes)."""

    unit = "images"

    def __init__(self, data: ImageSet, test: ImageSet, recipe: Recipe):
        change = partial(changed, recipe=recipe) if changes_pictures(recipe) else None
        group = Group()
        self._part = group.number, group.size
        self._batches = Batches(data, recipe.batch_size, recipe.seed, change, self._part)
        group.check_batch(self._batches.size)
        self._test, self._recipe = test, recipe
        self.per_step = self.answers = self._batches.size
        self.per_epoch = self._batches.per_epoch

    def at(self, step: int) -> Batch:
        """uint8 pictures (B, H, W, C) and labels (B,); where pictures are mixed, the second labels (B,) too,
        and the shares (B,) of the first."""
        return self._batches.at(step)

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Cross-entropy in nats, after distortions."""
        images, labels, *mixed = batch
        recipe = self._recipe
        pictures = normalized(images)
        if recipe.turn or recipe.stretch or recipe.shift:
            pictures = distorted(pictures, recipe.turn, recipe.stretch, recipe.shift, self._part)
        logits = model(pictures).astype(mx.float32)
        losses = partial(nn.losses.cross_entropy, logits, label_smoothing=recipe.label_smoothing)
        loss = losses(labels)
        if mixed:
            others, shares = mixed
            loss = shares * loss + (1 - shares) * losses(others)
        return mx.mean(loss), mx.sum(mx.argmax(logits, axis=-1) == labels)

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """accuracy: of the test pictures."""
        return {"accuracy": float((predict(model, self._test.images) == self._test.labels).mean())}

    def score(self, measured: dict[str, Any]) -> float:
        """The accuracy."""
        return measured["accuracy"]


def train(
    model: nn.Module,
    data: ImageSet,
    test: ImageSet,
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """`loop.train` on uint8 pictures and their labels."""
    return loop.train(model, Classification(data, test, recipe), recipe, out, resume, **options)


def predict(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """The most probable class of each uint8 picture (N, H, W, C); int64 (N,)."""
    count = max(1, min(1000, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2])))
    starts = range(0, len(images), count)
    return np.concatenate([logits(model, images[i : i + count]).argmax(axis=-1) for i in starts])


def logits(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the model gives for uint8 pictures (N, H, W, C), in evaluation mode; float32 (N, classes)."""
    training = model.training
    model.eval()
    result = np.array(model(normalized(mx.array(images))))
    model.train(training)
    return result


__all__ = ["Classification", "logits", "predict", "train"]

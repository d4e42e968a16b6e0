"""Learning to write text: which token comes next."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.data.batches import Batch
from edgevision.text.corpus import HeldOut, Windows
from edgevision.training.group import Group
from edgevision.training.recipe import Recipe
from edgevision.training.step import Measured

QUICK = 200  # rows that are measured on during training


@dataclass(frozen=True)
class TextRecipe(Recipe):
    """A `Recipe` of steps, each of `batch_size` rows of text; what changes pictures or tunes their networks
    it has not."""

    UNREAD: ClassVar[frozenset[str]] = frozenset(
        {"epochs", "turn", "stretch", "shift", "crop", "flip", "randaugment", "mixup", "cutmix"}
        | {"start", "tune", "layer_decay"}
    )

    steps: int | None = 2000
    batch_size: int = 12
    learning_rate: float = 4e-3
    warmup: float = 0.05
    floor: float = 0.0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = 1.0
    label_smoothing: float = 0.0
    evaluate_every: int | None = 250
    blas_threads: int | None = 2


class Language:
    """A `loop.Task`: models take tokens (B, L) and give logits (B, L, V)."""

    unit = "tokens"
    answers = 0

    def __init__(self, windows: Windows, test: HeldOut, recipe: TextRecipe):
        self._windows, self._test, self._recipe, self._group = windows, test, recipe, Group()
        self._group.check_batch(windows.rows)
        self.per_step = windows.rows * windows.length
        tokens = (windows.end - windows.start) / windows.bytes_per_token
        self.per_epoch = max(1, int(tokens / self.per_step))

    def at(self, step: int) -> Batch:
        """int32 (B, L + 1): of all rows of the step those of this process."""
        return (self._windows.at(step)[self._group.number :: self._group.size],)

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Cross-entropy in nats per token."""
        (rows,) = batch
        logits = model(rows[:, :-1]).astype(mx.float32)
        smoothing = self._recipe.label_smoothing
        losses = nn.losses.cross_entropy(logits, rows[:, 1:], label_smoothing=smoothing)
        return mx.mean(losses), mx.array(0)

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """What `measure` finds, on a part of the held-out text where it is not the last time."""
        return measure(model, self._test, None if last else QUICK)

    def score(self, measured: dict[str, Any]) -> float:
        """The loss, turned round."""
        return -measured["loss"]


def measure(model: nn.Module, test: HeldOut, rows: int | None = None, batch: int = 32) -> dict[str, float]:
    """Loss in nats per token, perplexity, and bits per byte of held-out text.

    rows: how many are measured, spread over all; default all of them.
    """
    training = model.training
    model.eval()
    chosen = (
        np.arange(len(test.rows))
        if rows is None or rows >= len(test.rows)
        else (np.arange(rows) * len(test.rows) // rows)
    )
    total, count = 0.0, 0
    for start in range(0, len(chosen), batch):
        index = chosen[start : start + batch]
        tokens, counted = mx.array(test.rows[index]), mx.array(test.counted[index].astype(np.float32))
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]).astype(mx.float32), tokens[:, 1:])
        total += float(np.array(mx.sum(losses * counted)))
        count += int(test.counted[index].sum())
    model.train(training)
    loss = total / count
    return {
        "loss": loss,
        "perplexity": exp(min(loss, 700.0)),
        "bits_per_byte": loss / log(2) / test.bytes_per_token,
        "tokens": count,
    }


__all__ = ["Language", "TextRecipe", "measure"]

"""Learning to translate a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.data.batches import Batch
from edgevision.models import translator
from edgevision.text.pairs import Pairs
from edgevision.text.tokenizer import Tokenizer
from edgevision.training.by_length import ByLength, padded
from edgevision.training.group import Group
from edgevision.training.recipe import Recipe
from edgevision.training.step import Measured

AT_ONCE = 100  # sentences that are measured together


@dataclass(frozen=True)
class PairRecipe(Recipe):
    """A `Recipe`, and what only translation has.

    Attributes:
        longest: tokens of a sentence; longer ones are cut in training.
        quick: sentences that are translated in measurements during the training.
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset(
        {"turn", "stretch", "shift", "crop", "flip", "randaugment", "mixup", "cutmix"}
        | {"start", "tune", "layer_decay"}
    )

    epochs: int = 8
    batch_size: int = 128
    optimizer: Any = "muon"
    learning_rate: float = 2e-3
    muon_rate: float = 0.02
    weight_decay: float = 0.02
    clip: float | None = 1.0
    label_smoothing: float = 0.1
    average: float | None = 0.995
    side_by_side: int = 2
    keep: Any = "best"
    longest: int = 48
    quick: int = 300


class Translating:
    """A `loop.Task`: what the models are given is described in `models.translator`."""

    unit = "pairs"
    answers = 0

    def __init__(self, data: Pairs, test: Pairs, tokenizer: Tokenizer, recipe: PairRecipe):
        self._test, self._tokenizer, self._recipe = test, tokenizer, recipe
        assert tokenizer.end is not None
        self._end = tokenizer.end
        self._rows, self._held_out = self._encoded(data), self._encoded(test)
        self.per_step = min(recipe.batch_size, len(data))
        lengths = np.array([(len(source), len(target)) for source, target in self._rows])
        self._order = ByLength(lengths, self.per_step, recipe.seed)
        self.per_epoch = self._order.per_epoch
        self._group = Group()
        self._group.check_batch(self.per_step)

    def at(self, step: int) -> Batch:
        """int32 tokens (B, S) and (B, L + 1), -1 where there is none."""
        chosen = self._order.at(step)
        source, target = (padded([self._rows[i][side] for i in chosen]) for side in (0, 1))
        part = slice(self._group.number, None, self._group.size)  # of what all processes compute together
        return source[part], target[part]

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Cross-entropy in nats per token with smoothed labels."""
        assert isinstance(model, translator.Model)
        source, target = batch
        return _loss(model, source, target, self._recipe.label_smoothing), mx.array(0)

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """loss: nats per token of held-out pairs. bleu: of translations by the most probable token each time
        (sacrebleu), where that is installed."""
        assert isinstance(model, translator.Model)
        training = model.training
        model.eval()
        total, parts = 0.0, 0
        order = np.argsort([len(target) for _, target in self._held_out], kind="stable")
        for start in range(0, len(order), AT_ONCE):
            chosen = order[start : start + AT_ONCE]
            rows = [padded([self._held_out[i][side] for i in chosen]) for side in (0, 1)]
            loss = _loss(model, mx.array(rows[0]), mx.array(rows[1]))
            total, parts = total + float(np.array(loss)) * len(chosen), parts + len(chosen)
        found: dict[str, Any] = {"loss": total / parts}
        count = len(self._test) if last else min(self._recipe.quick, len(self._test))
        written = translations(model, self._tokenizer, self._test.source[:count], self._recipe.longest)
        model.train(training)
        score = bleu(written, self._test.target[:count])
        return found if score is None else found | {"bleu": score}

    def score(self, measured: dict[str, Any]) -> float:
        """BLEU, where it was measured, else the loss."""
        return measured.get("bleu", -measured["loss"])

    def _encoded(self, pairs: Pairs) -> list[tuple[list[int], list[int]]]:
        longest, end = self._recipe.longest, self._end
        sides = [self._tokenizer.encode_batch(list(side)) for side in (pairs.source, pairs.target)]
        return [(a[:longest], [end, *b[:longest], end]) for a, b in zip(*sides, strict=True)]


def translations(
    model: translator.Model, tokenizer: Tokenizer, sentences: tuple[str, ...], longest: int
) -> list[str]:
    """By the most probable token each time; sentences of about the same length are translated together."""
    encoded = [ids[:longest] for ids in tokenizer.encode_batch(list(sentences))]
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    written = [""] * len(sentences)
    for start in range(0, len(order), AT_ONCE):
        chosen = order[start : start + AT_ONCE]
        rows = mx.array(padded([encoded[i] for i in chosen]))
        found = model.write(mx.maximum(rows, 0), rows >= 0, longest)
        for index, ids in zip(chosen, found, strict=True):
            written[index] = tokenizer.decode(ids).strip()
    return written


def bleu(written: list[str], known: tuple[str, ...]) -> float | None:
    """sacrebleu's score of a corpus; None where it is not installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        return None
    return round(BLEU().corpus_score(written, [list(known)]).score, 2)


def _loss(model: translator.Model, source: mx.array, target: mx.array, smoothing: float = 0.0) -> mx.array:
    """Mean over the tokens that are there; source (B, S), target (B, L + 1)."""
    there = (target[:, 1:] >= 0).astype(mx.float32)
    rows = mx.maximum(target, 0)
    logits = model(mx.maximum(source, 0), rows[:, :-1], source >= 0).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, rows[:, 1:], label_smoothing=smoothing)
    return mx.sum(losses * there) / mx.sum(there)


__all__ = ["PairRecipe", "Translating", "bleu", "translations"]

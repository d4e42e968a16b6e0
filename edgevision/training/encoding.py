"""Learning to guess hidden tokens, and to tell classes of texts apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.data.batches import Batch
from edgevision.models import encoder_lm
from edgevision.text.labelled import Labelled
from edgevision.text.tokenizer import Tokenizer
from edgevision.training.by_length import ByLength, padded
from edgevision.training.group import Group
from edgevision.training.recipe import Recipe
from edgevision.training.step import Measured

AT_ONCE = 128  # texts that are measured together
HIDDEN = 0.15  # of the tokens are to be guessed: BERT's number (Devlin et al., 2019, section 3.1)
MASKED, RANDOM = 0.8, 0.1  # of these are [MASK], and any token; the others stay as they are


@dataclass(frozen=True)
class EncoderRecipe(Recipe):
    """A `Recipe`, and what only encoders of text have.

    Attributes:
        longest: tokens of a text; in pre-training longer ones are cut into pieces, else cut off.
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset(
        {"turn", "stretch", "shift", "crop", "flip", "randaugment", "mixup", "cutmix", "layer_decay", "tune"}
    )

    epochs: int = 5
    batch_size: int = 256
    optimizer: Any = "muon"
    learning_rate: float = 2e-3
    muon_rate: float = 0.02
    weight_decay: float = 0.02
    clip: float | None = 1.0
    label_smoothing: float = 0.0
    average: float | None = 0.995
    side_by_side: int = 2
    longest: int = 64


class Guessing:
    """A `loop.Task`: 15 % of the tokens of a text are hidden, and the model guesses them.

    Args:
        texts: what is learnt from. test: what is measured on.
    """

    unit = "texts"
    answers = 0

    def __init__(
        self, texts: Sequence[str], test: Sequence[str], tokenizer: Tokenizer, recipe: EncoderRecipe
    ):
        self._recipe, self._tokenizer = recipe, tokenizer
        self._rows, self._held_out = (pieces(tokenizer, part, recipe.longest) for part in (texts, test))
        self.per_step = min(recipe.batch_size, len(self._rows))
        lengths = np.array([[len(row)] for row in self._rows])
        self._order = ByLength(lengths, self.per_step, recipe.seed)
        self.per_epoch = self._order.per_epoch
        self._group = Group()
        self._group.check_batch(self.per_step)

    def at(self, step: int) -> Batch:
        """`hidden` of the texts of a step."""
        rows = padded([self._rows[i] for i in self._order.at(step)])
        found = hidden(rows, self._tokenizer, np.random.default_rng((self._recipe.seed, 1, step)))
        part = slice(self._group.number, None, self._group.size)  # of what all processes compute together
        return tuple(array[part] for array in found)

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Cross-entropy in nats per hidden token."""
        assert isinstance(model, encoder_lm.Model)
        ids, places, tokens = batch
        losses, _, there = _guessed(model, ids, places, tokens, self._recipe.label_smoothing)
        return mx.sum(losses * there) / mx.sum(there), mx.array(0)

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """loss: nats per hidden token of held-out texts. perplexity. accuracy: how many are guessed right."""
        assert isinstance(model, encoder_lm.Model)
        training = model.training
        model.eval()
        sums, random = np.zeros(3), np.random.default_rng(0)
        rows = sorted(self._held_out, key=len)
        for start in range(0, len(rows), AT_ONCE):
            batch = hidden(padded(rows[start : start + AT_ONCE]), self._tokenizer, random)
            ids, places, tokens = map(mx.array, batch)
            losses, right, there = _guessed(model, ids, places, tokens)
            sums += [float(np.array(mx.sum(array * there))) for array in (losses, right, mx.ones(1))]
        model.train(training)
        loss, accuracy = sums[0] / sums[2], sums[1] / sums[2]
        return {"loss": loss, "perplexity": exp(min(loss, 700.0)), "accuracy": accuracy}

    def score(self, measured: dict[str, Any]) -> float:
        """The loss, turned round."""
        return -measured["loss"]


class Classifying:
    """A `loop.Task`: the class of a text."""

    unit = "texts"

    def __init__(self, data: Labelled, test: Labelled, tokenizer: Tokenizer, recipe: EncoderRecipe):
        self._recipe, self._test = recipe, test
        sides = (framed(tokenizer, part.texts, recipe.longest) for part in (data, test))
        self._rows, self._held_out = sides
        self._numbers = np.array(data.numbers, np.int32)
        self.per_step = self.answers = min(recipe.batch_size, len(data))
        lengths = np.array([[len(row)] for row in self._rows])
        self._order = ByLength(lengths, self.per_step, recipe.seed)
        self.per_epoch = self._order.per_epoch
        self._group = Group()
        self._group.check_batch(self.per_step)

    def at(self, step: int) -> Batch:
        """int32 tokens (B, L), -1 where there is none, and labels (B,)."""
        chosen = self._order.at(step)[self._group.number :: self._group.size]
        return padded([self._rows[i] for i in chosen]), self._numbers[chosen]

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Cross-entropy in nats per text with smoothed labels, and how many are right."""
        ids, labels = batch
        logits = model(mx.maximum(ids, 0), ids >= 0).astype(mx.float32)
        losses = nn.losses.cross_entropy(logits, labels, label_smoothing=self._recipe.label_smoothing)
        return mx.mean(losses), mx.sum(mx.argmax(logits, axis=-1) == labels)

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """loss, accuracy: of the test texts."""
        training = model.training
        model.eval()
        loss, right = 0.0, 0
        order = np.argsort([len(row) for row in self._held_out], kind="stable")
        for start in range(0, len(order), AT_ONCE):
            chosen = order[start : start + AT_ONCE]
            ids = mx.array(padded([self._held_out[i] for i in chosen]))
            labels = mx.array([self._test.numbers[i] for i in chosen])
            logits = model(mx.maximum(ids, 0), ids >= 0)
            loss += float(np.array(mx.sum(nn.losses.cross_entropy(logits, labels))))
            right += int(np.array(mx.sum(mx.argmax(logits, axis=-1) == labels)))
        model.train(training)
        return {"loss": loss / len(order), "accuracy": right / len(order)}

    def score(self, measured: dict[str, Any]) -> float:
        """The accuracy."""
        return measured["accuracy"]


def framed(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """The tokens of each text between [CLS] and [SEP], cut off after `longest`."""
    rows = tokenizer.encode_batch(list(texts), framed=True)
    return [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in rows]


def pieces(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """The tokens of each text between [CLS] and [SEP], in pieces of `longest` at most."""
    first, last = tokenizer.encode("", framed=True)
    found, room = [], longest - 2
    for row in tokenizer.encode_batch(list(texts)):
        found += [[first, *row[start : start + room], last] for start in range(0, len(row), room)]
    return found


def hidden(rows: np.ndarray, tokenizer: Tokenizer, random: np.random.Generator) -> Batch:
    """Texts (B, L) with hidden tokens, -1 where there is none; where these are (B, N); what they were (B, N),
    -1 where a text has fewer."""
    mask = tokenizer.special("mask_token")
    assert mask is not None
    texts, count = rows.copy(), max(1, round(HIDDEN * (rows.shape[1] - 2)))
    places, tokens = (np.full((len(rows), count), fill, np.int32) for fill in (0, -1))
    for i, row in enumerate(rows):
        length = int((row >= 0).sum()) - 2  # [CLS] and [SEP] are never hidden
        some = min(max(1, int(HIDDEN * length + random.random())), count, length)
        chosen = 1 + random.choice(length, some, replace=False)
        places[i, :some], tokens[i, :some] = chosen, row[chosen]
        draw = random.random(some)
        other = random.integers(0, tokenizer.size, some)
        texts[i, chosen] = np.where(draw < MASKED, mask, np.where(draw < MASKED + RANDOM, other, row[chosen]))
    return texts, places, tokens


def _guessed(
    model: encoder_lm.Model, ids: mx.array, places: mx.array, tokens: mx.array, smoothing: float = 0.0
) -> tuple[mx.array, mx.array, mx.array]:
    """(B, N) each: cross-entropy, whether the guess is right, whether there is a token at all."""
    features = model.features(mx.maximum(ids, 0), ids >= 0)
    picked = mx.take_along_axis(features, places[..., None], axis=1)
    logits = model.guess(picked).astype(mx.float32)
    known = mx.maximum(tokens, 0)
    losses = nn.losses.cross_entropy(logits, known, label_smoothing=smoothing)
    return losses, mx.argmax(logits, axis=-1) == known, (tokens >= 0).astype(mx.float32)


__all__ = ["Classifying", "EncoderRecipe", "Guessing", "framed", "hidden", "pieces"]

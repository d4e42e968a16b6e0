"""Learning to write the sentence of a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map

from edgevision.data.batches import Batch, normalized
from edgevision.data.captions import CaptionSet, plain
from edgevision.inference.caption_metrics import is_installed, scores
from edgevision.models import captioner
from edgevision.text.tokenizer import Tokenizer
from edgevision.training.augmentation import cropped
from edgevision.training.group import Group
from edgevision.training.recipe import Recipe
from edgevision.training.step import Measured

SIDES = re.compile(r"\b(left|right)\b")
AT_ONCE = 50  # pictures that are measured together


@dataclass(frozen=True)
class CaptionRecipe(Recipe):
    """A `Recipe`, and what only captions have.

    Attributes:
        captions: how many sentences of each picture a step takes; the encoder runs once for all of them.
        longest: tokens of a sentence; the rest is cut off in training.
        naming: how much it counts that the encoder names the tokens of the sentences by itself.
        forget: share of the words so far that the decoder does not see in training, so that it looks at the
            picture and does not learn which word follows which.
        light: pictures are made brighter or darker by up to this share.
        quick: pictures that are measured during the training.
        start: whose encoder it begins with: a run of a captioner or ViT, or a ViT of Hugging Face or timm.
        frozen: epochs before the others in which that encoder stays as it is.
        critical: epochs after the others that raise CIDEr itself (`edgevision.training.critical`).
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset(
        {"turn", "stretch", "shift", "randaugment", "mixup", "cutmix", "start", "tune", "layer_decay"}
    )

    epochs: int = 20
    batch_size: int = 32
    optimizer: Any = "muon"
    learning_rate: float = 2e-3
    muon_rate: float = 0.02
    weight_decay: float = 0.05
    clip: float | None = 1.0
    label_smoothing: float = 0.1
    average: float | None = 0.998
    side_by_side: int = 2
    captions: int = 3
    longest: int = 20
    naming: float = 0.05
    forget: float = 0.0
    light: float = 0.3
    quick: int = 300
    frozen: int = 0
    critical: int = 0


VOCABULARIES = {"small": 3000, "scenes": 400}  # tokens of byte-pair encoding


class Captioning:
    """A `loop.Task`: what the models are given is described in `models.captioner`."""

    unit = "images"
    answers = 0

    def __init__(self, data: CaptionSet, test: CaptionSet, tokenizer: Tokenizer, recipe: CaptionRecipe):
        self.data, self._test, self._tokenizer, self._recipe = data, test, tokenizer, recipe
        assert tokenizer.end is not None
        self._end = tokenizer.end
        self._tokens = self._encoded(data)
        self._held_out = self._encoded(test)
        self._flips = [not any(SIDES.search(c) for c in captions) for captions in data.captions]
        self.per_step = min(recipe.batch_size, len(data))
        self.per_epoch = len(data) // self.per_step
        self._group = Group()
        self._group.check_batch(self.per_step)
        self._order = lru_cache(2)(
            lambda epoch: np.random.default_rng((recipe.seed, epoch)).permutation(len(data))
        )

    def at(self, step: int) -> Batch:
        """uint8 pictures (B, H, W, 3), tokens int32 (B, captions, L + 1), -1 after the end."""
        recipe = self._recipe
        chosen, random = self.chosen(step)
        images = self.data.images[chosen]
        if recipe.crop:
            images = cropped(images, random, recipe.crop)
        if recipe.flip:
            turned = np.array([self._flips[i] for i in chosen]) & (random.random(len(chosen)) < 0.5)
            images = np.where(turned[:, None, None, None], images[:, :, ::-1], images)
        part = slice(self._group.number, None, self._group.size)  # of what all processes compute together
        return images[part], self.sentences(chosen, random)[part]

    def chosen(self, step: int) -> tuple[np.ndarray, np.random.Generator]:
        """The numbers of the pictures of a step, and its random numbers."""
        epoch, index = divmod(step, self.per_epoch)
        numbers = self._order(epoch)[index * self.per_step : (index + 1) * self.per_step]
        return numbers, np.random.default_rng((self._recipe.seed, 1, step))

    def sentences(self, chosen: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """int32 (B, captions, L + 1): of each picture as many as the recipe says, -1 after the end."""
        rows, count = [], self._recipe.captions
        for picture in chosen:
            known = self._tokens[picture]
            times = -(-count // len(known))
            rows.append(known[np.concatenate([random.permutation(len(known)) for _ in range(times)])])
        return np.stack([row[:count] for row in rows])

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Cross-entropy in nats per token with smoothed labels, and what the encoder names by itself."""
        assert isinstance(model, captioner.Model)
        images, tokens = batch
        recipe = self._recipe
        pictures = normalized(images)
        if recipe.light:
            low, high = 1 - recipe.light, 1 + recipe.light
            pictures = mx.minimum(pictures * mx.random.uniform(low, high, (len(images), 1, 1, 1)), 1.0)
        return self.loss_of_features(model, model.encode(pictures), tokens)

    def loss_of_features(self, model: captioner.Model, features: mx.array, tokens: mx.array) -> Measured:
        """`loss` of features (B, S, E)."""
        recipe = self._recipe
        loss = _token_loss(model, features, tokens, recipe.label_smoothing, recipe.forget, self._end)
        if recipe.naming and "names" in model:
            loss = loss + recipe.naming * _naming_loss(model, features, tokens, self._end)
        return loss, mx.array(0)

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """loss: nats per token of held-out sentences. exact: share of the sentences written greedily that are
        one of those. The other scores of `caption_metrics`, where pycocoevalcap is installed."""
        assert isinstance(model, captioner.Model)
        training = model.training
        model.eval()
        count = len(self._test) if last else min(self._recipe.quick, len(self._test))
        total, parts, written = 0.0, 0, []
        for start in range(0, count, AT_ONCE):
            stop = min(start + AT_ONCE, count)
            pictures = normalized(mx.array(self._test.images[start:stop]))
            features = model.encode(pictures)
            rows = [row[np.arange(5) % len(row)] for row in self._held_out[start:stop]]
            loss = _token_loss(model, features, mx.array(np.stack(rows)))
            total, parts = total + float(np.array(loss)) * (stop - start), parts + stop - start
            found = model.write(features, self._end, self._recipe.longest)
            written += [plain(self._tokenizer.decode(row)) for row in found]
        model.train(training)
        known = self._test.captions[:count]
        exact = sum(text in captions for text, captions in zip(written, known, strict=True)) / count
        told = scores(known, written) if is_installed() else {}
        return {"loss": total / parts, "exact": exact, **told}

    def score(self, measured: dict[str, Any]) -> float:
        """CIDEr, where it was measured, else the loss."""
        return measured.get("cider", -measured["loss"])

    def _encoded(self, data: CaptionSet) -> list[np.ndarray]:
        """int32 (sentences, longest + 2) for each picture: the end token before and after, then -1."""
        longest, result = self._recipe.longest, []
        for captions in data.captions:
            rows = np.full((len(captions), longest + 2), -1, np.int32)
            for row, ids in zip(rows, self._tokenizer.encode_batch(list(captions)), strict=True):
                sentence = [self._end, *ids, self._end][: longest + 2]
                row[: len(sentence)] = sentence
            result.append(rows)
        return result


def _token_loss(
    model: captioner.Model,
    features: mx.array,
    tokens: mx.array,
    smoothing: float = 0.0,
    forget: float = 0.0,
    end: int = 0,
) -> mx.array:
    """Mean over the tokens that are there; features (B, S, E), tokens (B, sentences, L + 1)."""
    many = tokens.shape[1]
    rows = tokens.reshape(-1, tokens.shape[-1])
    memory = tree_map(lambda array: mx.repeat(array, many, axis=0), model.remember(features))
    there = (rows[:, 1:] >= 0).astype(mx.float32)
    rows = mx.maximum(rows, 0)
    known = rows[:, :-1]
    if forget:
        known = mx.where(mx.random.bernoulli(forget, known.shape), end, known)
    logits = model.decode(known, memory).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, rows[:, 1:], label_smoothing=smoothing)
    return mx.sum(losses * there) / mx.sum(there)


def _naming_loss(model: captioner.Model, features: mx.array, tokens: mx.array, end: int) -> mx.array:
    """Which tokens occur in the sentences of each picture, from the mean of its features."""
    named = model.name(features)  # (B, V)
    rows = tokens.reshape(len(tokens), -1)
    rows = mx.where(rows < 0, end, rows)
    occurs = mx.zeros_like(named).at[mx.arange(len(rows))[:, None], rows].maximum(1.0)
    return mx.mean(mx.sum(nn.losses.binary_cross_entropy(named, occurs, reduction="none"), axis=-1))


__all__ = ["VOCABULARIES", "CaptionRecipe", "Captioning"]

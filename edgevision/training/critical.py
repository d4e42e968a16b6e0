"""Self-critical training ("Self-critical Sequence Training for Image Captioning", Rennie et al., 2017): after
the training, sentences are drawn, and those with a higher CIDEr than the model's own most probable sentence
become more probable, the others less."""

from __future__ import annotations

from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from edgevision.console import console
from edgevision.data.batches import normalized
from edgevision.data.captions import CaptionSet, plain
from edgevision.inference.consensus import Consensus
from edgevision.models import captioner
from edgevision.text.tokenizer import Tokenizer
from edgevision.training.captioning import Captioning, CaptionRecipe

RATE = 5e-5  # AdamW's
DRAWN = 4  # sentences about each picture


def train_critically(
    model: captioner.Model, task: Captioning, data: CaptionSet, tokenizer: Tokenizer, recipe: CaptionRecipe
) -> dict[str, Any] | None:
    """`recipe.critical` epochs over `data`; gives what `task.measure` then finds. Weights that are worse on
    the held-out pictures than those before are not kept, and None is given then."""
    before = {name: mx.array(value) for name, value in _flat(model).items()}
    score = task.score(task.measure(model, True))
    learner = Learner(model, data, tokenizer, recipe)
    for epoch in range(recipe.critical):
        gained = [learner.step(chosen) for chosen in _batches(len(data), recipe, epoch)]
        console.print(f"self-critical epoch {epoch + 1}: CIDEr of drawn sentences {np.mean(gained):.1f}")
    found = task.measure(model, True)
    if task.score(found) > score:
        return found
    console.print("self-critical training did not help: the weights before it are kept")
    model.load_weights(list(before.items()))
    return None


class Learner:
    """One batch after the other; deterministic by the recipe's seed."""

    def __init__(
        self,
        model: captioner.Model,
        data: CaptionSet,
        tokenizer: Tokenizer,
        recipe: CaptionRecipe,
        rate: float = RATE,
    ):
        assert tokenizer.end is not None
        self._model, self._data, self._tokenizer = model, data, tokenizer
        self._end, self._longest = tokenizer.end, recipe.longest
        self._consensus = Consensus(data.captions)
        self._optimizer = optim.AdamW(rate, weight_decay=0.0)
        self._optimizer.init(model.trainable_parameters())
        mx.random.seed(recipe.seed + 1)
        model.eval()  # sentences are drawn from the model that writes them later: without dropout
        state = [model.state, self._optimizer.state]
        self._update = partial(mx.compile, inputs=state, outputs=state)(self._move)

    def step(self, chosen: np.ndarray) -> float:
        """One update; gives the mean CIDEr of the drawn sentences, in percent."""
        images = mx.array(self._data.images[chosen])
        features = self._model.encode(normalized(images))
        greedy = self._rewards(self._model.write(features, self._end, self._longest), chosen)
        repeated = np.repeat(chosen, DRAWN)
        many = mx.repeat(features, DRAWN, axis=0)
        drawn = self._model.write(many, self._end, self._longest, drawn=True)
        rewards = self._rewards(drawn, repeated)
        gains = rewards - np.repeat(greedy, DRAWN)
        self.learn(images, mx.array(self._padded(drawn)), mx.array(gains.astype(np.float32)))
        return 100 * float(rewards.mean())

    def learn(self, images: mx.array, tokens: mx.array, gains: mx.array) -> None:
        """Make sentences more probable by what they gained: uint8 pictures (B, H, W, 3), tokens
        (B * DRAWN, L + 1), -1 after the end, gains (B * DRAWN,)."""
        mx.eval(self._update(images, tokens, gains), self._model.state, self._optimizer.state)

    def _move(self, images: mx.array, tokens: mx.array, gains: mx.array) -> mx.array:
        loss, gradients = nn.value_and_grad(self._model, self._loss)(images, tokens, gains)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        self._optimizer.update(self._model, gradients)
        return loss

    def _loss(self, images: mx.array, tokens: mx.array, gains: mx.array) -> mx.array:
        """The mean log-probability of a token, by how much its sentence gained, with the sign turned."""
        features = mx.repeat(self._model.encode(normalized(images)), DRAWN, axis=0)
        there = (tokens[:, 1:] >= 0).astype(mx.float32)
        rows = mx.maximum(tokens, 0)
        logits = self._model.decode(rows[:, :-1], self._model.remember(features))
        losses = nn.losses.cross_entropy(logits, rows[:, 1:]) * there
        return mx.sum(losses * gains[:, None]) / mx.sum(there)

    def _rewards(self, rows: list[list[int]], chosen: np.ndarray) -> np.ndarray:
        """CIDEr of each sentence, 0 to 10, by the references of its picture."""
        texts = [plain(self._tokenizer.decode(row)) for row in rows]
        known = (self._data.captions[index] for index in chosen)
        return np.array([self._consensus.score(text, own) for text, own in zip(texts, known, strict=True)])

    def _padded(self, rows: list[list[int]]) -> np.ndarray:
        result = np.full((len(rows), self._longest + 1), -1, np.int32)
        for place, row in zip(result, rows, strict=True):
            sentence = [self._end, *row, self._end][: self._longest + 1]
            place[: len(sentence)] = sentence
        return result


def _batches(count: int, recipe: CaptionRecipe, epoch: int) -> list[np.ndarray]:
    """The numbers of the pictures of each step; what fills no batch is left out."""
    size = min(recipe.batch_size, count)
    order = np.random.default_rng((recipe.seed, 2, epoch)).permutation(count)
    return [order[start : start + size] for start in range(0, count - size + 1, size)]


def _flat(model: nn.Module) -> dict[str, mx.array]:
    from mlx.utils import tree_flatten

    return dict(tree_flatten(model.parameters()))


__all__ = ["Learner", "train_critically"]

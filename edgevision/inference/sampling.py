"""Choosing the next token: one sampler for every runtime, so that the same seed gives the same text.

temperature: "The Curious Case of Neural Text Degeneration" (Holtzman et al., 2019) compares it with top-p;
min-p: Nguyen et al., 2024; repetition penalty: CTRL (Keskar et al., 2019), as Hugging Face applies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from edgevision.errors import UsageError, UserError


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn.

    Attributes:
        temperature: 0 takes the most probable token; logits are divided by it else.
        top_k: only that many most probable tokens; 0 for all.
        top_p: the fewest tokens whose probabilities reach it; 1 for all.
        min_p: tokens at least this share as probable as the most probable one; 0 for all.
        repetition_penalty: above 1, tokens of the text so far become less probable.
        seed: of the draws; each text of a batch has its own from it.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (self.temperature, self.temperature >= 0, "0 (greedy) or more"),
            "top-k": (self.top_k, self.top_k >= 0, "0 (all) or more"),
            "top-p": (self.top_p, 0 < self.top_p <= 1, "above 0, at most 1"),
            "min-p": (self.min_p, 0 <= self.min_p <= 1, "from 0 to 1"),
            "repetition-penalty": (self.repetition_penalty, self.repetition_penalty > 0, "above 0"),
            "seed": (self.seed, self.seed >= 0, "0 or more"),
        }
        for name, (value, fits, expected) in bounds.items():
            if not (isfinite(value) and fits):
                raise UsageError(f"--{name} is {value}, expected {expected}")


class Sampler:
    """Draws the tokens of one text.

    index: which text of a batch.
    """

    def __init__(self, sampling: Sampling, index: int = 0):
        self.sampling = sampling
        self._random = np.random.default_rng((sampling.seed, index))

    def choose(self, logits: np.ndarray, text: Sequence[int]) -> int:
        """The next token from logits (V,), after the tokens of `text`.

        Raises:
            UserError: no logit is a number.
        """
        scores = logits.astype(np.float64)
        if np.isnan(scores).any() or not np.isfinite(scores.max()):
            raise UserError("the model gives values that are no numbers", hint="export or train it anew")
        scores = penalized(scores, text, self.sampling.repetition_penalty)
        if self.sampling.temperature == 0:
            return int(scores.argmax())
        kept, probabilities = distribution(scores, self.sampling)
        place = np.searchsorted(np.cumsum(probabilities), self._random.random(), side="right")
        return int(kept[min(int(place), len(kept) - 1)])


def penalized(scores: np.ndarray, text: Sequence[int], penalty: float) -> np.ndarray:
    """Scores (V,) of tokens that the text has: divided by the penalty above 0, multiplied below."""
    if penalty == 1 or not len(text):
        return scores
    seen = np.unique(np.asarray(text))
    scores = scores.copy()
    scores[seen] = np.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
    return scores


def distribution(scores: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may be drawn, most probable first, and their probabilities; from scores (V,).

    Temperature first, then top-k, top-p and min-p, each on what the one before left.
    """
    order = np.argsort(-scores, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    with np.errstate(over="ignore"):  # a temperature near 0 leaves the best alone
        shifted = (scores[order] - scores[order[0]]) / sampling.temperature
    probabilities = np.exp(shifted)
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        before = np.cumsum(probabilities) - probabilities
        order, probabilities = order[before < sampling.top_p], probabilities[before < sampling.top_p]
    if sampling.min_p > 0:
        likely = probabilities >= sampling.min_p * probabilities[0]
        order, probabilities = order[likely], probabilities[likely]
    return order, probabilities / probabilities.sum()


__all__ = ["Sampler", "Sampling", "distribution", "penalized"]

"""Sentences from a decoder that gives the logits of the next token: beam search, or one drawn at a time.

The beam search is that of Hugging Face's `generate` (`early_stopping=False`): twice as many candidates as
beams are looked at in each step, those that end within the best `beams` of them are kept as finished, with
their log-probability divided by a power of their length; it stops when no open beam can become better.

R: rows, the sentences that are continued side by side. V: vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgevision.inference.sampling import Sampler, Sampling

NEVER = -1e9  # the log-probability of what must not be


class Rows(Protocol):
    """A decoder in the midst of R sentences about one picture."""

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """One more token for each, (R,), to the logits (R, V) of the next."""
        ...

    def reorder(self, rows: np.ndarray) -> None:
        """Go on with these of the rows; some may be left out, some taken twice."""
        ...


@dataclass(frozen=True)
class Found:
    """One sentence.

    Attributes:
        tokens: without the first and the end token.
        score: for a beam, log-probability / length ** penalty; else mean log-probability of a token.
        cut: whether the limit was reached before the end token.
    """

    tokens: tuple[int, ...]
    score: float
    cut: bool


def search(
    rows: Rows, start: int, end: int, beams: int, limit: int, penalty: float = 1.0, distinct: int = 0
) -> list[Found]:
    """The best `beams` sentences, best first.

    Args:
        rows: at the beginning, with `beams` rows. limit: tokens, the end token included.
        penalty: power of the length that scores are divided by. distinct: no sequence of that many tokens
            occurs twice; 0 for any.
    """
    running = np.full((beams, 1), start)
    scores = np.where(np.arange(beams) == 0, 0.0, NEVER)  # all rows are the same yet: one counts
    finished: list[tuple[float, np.ndarray]] = []
    for length in range(1, limit + 1):
        known = _log_softmax(rows(running[:, -1]))
        if distinct:
            known = _without_repeats(known, running, distinct)
        total = (scores[:, None] + known).ravel()
        best = np.argsort(-total, kind="stable")[: 2 * beams]
        origin, token = np.divmod(best, known.shape[1])
        candidates = np.concatenate([running[origin], token[:, None]], axis=1)
        ends = (token == end) | (length == limit)
        new = np.flatnonzero(ends[:beams])
        finished += [(total[best[rank]] / length**penalty, candidates[rank]) for rank in new]
        finished = sorted(finished, key=lambda pair: -pair[0])[:beams]
        if length == limit:
            break
        going = np.flatnonzero(~ends)[:beams]
        running, scores = candidates[going], total[best[going]]
        if len(finished) == beams and scores[0] / length**penalty <= finished[-1][0]:
            break
        rows.reorder(origin[going])
    return [
        Found(tuple(int(t) for t in tokens[1:] if t != end), float(score), bool(tokens[-1] != end))
        for score, tokens in finished
    ]


def draw(rows: Rows, start: int, end: int, limit: int, sampling: Sampling, count: int = 1) -> list[Found]:
    """`count` sentences, token by token; `rows` at the beginning, with that many rows. A temperature of 0
    takes the most probable token each time."""
    samplers = [Sampler(sampling, index) for index in range(count)]
    texts: list[list[int]] = [[] for _ in samplers]
    sums, open_rows = np.zeros(count), np.ones(count, bool)
    tokens = np.full(count, start)
    for _ in range(limit):
        logits = rows(tokens)
        known = _log_softmax(logits)
        for row in np.flatnonzero(open_rows):
            tokens[row] = samplers[row].choose(logits[row], texts[row])
            sums[row] += known[row, tokens[row]]
            texts[row].append(int(tokens[row]))
        open_rows &= tokens != end
        if not open_rows.any():
            break
    return [
        Found(tuple(t for t in text if t != end), float(total / len(text)), bool(is_open))
        for text, total, is_open in zip(texts, sums, open_rows, strict=True)
    ]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _without_repeats(known: np.ndarray, running: np.ndarray, length: int) -> np.ndarray:
    """Log-probabilities (R, V) with tokens forbidden that would repeat a sequence of `length` tokens."""
    known = known.copy()
    for row, text in enumerate(running.tolist()):
        if len(text) + 1 < length:
            continue
        tail = text[len(text) - length + 1 :]
        for place in range(len(text) - length + 1):
            if text[place : place + length - 1] == tail:
                known[row, text[place + length - 1]] = -np.inf
    return known


__all__ = ["Found", "Rows", "draw", "search"]

"""CIDEr-D of single sentences (Vedantam et al., 2015), whose words are weighed once by a whole corpus.

The numbers are those of pycocoevalcap's CiderScorer, which weighs by what it is given to score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import exp, log, sqrt

LONGEST = 4  # words of a sequence
SIGMA = 6.0  # of the penalty for another length

Weighed = tuple[dict[tuple[str, ...], float], tuple[float, ...], int]  # sequences, a norm by length, pairs


class Consensus:
    """`score(sentence, references)` by how rare sequences of words are in `corpus`: the references of each
    picture of a training set."""

    def __init__(self, corpus: Sequence[Sequence[str]]):
        self._seen: Counter[tuple[str, ...]] = Counter()
        for references in corpus:
            self._seen.update({part for reference in references for part in _parts(reference)})
        self._all = log(len(corpus))
        self._weighed = lru_cache(1 << 16)(self._weigh)

    def score(self, sentence: str, references: Sequence[str]) -> float:
        """0 to 10: how like the references a sentence is."""
        own = self._weighed(sentence)
        return sum(_alike(own, self._weighed(known)) for known in references) / len(references)

    def _weigh(self, sentence: str) -> Weighed:
        counts = _parts(sentence)
        weights = {
            part: count * (self._all - log(max(1, self._seen[part]))) for part, count in counts.items()
        }
        squares = [0.0] * LONGEST
        for part, weight in weights.items():
            squares[len(part) - 1] += weight * weight
        pairs = sum(count for part, count in counts.items() if len(part) == 2)
        return weights, tuple(map(sqrt, squares)), pairs


def _parts(sentence: str) -> Counter[tuple[str, ...]]:
    """How often each sequence of one to LONGEST words occurs."""
    words = sentence.split()
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, LONGEST + 1)
        for start in range(len(words) - length + 1)
    )


def _alike(sentence: Weighed, reference: Weighed) -> float:
    (own, norms, pairs), (known, their_norms, their_pairs) = sentence, reference
    shared = [0.0] * LONGEST
    for part, weight in own.items():
        if part in known:
            shared[len(part) - 1] += min(weight, known[part]) * known[part]
    lengths = zip(shared, norms, their_norms, strict=True)
    cosine = sum(value / (a * b) if a and b else value for value, a, b in lengths) / LONGEST
    return 10 * cosine * exp(-((pairs - their_pairs) ** 2) / (2 * SIGMA**2))


__all__ = ["Consensus"]

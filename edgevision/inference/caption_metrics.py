"""How good captions are, by pycocoevalcap: BLEU (Papineni et al., 2002), ROUGE-L (Lin, 2004) and CIDEr-D
(Vedantam et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from edgevision.errors import UserError


def is_installed() -> bool:
    """Whether pycocoevalcap is there."""
    return find_spec("pycocoevalcap") is not None


def scores(references: Sequence[Sequence[str]], sentences: Sequence[str]) -> dict[str, float]:
    """bleu1 … bleu4, rouge_l and cider, in percent, of sentences whose words are divided by blanks."""
    try:
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer
        from pycocoevalcap.cider.cider_scorer import CiderScorer
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise UserError(
            "captions are measured by pycocoevalcap", hint="pip install 'edgevision[captions]'"
        ) from error
    bleu, cider, rouge = BleuScorer(n=4), CiderScorer(n=4, sigma=6.0), Rouge()
    longest = []
    for known, sentence in zip(references, sentences, strict=True):
        bleu += (sentence, list(known))
        cider += (sentence, list(known))
        longest.append(rouge.calc_score([sentence], list(known)))
    found, _ = bleu.compute_score(option="closest")
    result = {f"bleu{n}": 100 * value for n, value in enumerate(found, 1)}
    result["rouge_l"] = 100 * sum(longest) / len(longest)
    result["cider"] = 100 * float(cider.compute_score()[0])
    return result


__all__ = ["is_installed", "scores"]

"""How good captions are, by pycocoevalcap: BLEU (Papineni et al., 2002), ROUGE-L (Lin, 2004), CIDEr-D
(Vedantam et al., 2015) and, by the Java program that it holds, METEOR (Denkowski and Lavie, 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from shutil import which

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


def meteor(references: Sequence[Sequence[str]], sentences: Sequence[str]) -> float:
    """METEOR in percent; half a minute, most of it Java's.

    Raises:
        UserError: pycocoevalcap or Java is not there.
    """
    if not is_installed() or which("java") is None:
        raise UserError(
            "METEOR is measured by pycocoevalcap and Java",
            hint="pip install 'edgevision[captions]', and install Java",
        )
    from pycocoevalcap.meteor.meteor import Meteor

    known = {index: list(one) for index, one in enumerate(references)}
    written = {index: [sentence] for index, sentence in enumerate(sentences)}
    judge = Meteor()
    try:
        return 100 * float(judge.compute_score(known, written)[0])
    finally:  # pycocoevalcap leaves the pipes open
        judge.meteor_p.stdout.close()
        judge.meteor_p.stderr.close()


__all__ = ["is_installed", "meteor", "scores"]

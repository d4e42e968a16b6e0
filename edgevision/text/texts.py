"""Texts to pre-train on: the lines of files, and the sentences of sets that were made for something else."""

from __future__ import annotations

from edgevision.errors import UserError
from edgevision.text.labelled import LABELLED_SETS, load_labelled
from edgevision.text.pairs import PAIR_SETS, load_pairs
from edgevision.text.sets import find_text

HELD_OUT = 50  # every so many texts one is kept for measuring


def find_texts(names: str) -> tuple[list[str], list[str]]:
    """Texts to learn from, and held-out ones: no text is in both.

    Args:
        names: data sets, text files or folders with commas between them. Of labelled texts the training part
            is taken without its labels, of pairs of sentences the English side.

    Raises:
        UserError: one is not there or damaged, or there is too little text.
    """
    found: dict[str, None] = {}
    for name in names.split(","):
        found.update(dict.fromkeys(_texts(name.strip())))
    texts = list(found)
    if len(texts) < 2:
        raise UserError(f"{names} holds less than two lines of text")
    held_out = texts[:: min(HELD_OUT, len(texts))]
    known = set(held_out)
    return [text for text in texts if text not in known], held_out


def _texts(name: str) -> list[str]:
    if name in LABELLED_SETS:
        return list(load_labelled(name, "train").texts)
    if name in PAIR_SETS:
        return list(load_pairs(name, "train", "de", "en").target)
    corpus = find_text(name)
    rest, lines = "", []
    for piece in corpus.read(0, corpus.size):
        *whole, rest = (rest + ("\n" if piece is None else piece)).split("\n")
        lines += whole
    return [line.strip() for line in [*lines, rest] if line.strip()]


__all__ = ["find_texts"]

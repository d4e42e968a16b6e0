"""Where training text comes from: a file, a folder, or a data set by its name."""

from __future__ import annotations

from pathlib import Path

from edgevision.data.sources import DataSet, Source, checked
from edgevision.errors import UserError
from edgevision.text.corpus import Corpus, open_corpus

TEXT_SETS = {
    data.name: data
    for data in (
        DataSet(
            "tiny-shakespeare",
            "text of plays, 1.1 million characters (Karpathy's selection)",
            "tinyshakespeare",
            (
                Source(
                    "input.txt",
                    1_115_394,
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                ),
            ),
            ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
            "public domain",
        ),
    )
}


def find_text(name: str) -> Corpus:
    """The text of a data set, a file or a folder.

    Raises:
        UserError: it is not there, or damaged.
    """
    if name in TEXT_SETS:
        known = TEXT_SETS[name]
        return open_corpus(checked(known, known.sources[0]))
    if not Path(name).exists():
        raise UserError(
            f"text {name!r} is not there",
            hint=f"--data takes a text file, a folder of text files, or {', '.join(TEXT_SETS)}",
        )
    return open_corpus(Path(name))


__all__ = ["TEXT_SETS", "find_text"]

"""Where training text comes from: a file, a folder, or a data set by its name."""

from __future__ import annotations

from pathlib import Path

from edgevision.data.sources import DataSet, Source, checked
from edgevision.errors import UserError
from edgevision.text.corpus import Corpus, open_corpus, open_files

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
        DataSet(
            "wikitext2",
            "articles of Wikipedia, validation and test parts of WikiText-2 (Merity et al., 2016)",
            "wikitext2",
            (
                Source(
                    "valid.txt",
                    1_121_681,
                    "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                ),
                Source(
                    "test.txt",
                    1_256_449,
                    "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                ),
            ),
            (
                "https://raw.githubusercontent.com/pytorch/examples/77f55b912142/"
                "word_language_model/data/wikitext-2/",
            ),
            "CC BY-SA",
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
        return open_files([checked(known, source) for source in known.sources])
    if not Path(name).exists():
        raise UserError(
            f"text {name!r} is not there",
            hint=f"--data takes a text file, a folder of text files, or {', '.join(TEXT_SETS)}",
        )
    return open_corpus(Path(name))


__all__ = ["TEXT_SETS", "find_text"]

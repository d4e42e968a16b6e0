"""Texts with a label each: SST-2, or tables of one's own.

A folder has train.tsv and test.tsv: a header, then a text, a tab and its label on each line. Labels are
words, or numbers from 0; labels.txt, with a name on each line, names and limits them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgevision.data.sources import DataSet, Source, checked
from edgevision.errors import UserError

LARGEST = 1 << 28  # bytes of a file

LABELLED_SETS = {
    "sst2": DataSet(
        "sst2",
        "sentences and phrases of film reviews, negative or positive: 60,614 and 872 (Socher et al., 2013)",
        "sst2",
        (
            Source(
                "train.tsv", 3_422_882, "920e317b2c52e12cd22db1da2c6708312bd7dc4f3712b9bbf1b50ee6c2c792ba"
            ),
            Source("test.tsv", 94_931, "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0"),
        ),
        ("https://raw.githubusercontent.com/forest-snow/alps/3c7ef2c98249/data/SST-2/",),
        "as stated: cite Socher et al., 2013",
    )
}
LABELS = {"sst2": ("negative", "positive")}


@dataclass(frozen=True)
class Labelled:
    """Texts, and the number of each one's label."""

    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def load_labelled(name: str, part: str) -> Labelled:
    """The texts of a data set, or of a folder.

    Args:
        part: "train" or "test".

    Raises:
        UserError: a file is not there or no UTF-8, or a line has no label, or one that there is not.
    """
    if name in LABELLED_SETS:
        known = LABELLED_SETS[name]
        files = {source.name: source for source in known.sources}
        return read_labelled(checked(known, files[f"{part}.tsv"]), LABELS[name])
    folder = Path(name)
    train = folder / "train.tsv"
    if not train.is_file():
        raise UserError(
            f"texts with labels {name!r} are not there",
            hint=f"--data takes {', '.join(LABELLED_SETS)}, or a folder with train.tsv and test.tsv",
        )
    listed = folder / "labels.txt"
    if listed.is_file():
        labels = tuple(line.strip() for line in _text(listed).splitlines() if line.strip())
    else:
        labels = tuple(sorted({label for _, _, label in _rows(train)}, key=_in_order))
    return read_labelled(folder / f"{part}.tsv", labels)


def read_labelled(path: Path, labels: tuple[str, ...]) -> Labelled:
    """The lines of one file whose labels are among `labels`, by name or by number.

    Raises:
        UserError: as `load_labelled`.
    """
    numbers = {str(index): index for index in range(len(labels))} | {n: i for i, n in enumerate(labels)}
    texts, found = [], []
    for line, text, label in _rows(path):
        if label not in numbers:
            known = f"0 to {len(labels) - 1}" if label.lstrip("-").isdecimal() else ", ".join(labels[:10])
            raise UserError(f"{path}, line {line}: the label {label!r} is not among {known}")
        texts.append(text)
        found.append(numbers[label])
    if not texts:
        raise UserError(f"{path} holds no text with a label")
    return Labelled(tuple(texts), tuple(found), labels)


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """Number, text and label of each line after the header; those with an empty text are left out."""
    rows = []
    for number, line in enumerate(_text(path).split("\n")[1:], 2):
        text, tab, label = line.rstrip("\r").rpartition("\t")
        if not line.strip():
            continue
        if not tab or not label.strip():
            raise UserError(f"{path}, line {number}: there is no label", hint="a text, a tab, its label")
        if text.strip():
            rows.append((number, text.strip(), label.strip()))
    return rows


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(
            f"{path} is not there", hint="a header, then a text, a tab and its label on each line"
        )
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST:,} bytes")
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: this is no UTF-8") from error


def _in_order(label: str) -> tuple[bool, int, str]:
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


__all__ = ["LABELLED_SETS", "Labelled", "load_labelled", "read_labelled"]

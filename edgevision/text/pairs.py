"""Pairs of sentences for translation: Multi30k, or two text files with a sentence on each line.

A folder has train.de and train.en, val.de and val.en, test.de and test.en, or other languages by their
endings; each may be packed with gzip.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from edgevision.data.sources import DataSet, Source, checked
from edgevision.errors import UserError

LARGEST = 1 << 28  # bytes of a file


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, one for each."""

    source: tuple[str, ...]
    target: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)


PAIR_SETS = {
    "multi30k": DataSet(
        "multi30k",
        "29,000 captions of photographs in German and English, 2 x 1,000 for testing (Elliott et al., 2016)",
        "multi30k",
        (
            Source(
                "train.de.gz", 637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"
            ),
            Source(
                "train.en.gz", 568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"
            ),
            Source("val.de.gz", 24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
            Source("val.en.gz", 21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
            Source(
                "test_2016_flickr.de.gz",
                22_890,
                "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
            ),
            Source(
                "test_2016_flickr.en.gz",
                21_077,
                "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            ),
        ),
        ("https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/",),
        "derived from Flickr30K; images for non-commercial research and education",
    )
}
FILES = {"train": "train", "val": "val", "test": "test_2016_flickr"}


def load_pairs(name: str, part: str, source: str, target: str) -> Pairs:
    """The pairs of a data set, or of a folder.

    Args:
        part: "train", "val" or "test". source, target: languages, as the files' endings have them.

    Raises:
        UserError: a file is not there, is no UTF-8, or the two have different numbers of lines.
    """
    if name in PAIR_SETS:
        known = PAIR_SETS[name]
        files = {found.name: found for found in known.sources}
        wanted = [f"{FILES[part]}.{language}.gz" for language in (source, target)]
        if missing := next((file for file in wanted if file not in files), None):
            raise UserError(f"{name} has no {missing}", hint="it is for de-en and en-de")
        return read_pairs(*(checked(known, files[file]) for file in wanted))
    folder = Path(name)
    if not folder.is_dir():
        raise UserError(
            f"pairs {name!r} are not there",
            hint=f"--data takes {', '.join(PAIR_SETS)}, or a folder with train.{source} and train.{target}",
        )
    return read_pairs(*(_file(folder, part, language) for language in (source, target)))


def read_pairs(source: Path, target: Path) -> Pairs:
    """A sentence and its translation on each line of two files; pairs with an empty side are left out.

    Raises:
        UserError: as `load_pairs`.
    """
    sides = [_lines(path) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        longer, shorter = (source, target) if len(sides[0]) > len(sides[1]) else (target, source)
        counts = sorted(map(len, sides))
        raise UserError(
            f"{longer}, line {counts[0] + 1}: {shorter} ends before it, {counts[0]:,} lines to {counts[1]:,}",
            hint="each line must be the translation of the same line in the other file",
        )
    kept = [(a, b) for a, b in zip(*sides, strict=True) if a and b]
    if not kept:
        raise UserError(f"{source} and {target} hold no pair of sentences")
    return Pairs(tuple(a for a, _ in kept), tuple(b for _, b in kept))


def _file(folder: Path, part: str, language: str) -> Path:
    names = [f"{part}.{language}", f"{part}.{language}.gz"]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise UserError(f"{folder / names[0]} is not there", hint="a sentence on each line, in UTF-8")
    return found


def _lines(path: Path) -> list[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(content) > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST:,} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: this is no UTF-8") from error
    lines = text.split("\n")
    return [line.strip() for line in (lines[:-1] if lines[-1] == "" else lines)]


__all__ = ["PAIR_SETS", "Pairs", "load_pairs", "read_pairs"]

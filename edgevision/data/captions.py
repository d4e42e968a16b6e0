"""Pictures with sentences: Flickr8k, drawn scenes, and any folder of pictures with a captions file.

captions.csv, captions.tsv   a line each, header "image,caption" or none; a picture may have many lines
captions.jsonl               {"image": name, "caption": text} or {"image": name, "captions": [text, …]}
captions.json                COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}

Letters: N pictures, H height, W width.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.console import console, strip_escapes
from edgevision.data.sources import DataSet, Source, checked
from edgevision.errors import UsageError, UserError

HELD_OUT = 10  # one picture in so many of a folder is measured and not trained on
SHOWN = 5  # names in a message
_CONTRACTED = re.compile(r" ('s|n't|'re|'ve|'ll|'d|'m)\b")
_WORD = re.compile("[^\\W_]+(?:['\u2019&-][^\\W_]+)*")

CAPTION_SETS = {
    data.name: data
    for data in (
        DataSet("scenes", "coloured shapes drawn by this package, one sentence each", "", licence="MIT"),
        DataSet(
            "flickr8k",
            "photographs with five sentences each, 128x128, 6,000 + 1,000 (Hodosh et al.)",
            "flickr8k",
            (
                Source(
                    "Flickr8k.token.txt",
                    3_395_237,
                    "1e1f3a371ba1a1bf742e6930521c037e046b2bf3fcc2390ba8405e0301ed7689",
                ),
                Source(
                    "Flickr_8k.trainImages.txt",
                    154_678,
                    "e330ddd5156a4c2d2e2b67bc587e70e588f2d132bd8a10dc54dcb71e58115d8e",
                ),
                Source(
                    "Flickr_8k.devImages.txt",
                    25_801,
                    "18ba829f47f6df1cb830bf7f0506e2ddf333818925299babbd1bbcaf50fdc504",
                ),
                Source(
                    "Flickr_8k.testImages.txt",
                    25_775,
                    "c0924146c131458ceba45da59670fe9520eadce1e5cafffa16a817672a9b1f17",
                ),
                Source(
                    "flickr8k_images_128.tar.xz",
                    43_147_036,
                    "f5fa86c7b9f4dc0aaa2fd12de90373e4cff6daf966c55f736efbd2ac0ed35819",
                ),
            ),
            licence="for research and education only; cite Hodosh et al. 2013",
        ),
    )
}


@dataclass(frozen=True)
class CaptionSet:
    """One split in memory: images uint8 (N, H, W, 3), and the sentences of each, at least one."""

    images: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def plain(sentence: str) -> str:
    """Lower-case words with one blank between: what is learnt and what is compared.

    "A dog 's tail , wagging ." gives "a dog's tail wagging".
    """
    return " ".join(_WORD.findall(_CONTRACTED.sub(r"\1", sentence.lower())))


def load_captions(name: str, split: str, side: int) -> CaptionSet:
    """A split ("train", "dev" or "test"; of scenes "unseen" too) of a set or of a folder, with pictures
    squeezed to `side` x `side` pixels. What a folder calls "dev" is its "test".

    Raises:
        UserError: it is not there, or damaged.
    """
    if name == "scenes":
        from edgevision.data import scenes

        return scenes.draw("test" if split == "dev" else split, side=side).caption_set()
    if name == "flickr8k":
        return _flickr8k(split, side)
    folder = Path(name)
    if not folder.exists():
        hint = f"--data takes a folder with captions.csv, .jsonl or .json, or {', '.join(CAPTION_SETS)}"
        raise UserError(f"captions {name!r} are not there", hint=hint)
    return _of_folder(folder, split, side)


def _flickr8k(split: str, side: int) -> CaptionSet:
    from edgevision.data.captioned_pictures import read_archive

    data = CAPTION_SETS["flickr8k"]
    if split not in ("train", "dev", "test"):
        raise UsageError(f"split {split!r} is unknown", hint="choose train, dev or test")
    text, *lists, pictures = data.sources
    named = lists[("train", "dev", "test").index(split)]
    names = checked(data, named).read_text(encoding="ascii").split()
    found: dict[str, list[str]] = {}
    for line in checked(data, text).read_text(encoding="utf-8").splitlines():
        key, _, sentence = line.partition("\t")
        found.setdefault(key.partition("#")[0], []).append(plain(sentence))
    images = read_archive(checked(data, pictures), pictures, side)
    place = {name: index for index, name in enumerate(images.names)}
    chosen = images.array[[place[name] for name in names]]
    return CaptionSet(chosen, tuple(tuple(filter(None, found[name])) for name in names), tuple(names))


def _of_folder(path: Path, split: str, side: int) -> CaptionSet:
    from edgevision.data.caption_files import find_file, read_file
    from edgevision.data.captioned_pictures import read_pictures

    file = find_file(path)
    found = read_file(file)
    if not found:
        raise UserError(f"{file} holds no caption")
    places = {name: _picture_path(file.parent, name) for name in found}
    _tell_missing(file, [name for name, place in places.items() if place is None])
    there = {name: place for name, place in places.items() if place is not None}
    chosen = [name for name in there if is_held_out(name) == (split != "train")]
    if not chosen:
        raise UserError(f"{file} has too few pictures: none is left for {split}")
    images = read_pictures([there[name] for name in chosen], side)
    return CaptionSet(images, tuple(tuple(map(plain, found[name])) for name in chosen), tuple(chosen))


def is_held_out(name: str) -> bool:
    """Whether a picture of a folder is one that is measured: by its name alone, whatever else is there."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT == 0


def _picture_path(folder: Path, name: str) -> Path | None:
    """The file of a picture, inside the folder or its `images`; None where there is none."""
    for place in (folder, folder / "images"):
        path = place / name
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and path.is_file():
            return path
    return None


def _tell_missing(file: Path, missing: Iterable[str]) -> None:
    missing = list(missing)
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        told = f"{file}: {len(missing)} pictures are not there: {', '.join(missing[:SHOWN])}{more}"
        console.print(strip_escapes(told), markup=False)


__all__ = ["CAPTION_SETS", "CaptionSet", "is_held_out", "load_captions", "plain"]

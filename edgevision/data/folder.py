"""A person's own pictures: a folder with one subfolder for each class, or a CSV file of names and labels.

pictures/cats/1.jpg, pictures/dogs/2.png      the class is the name of the subfolder
labels.csv:  file,label                       files are looked for beside the CSV
             photos/1.jpg,cat

What cannot be read is reported and left out. One part is held out for validation: of each class the same
share, chosen by the seed and the files' names.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data import ImageSet
from edgevision.errors import UserError
from edgevision.pictures import fit_array, open_picture

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".avif",
    ".jp2",
    ".ppm",
    ".pgm",
}
HELD_OUT = 0.2  # of each class
MEMORY = 2 << 30  # bytes of decoded pictures that are kept
THREADS = 4
UNEVEN = 3  # times as many pictures in the largest class as in the smallest
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Pictures:
    """What was found: `train` and `test`, and `notes` for the person whose pictures these are."""

    train: ImageSet
    test: ImageSet
    notes: tuple[str, ...]


class PictureFiles:
    """Pictures that are decoded when they are asked for, as a uint8 array (N, H, W, C) would give them.

    The first `MEMORY` bytes of them stay decoded. May be used by several threads.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int], kept: dict[Path, np.ndarray]):
        self._paths, self._kept = paths, kept
        self.shape = (len(paths), *shape)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        """By a slice, an index or an array of them."""
        if isinstance(chosen, int | np.integer):
            return self._decoded(self._paths[int(chosen)])
        numbers = range(len(self))[chosen] if isinstance(chosen, slice) else chosen
        found = [self._decoded(self._paths[number]) for number in numbers]
        return np.stack(found) if found else np.zeros((0, *self.shape[1:]), np.uint8)

    def _decoded(self, path: Path) -> np.ndarray:
        pixels = self._kept.get(path)
        return decode(path, self.shape[1:]) if pixels is None else pixels


def decode(path: Path, shape: Sequence[int]) -> np.ndarray:
    """The middle of a picture as uint8 (H, W, C), upright; transparent parts are white.

    Raises:
        UserError: it cannot be read.
    """
    pixels = fit_array(open_picture(path), (shape[0], shape[1]), "rgb" if shape[2] == 3 else "gray")
    return np.round(pixels[0] * 255).astype(np.uint8)


def is_own(name: str) -> bool:
    """Whether `name` is a folder or CSV file, not the name of a data set."""
    return Path(name).is_dir() or Path(name).suffix.lower() == ".csv"


def load_pictures(path: Path, shape: tuple[int, int, int], seed: int = 0) -> Pictures:
    """Find, check and split the pictures of a folder or CSV file; they are scaled and cut to `shape`.

    Raises:
        UserError: there are none, or all are of one class.
    """
    listed = _from_csv(path) if path.suffix.lower() == ".csv" else _from_folder(path)
    kept: dict[Path, np.ndarray] = {}
    room = MEMORY // int(np.prod(shape))

    def trouble(file: Path) -> str | None:
        try:
            pixels = decode(file, shape)
        except (UserError, OSError, MemoryError) as error:
            return error.message if isinstance(error, UserError) else f"{file}: {error}"
        if len(kept) < room:
            kept[file] = pixels
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        troubles = list(pool.map(trouble, [file for file, _ in listed]))
    bad = [told for told in troubles if told is not None]
    good = [pair for pair, told in zip(listed, troubles, strict=True) if told is None]
    notes = [f"{len(bad)} of {len(listed)} files left out: {_some(bad)}"] if bad else []
    counts = Counter(label for _, label in good)
    _check_classes(path, counts, bad)
    classes = tuple(sorted(counts))
    notes.append("; ".join(f"{name}: {counts[name]:,}" for name in classes))
    if max(counts.values()) >= UNEVEN * min(counts.values()):
        (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
        notes.append(f"uneven: {many / few:.0f} times as many of {most!r} as of {least!r}")
    parts = _split(good, classes, seed)
    train, test = (
        ImageSet(
            PictureFiles([file for file, _ in part], shape, kept),  # type: ignore[arg-type]
            np.array([classes.index(label) for _, label in part], np.int32),
            classes,
        )
        for part in parts
    )
    notes.append(f"{len(train):,} to train with, {len(test):,} held out")
    return Pictures(train, test, tuple(notes))


def _from_folder(path: Path) -> list[tuple[Path, str]]:
    if not path.is_dir():
        raise UserError(f"{path} is not there", hint="give a folder with one subfolder for each class")
    found = []
    for folder in sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")):
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        found += [(file, folder.name) for file in files if not file.name.startswith(".")]
    if not found:
        raise UserError(
            f"{path} holds no pictures in subfolders",
            hint="put the pictures of each class into one subfolder",
        )
    return found


def _from_csv(path: Path) -> list[tuple[Path, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}", hint="save it as CSV in UTF-8") from error
    if not rows or [cell.strip().lower() for cell in rows[0][:2]] != ["file", "label"]:
        raise UserError(f"{path} does not begin with the line 'file,label'", hint="add it")
    short = [number for number, row in enumerate(rows, 1) if len(row) < 2 or not row[1].strip()]
    if short:
        raise UserError(f"{path}: row {short[0]} has no label", hint="each row is a file and its label")
    return [(path.parent / row[0].strip(), row[1].strip()) for row in rows[1:]]


def _check_classes(path: Path, counts: Counter[str], bad: list[str]) -> None:
    if not counts:
        raise UserError(
            f"no picture of {path} can be read" + (f": {_some(bad)}" if bad else ""),
            hint="PNG, JPEG, WebP, TIFF, GIF and BMP can be",
        )
    if len(counts) == 1:
        raise UserError(
            f"all pictures of {path} are of one class, {next(iter(counts))!r}",
            hint="a classifier needs two or more",
        )
    single = sorted(name for name, count in counts.items() if count == 1)
    if single:
        raise UserError(
            f"there is only one picture of {single[0]!r} in {path}",
            hint="each class needs at least two: one to train with, one to validate",
        )


def _split(
    pairs: list[tuple[Path, str]], classes: tuple[str, ...], seed: int
) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """What is trained with and what is held out, both mixed."""
    train, test = [], []
    random = np.random.default_rng(seed)
    for name in classes:
        own = [pair for pair in pairs if pair[1] == name]
        order = [own[i] for i in random.permutation(len(own))]
        held = max(1, round(HELD_OUT * len(own)))
        test += order[:held]
        train += order[held:]
    return [train[i] for i in random.permutation(len(train))], [
        test[i] for i in random.permutation(len(test))
    ]


def _some(messages: list[str]) -> str:
    more = f" and {len(messages) - SHOWN} more" if len(messages) > SHOWN else ""
    return "; ".join(messages[:SHOWN]) + more


__all__ = ["PictureFiles", "Pictures", "decode", "is_own", "load_pictures"]

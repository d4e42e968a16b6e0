"""Text files of any size as batches of tokens: nothing is read before it is needed.

A window of training starts at a random place of the files, which are read there and tokenized then. Files of
10 GB need neither memory nor a second copy on the disk, and training starts at once. Files are read by
offset rather than mapped: the pages of a map count as the process's memory, those of the system's cache not.

Files are documents: between two stands `<|endoftext|>`, and a row of tokens may hold the end of one and the
beginning of the next (packing), so that no token is spent on padding.

B: batch, L: tokens that a row predicts.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from edgevision.errors import UserError
from edgevision.text.tokenizer import Tokenizer

CHUNK = 1 << 18  # bytes read at a time where text is read in order
SAMPLE = 1 << 26  # bytes that a tokenizer is trained on, at most
MEASURED = 1 << 22  # bytes of held-out text, at most


@dataclass(frozen=True)
class Corpus:
    """UTF-8 files one after the other, as one range of bytes.

    Attributes:
        files: in order. starts: where each begins, and where the last ends.
    """

    files: tuple[Path, ...]
    starts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.starts[-1]

    def texts(self, start: int, end: int) -> list[str]:
        """The text between two places, a string for each document; characters that a place cuts belong to
        what comes before it.

        Raises:
            UserError: a file is not UTF-8.
        """
        found = []
        first = bisect_right(self.starts, start) - 1
        for index in range(first, len(self.files)):
            low, high = self.starts[index], self.starts[index + 1]
            if low >= end:
                break
            if high > low:
                found.append(self._text(index, max(start, low) - low, min(end, high) - low))
        return found

    def read(self, start: int, end: int) -> Iterator[str | None]:
        """The text between two places in order, in pieces that end before a blank; None between documents."""
        for index, low in enumerate(self.starts[:-1]):
            high = min(end, self.starts[index + 1])
            place = max(low, start)
            if place >= high:
                continue
            if low > start:
                yield None
            rest = ""
            while place < high:
                text = rest + self._text(index, place - low, min(place + CHUNK, high) - low)
                place += CHUNK
                cut = max(text.rfind(blank) for blank in " \n\t") if place < high else len(text)
                cut = cut if cut > 0 else len(text)
                rest = text[cut:]
                yield text[:cut]

    def _text(self, index: int, start: int, end: int) -> str:
        path = self.files[index]
        size = self.starts[index + 1] - self.starts[index]
        with path.open("rb", buffering=0) as file:
            raw = os.pread(file.fileno(), min(end + 3, size) - start, start)
        if len(raw) < end - start:
            raise UserError(f"{path} became shorter while it was read")
        begin = 0
        while start > 0 and begin < 3 and raw[begin : begin + 1] and raw[begin] & 0xC0 == 0x80:
            begin += 1
        stop = end - start
        while stop < len(raw) and raw[stop] & 0xC0 == 0x80:
            stop += 1
        try:
            return raw[begin:stop].decode()
        except UnicodeDecodeError as error:
            place = start + begin + error.start
            raise UserError(
                f"{path} is not UTF-8 at byte {place:,}", hint="convert it, or leave it out"
            ) from error


def open_corpus(path: Path) -> Corpus:
    """A text file, or all files below a folder in the order of their names; hidden ones are left out.

    Raises:
        UserError: there is nothing, or no text in it.
    """
    if not path.exists():
        raise UserError(f"{path} is not there", hint="--data takes a text file or a folder of text files")
    files = [path]
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        files = sorted(f for f in inside if not any(p.startswith(".") for p in f.relative_to(path).parts))
    if not any(file.stat().st_size for file in files):
        raise UserError(f"{path} holds no text")
    return open_files(files)


def open_files(files: Sequence[Path]) -> Corpus:
    """These files, one after the other."""
    return Corpus(tuple(files), tuple(accumulate((file.stat().st_size for file in files), initial=0)))


def sample(corpus: Corpus, end: int) -> Iterator[str]:
    """Text to train a tokenizer on: all up to `end`, or pieces spread over it where that is too much."""
    if end <= SAMPLE:
        yield from (text for text in corpus.read(0, end) if text is not None)
        return
    pieces = SAMPLE // CHUNK
    for index in range(pieces):
        place = index * (end - CHUNK) // (pieces - 1)
        yield from corpus.texts(place, place + CHUNK)


class Windows:
    """Rows of tokens from random places: a function of seed and step alone, so that a training can go on
    from any step.

    Args:
        start, end: the part of the corpus, in bytes.
        length: L. rows: B.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, start: int, end: int, length: int, rows: int, seed: int
    ):
        self.corpus, self.tokenizer, self.seed = corpus, tokenizer, seed
        self.start, self.end, self.length, self.rows = start, end, length, rows
        texts = corpus.texts(start, min(end, start + CHUNK))
        count = sum(map(len, tokenizer.encode_batch(texts, special=False)))
        self.bytes_per_token = sum(len(text.encode()) for text in texts) / max(1, count)
        if (end - start) / self.bytes_per_token < length + 1:
            about = round((end - start) / self.bytes_per_token)
            raise UserError(
                f"the text is too short for a context of {length:,}: {end - start:,} bytes, {about:,} tokens",
                hint="give more text, or a smaller --context",
            )

    def at(self, step: int) -> np.ndarray:
        """int32 (B, L + 1): each row predicts its last L tokens from those before them."""
        random = np.random.default_rng((self.seed, step))
        exact = self.bytes_per_token == 1
        wanted = self.length + 1 if exact else round((self.length + 1) * self.bytes_per_token * 1.25) + 64
        last = max(self.start, self.end - round((self.length + 1) * self.bytes_per_token))
        places = random.integers(self.start, last, self.rows, endpoint=True)
        rows = [self._tokens(self._pieces(int(place), int(place) + wanted)) for place in places]
        for index, place in enumerate(places):
            more = wanted
            while len(rows[index]) <= self.length:  # longer tokens than the average
                more *= 2
                rows[index] = self._tokens(self._pieces(int(place), int(place) + more))
        return np.array([row[: self.length + 1] for row in rows], np.int32)

    def _pieces(self, start: int, end: int) -> list[str]:
        """The documents from `start` on; from the beginning again where the part ends."""
        pieces = self.corpus.texts(start, min(end, self.end))
        while end > self.end:
            end -= self.end - self.start
            pieces += self.corpus.texts(self.start, min(end, self.end))
        return pieces

    def _tokens(self, pieces: list[str]) -> list[int]:
        separator = [] if self.tokenizer.end is None else [self.tokenizer.end]
        row: list[int] = []
        for index, ids in enumerate(self.tokenizer.encode_batch(pieces, special=False)):
            row += (separator if index else []) + ids
        return row


@dataclass(frozen=True)
class HeldOut:
    """Text that is measured on: rows (N, L + 1), which of their tokens count (N, L), bytes per token."""

    rows: np.ndarray
    counted: np.ndarray
    bytes_per_token: float


def held_out(corpus: Corpus, tokenizer: Tokenizer, start: int, end: int, length: int) -> HeldOut:
    """The text of a part in order, 4 MiB of it at most; each row begins with the last token of the row
    before, so that each token but the first is predicted once.

    Raises:
        UserError: the part holds less than two tokens.
    """
    end = min(end, start + MEASURED)
    separator = [] if tokenizer.end is None else [tokenizer.end]
    ids: list[int] = []
    for piece in corpus.read(start, end):
        ids += separator if piece is None else tokenizer.encode(piece, special=False)
    if len(ids) < 2:
        raise UserError("the text to measure on is too short", hint="give more text")
    count = -(-(len(ids) - 1) // length)
    padded = np.zeros(count * length + 1, np.int32)
    padded[: len(ids)] = ids
    rows = np.lib.stride_tricks.sliding_window_view(padded, length + 1)[::length]
    counted = (np.arange(count * length) < len(ids) - 1).reshape(count, length)
    return HeldOut(rows, counted, (end - start) / len(ids))


__all__ = ["Corpus", "HeldOut", "Windows", "held_out", "open_corpus", "open_files", "sample"]

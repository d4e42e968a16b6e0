"""Captioners in every form: a run, an ONNX folder, a Core ML package, behind one interface.

B: batch, R: sentences about one picture side by side, S: features, E: width, V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgevision.data.captioned_pictures import squeezed
from edgevision.data.folder import SUFFIXES
from edgevision.errors import UsageError, UserError
from edgevision.inference.beam import Found, Rows, draw, search
from edgevision.inference.sampling import Sampling
from edgevision.inference.writers import PACKAGES
from edgevision.jsonfiles import CAPTIONER, is_captioner, read_json
from edgevision.text.tokenizer import Tokenizer


class Writer(Protocol):
    """A captioner that is ready to write.

    side: pixels of a picture. start, end: tokens. limit: tokens of a sentence, the end token included.
    """

    runtime: str
    tokenizer: Tokenizer
    side: int
    start: int
    end: int
    limit: int

    def look(self, picture: np.ndarray) -> Any:
        """What the decoder needs of float32 (1, H, W, 3) in [0, 1]."""
        ...

    def rows(self, seen: Any, count: int) -> Rows:
        """`count` sentences about it, at the beginning."""
        ...

    def looked(self, picture: np.ndarray, tokens: list[int]) -> np.ndarray:
        """(H, L, S): where the last block looked after each of L tokens; UserError where that is not told."""
        ...


@dataclass(frozen=True)
class Style:
    """How sentences are written.

    Attributes:
        beams: 1 for one token at a time. penalty: power of the length that beams are compared by.
        distinct: no sequence of that many tokens twice, 0 for any (beams only).
        sampling: of one token at a time. count: sentences for each picture.
        limit: tokens, None for the model's.
    """

    beams: int = 1
    penalty: float = 1.0
    distinct: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    count: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.beams > 1 and self.sampling.temperature > 0:
            raise UsageError("--beams and --temperature exclude each other")
        if self.beams > 1 and self.count > self.beams:
            raise UsageError(f"{self.beams} beams cannot give {self.count} sentences")
        if self.beams == 1 and self.count > 1 and self.sampling.temperature == 0:
            raise UsageError("several captions need --beams or --temperature")
        if self.beams == 1 and self.distinct:
            raise UsageError("--distinct is for --beams")


def captions(writer: Writer, picture: np.ndarray, style: Style) -> list[Found]:
    """The sentences about float32 (1, H, W, 3) in [0, 1], best first."""
    limit = min(style.limit or writer.limit, writer.limit)
    rows = writer.rows(writer.look(picture), max(style.beams, style.count))
    if style.beams > 1:
        start, end = writer.start, writer.end
        return search(rows, start, end, style.beams, limit, style.penalty, style.distinct)[: style.count]
    return draw(rows, writer.start, writer.end, limit, style.sampling, style.count)


def described(writer: Writer, found: Found) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "text": writer.tokenizer.decode(found.tokens).strip(),
        "score": round(found.score, 6),
        "tokens": len(found.tokens),
        "cut": found.cut,
    }


def picture_array(path: Path, side: int) -> tuple[np.ndarray, str]:
    """float32 (1, side, side, 3) in [0, 1] of a file, the whole picture squeezed, and what was done to it.

    Raises:
        UserError: it is no picture.
    """
    from edgevision.pictures import open_picture

    picture = open_picture(path)
    notes = list(picture.info.get("notes", ()))
    longer, shorter = max(picture.size), min(picture.size)
    if longer > 4 * shorter:
        notes.append(f"{picture.width} x {picture.height} squeezed to a square: shapes are distorted")
    return squeezed(picture, side).astype(np.float32)[None] / np.float32(255), "; ".join(notes)


def is_any_captioner(path: Path) -> bool:
    """Whether a path holds a captioner in any form."""
    folder = path.parent if path.suffix in PACKAGES else path
    exported = path.suffix in PACKAGES or any(path.glob("onnx/encoder_model*.onnx"))
    return is_captioner(path) or (
        exported and read_json(folder / "config.json").get("model_type") == CAPTIONER
    )


def open_captioner(path: Path) -> Writer:
    """The captioner in a run folder, an ONNX folder, a .mlpackage or an .aimodel.

    Raises:
        UserError: it is none.
    """
    if path.suffix in PACKAGES:
        from edgevision.inference.captioner_coreml import CoremlWriter

        return CoremlWriter(path)
    if (path / "onnx").is_dir():
        from edgevision.inference.captioner_onnx import OnnxWriter

        return OnnxWriter(path)
    if not is_captioner(path):
        raise UserError(
            f"{path} is no captioner",
            hint="give a run, a folder that edgevision export wrote, a .mlpackage or an .aimodel",
        )
    return MlxWriter(path)


class MlxWriter:
    """A run, or a folder of Hugging Face's."""

    def __init__(self, path: Path):
        from edgevision.pretrained_captioner import load

        self.loaded = load(path)
        self.tokenizer, self.start, self.end = self.loaded.tokenizer, self.loaded.start, self.loaded.end
        self.limit, self.side = self.loaded.limit, self.loaded.model.config.image_size
        self.runtime = "MLX"

    def look(self, picture: np.ndarray) -> Any:
        """The features (1, S, E)."""
        import mlx.core as mx

        return self.loaded.model.encode(mx.array(picture))

    def rows(self, seen: Any, count: int) -> Rows:
        """With keys and values kept."""
        return _MlxRows(self.loaded.model, seen, count)

    def looked(self, picture: np.ndarray, tokens: list[int]) -> np.ndarray:
        """(H, L, S): where the last block looked after each of L tokens; UserError for the prefix form."""
        import mlx.core as mx

        model, found = self.loaded.model, []
        if model.config.prefix:
            raise UserError("a captioner of the prefix form does not look at the picture word by word")
        model.decode(mx.array([tokens]), model.remember(self.look(picture)), looked=found)
        return np.array(found[-1][0])


class _MlxRows:
    def __init__(self, model: Any, seen: Any, count: int):
        import mlx.core as mx
        from mlx.utils import tree_map

        self._model, self._cache = model, model.decoder.make_cache()
        self._memory = tree_map(lambda array: mx.repeat(array, count, axis=0), model.remember(seen))

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        import mlx.core as mx

        logits = self._model.decode(mx.array(tokens)[:, None], self._memory, self._cache)
        return np.array(logits[:, -1].astype(mx.float32))

    def reorder(self, rows: np.ndarray) -> None:
        for cache in self._cache:
            cache.reorder(rows)


def pictures_in(paths: list[Path]) -> Iterator[Path]:
    """The files, and the pictures in the folders by their endings, sorted."""
    for path in paths:
        if path.is_dir():
            files = (p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            yield from sorted(p for p in files if p.suffix.lower() in SUFFIXES)
        else:
            yield path


__all__ = [
    "MlxWriter",
    "Style",
    "Writer",
    "captions",
    "described",
    "is_any_captioner",
    "open_captioner",
    "picture_array",
    "pictures_in",
]

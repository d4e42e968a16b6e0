"""Translating sentences: one token at a time, or by beams.

R: rows, the translations of one sentence side by side, S: its tokens, V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.beam import Rows, search
from edgevision.inference.sampling import Sampler, Sampling
from edgevision.inference.writers import PACKAGES
from edgevision.jsonfiles import read_json
from edgevision.text.tokenizer import Tokenizer

COUNT = 12  # sentences of random tokens, and tokens of each translation
FLOAT32, FLOAT16 = 1e-4, 2e-2  # largest difference of logits, of the largest logit


class Writer(Protocol):
    """A translator that is ready to write.

    start, end: tokens. limit: tokens of a sentence, on both sides, at most. name: as "de-en".
    """

    runtime: str
    tokenizer: Tokenizer
    start: int
    end: int
    limit: int
    name: str

    def rows(self, source: Sequence[int], count: int) -> Rows:
        """`count` translations of S tokens, at the beginning."""
        ...


class MlxWriter:
    """A run, or a MarianMTModel of Hugging Face's."""

    def __init__(self, path: Path):
        from edgevision.pretrained_translator import load

        self.loaded = load(path)
        self.tokenizer, self.limit = self.loaded.tokenizer, self.loaded.limit
        settings = self.loaded.model.config
        self.start, self.end = settings.start, settings.end
        self.name = str(self.loaded.config.get("variant") or path.name)
        self.runtime = "MLX"

    def rows(self, source: Sequence[int], count: int) -> Rows:
        """With keys and values kept."""
        return _MlxRows(self.loaded.model, source, count)


class _MlxRows:
    def __init__(self, model: Any, source: Sequence[int], count: int):
        import mlx.core as mx
        from mlx.utils import tree_map

        self._model, self._cache = model, model.make_cache()
        memory = model.remember(model.encode(mx.array([list(source)])))
        self._memory = tree_map(lambda array: mx.repeat(array, count, axis=0), memory)

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        import mlx.core as mx

        logits = self._model.decode(mx.array(tokens)[:, None], self._memory, None, self._cache)
        return np.array(logits[:, -1].astype(mx.float32))

    def reorder(self, rows: np.ndarray) -> None:
        for cache in self._cache:
            cache.reorder(rows)


def is_translator(path: Path) -> bool:
    """Whether a folder, or a package in one, is a run or export of ours or Hugging Face's Marian."""
    folder = path.parent if path.suffix in PACKAGES else path
    config = read_json(folder / "config.json") if path.is_dir() else {}
    return config.get("model_type") == "marian" or config.get("model") == "translator"


def open_translator(path: Path) -> Writer:
    """The translator in a run, in a folder of a MarianMTModel, in what `edgevision export` wrote: a folder,
    a .mlpackage or an .aimodel.

    Raises:
        UserError: it is none.
    """
    if path.suffix in PACKAGES and is_translator(path):
        from edgevision.inference.translation_package import PackageWriter

        return PackageWriter(path)
    if is_translator(path) and any(path.glob("onnx/encoder_model*.onnx")):
        from edgevision.inference.translation_onnx import OnnxWriter

        return OnnxWriter(path)
    if not is_translator(path) or not (path / "model.safetensors").is_file():
        raise UserError(
            f"{path} is no translator",
            hint="train one: edgevision train translator --data multi30k --out RUN",
        )
    return MlxWriter(path)


def source_tokens(writer: Writer, sentence: str) -> list[int]:
    """The tokens of a sentence.

    Raises:
        UserError: it is empty, or longer than the model takes.
    """
    ids = writer.tokenizer.encode(sentence.strip(), special=False)
    if not ids:
        raise UserError("there is nothing to translate: the sentence is empty")
    if len(ids) > writer.limit:
        raise UserError(
            f"the sentence has {len(ids):,} tokens, the model takes {writer.limit:,}",
            hint="translate it in parts",
        )
    return ids


def stream(writer: Writer, sentence: str) -> Iterator[str]:
    """The pieces of the translation as they come, by the most probable token each time."""
    written: list[int] = []
    shown = ""
    for token in _greedy(writer, sentence):
        written.append(token)
        text = writer.tokenizer.decode(written)
        if not text.endswith("\ufffd"):  # half a character is held back
            yield text[len(shown) :]
            shown = text
    rest = writer.tokenizer.decode(written)[len(shown) :]
    if rest:
        yield rest


def _greedy(writer: Writer, sentence: str) -> Iterator[int]:
    """The most probable token each time, up to the end token."""
    rows, sampler = writer.rows(source_tokens(writer, sentence), 1), Sampler(Sampling())
    token = writer.start
    for _ in range(writer.limit):
        token = sampler.choose(rows(np.array([token]))[0], ())
        if token == writer.end:
            return
        yield token


def translate(writer: Writer, sentence: str, beams: int = 1) -> str:
    """The best translation."""
    if beams == 1:
        return writer.tokenizer.decode(list(_greedy(writer, sentence))).strip()
    rows = writer.rows(source_tokens(writer, sentence), beams)
    (best, *_) = search(rows, writer.start, writer.end, beams, writer.limit)
    return writer.tokenizer.decode(best.tokens).strip()


def translation_agreement(run: Path, artefact: Path, precision: str | None = None) -> dict[str, Any]:
    """`ok`: on the way of MLX's translations all logits are close; `same`: how many are the same; `told`.

    Args:
        artefact: the folder `onnx` of an export, or a package. precision: what it was written in.
    """
    from edgevision.inference.translation_onnx import OnnxWriter

    ours: Writer = MlxWriter(run)
    if artefact.suffix in PACKAGES:
        theirs = open_translator(artefact)
    else:
        newest = max(artefact.glob("encoder_model*.onnx"), key=lambda file: file.stat().st_mtime_ns)
        theirs = OnnxWriter(artefact.parent, newest.stem.removeprefix("encoder_model"))
    random, same, furthest = np.random.default_rng(0), 0, 0.0
    for length in range(1, COUNT + 1):
        source = random.integers(0, ours.tokenizer.size, min(length, ours.limit)).tolist()
        rows = [writer.rows(source, 1) for writer in (ours, theirs)]
        token, agrees = ours.start, True
        for _ in range(COUNT):
            expected, found = (row(np.array([token]))[0] for row in rows)
            furthest = max(furthest, float(np.abs(found - expected).max() / np.abs(expected).max()))
            agrees = agrees and expected.argmax() == found.argmax()
            token = int(expected.argmax())
            if token == ours.end:
                break
        same += agrees
    told = f"{same} of {COUNT} translations as MLX's, logits to {furthest:.1g}, on {theirs.runtime}"
    half = precision == "float16" or (artefact.suffix == ".mlpackage" and precision is None)
    tolerance = FLOAT16 if half else FLOAT32
    return {"ok": furthest <= tolerance, "same": same, "furthest": furthest, "told": told}


def evaluate_translator(path: Path, data: str | None, beams: int = 1) -> dict[str, Any]:
    """BLEU (sacrebleu) on the test pairs, or those of `data`.

    Raises:
        UserError: the pairs are not there, or sacrebleu is not installed.
    """
    from rich.progress import track

    from edgevision.console import console
    from edgevision.text.pairs import load_pairs
    from edgevision.training.translating import bleu

    writer = open_translator(path)
    folder = path.parent if path.suffix in PACKAGES else path
    name = data or str(read_json(folder / "config.json").get("data") or "multi30k")
    source, _, target = writer.name.partition("-")
    pairs = load_pairs(name, "test", source, target)
    sentences = track(pairs.source, "translating", console=console, transient=True)
    written = [translate(writer, sentence, beams) for sentence in sentences]
    score = bleu(written, pairs.target)
    if score is None:
        raise UserError("BLEU needs sacrebleu", hint="pip install sacrebleu")
    return {"data": name, "pairs": len(pairs), "beams": beams, "bleu": score, "runtime": writer.runtime}


__all__ = [
    "MlxWriter",
    "Writer",
    "evaluate_translator",
    "is_translator",
    "open_translator",
    "source_tokens",
    "stream",
    "translate",
    "translation_agreement",
]

"""Encoders of text at work: guessing hidden tokens, telling classes apart, embeddings of texts.

L: tokens of a text, V: vocabulary, C: classes, W: width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.writers import PACKAGES
from edgevision.jsonfiles import read_json
from edgevision.text.tokenizer import Tokenizer, load_tokenizer

COUNT = 12  # texts of random tokens that two runtimes are compared on
FLOAT32, FLOAT16 = 1e-4, 2e-2  # largest difference of outputs, of the largest output
TASKS = {"masked": "fill-mask", "classifier": "text-classification", "features": "feature-extraction"}
HEADS = {
    "BertForMaskedLM": "masked",
    "BertForSequenceClassification": "classifier",
    "BertModel": "features",
}


class Encoder(Protocol):
    """An encoder that is ready to run.

    head: "masked", "classifier" or "features". labels: of the classes. limit: tokens of a text at most.
    """

    runtime: str
    tokenizer: Tokenizer
    head: str
    labels: tuple[str, ...]
    limit: int

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        """Of one text: logits (L, V), logits (C,), or features (L, W), by its head."""
        ...


class MlxEncoder:
    """A run, or a BERT of Hugging Face's."""

    def __init__(self, path: Path):
        from edgevision.pretrained_encoder import load

        self.loaded = load(path)
        self.tokenizer, self.labels = self.loaded.tokenizer, self.loaded.labels
        self.head, self.limit = self.loaded.model.config.head, self.loaded.model.config.context
        self.runtime = "MLX"

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        import mlx.core as mx

        return np.array(self.loaded.model(mx.array([list(ids)], mx.int32)))[0]


class ExportedEncoder:
    """A file or package that `edgevision export` wrote, with the files of its model beside it."""

    def __init__(self, file: Path, folder: Path):
        import converters as cv

        config = read_json(folder / "config.json")
        self.tokenizer, self._model = load_tokenizer(folder), cv.load(file)
        self.head = HEADS[config["architectures"][0]]
        self.labels = tuple((config.get("id2label") or {}).values()) if self.head == "classifier" else ()
        self._names = list(self._model.inputs)
        tokens: Any = self._model.inputs["input_ids"]
        length = tokens.shape[1]
        self._length = length if isinstance(length, int) else None
        self.limit = self._length or int(config["max_position_embeddings"])
        self._pad = int(config.get("pad_token_id") or 0)
        self._output = next(iter(self._model.outputs))
        self.runtime = self._model.runtime

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        length = self._length or len(ids)
        fed = {name: np.zeros((1, length), np.int64) for name in self._names}
        fed["input_ids"][:] = self._pad
        fed["input_ids"][0, : len(ids)] = ids
        fed["attention_mask"][0, : len(ids)] = 1
        found = np.asarray(self._model(**fed)[self._output], np.float32)[0]
        return found if self.head == "classifier" else found[: len(ids)]


def is_encoder(path: Path) -> bool:
    """Whether a folder, or a file of an export, is an encoder of ours or Hugging Face's BERT."""
    config = read_json(_folder(path) / "config.json")
    return config.get("model_type") == "bert" or config.get("model") == "encoder_lm"


def open_encoder(path: Path) -> Encoder:
    """The encoder in a run, in a folder of BERT's, in what `edgevision export` wrote: a folder, its .onnx, a
    .mlpackage or an .aimodel.

    Raises:
        UserError: it is none.
    """
    folder = _folder(path)
    if is_encoder(path) and path.exists():
        if path != folder:
            return ExportedEncoder(path, folder)
        for name in ("model", "model_fp16", "model_quantized", "model_q4"):
            if (path / "onnx" / f"{name}.onnx").is_file():
                return ExportedEncoder(path / "onnx" / f"{name}.onnx", path)
        if (path / "model.safetensors").is_file():
            return MlxEncoder(path)
    raise UserError(f"{path} is no encoder of text", hint="train one: edgevision train encoder_lm --out RUN")


def encoder_tokens(encoder: Encoder, text: str, truncate: bool = False) -> list[int]:
    """The tokens of a text with those around it.

    Raises:
        UserError: it is empty, longer than the model takes, or nothing of it is known.
    """
    plain = encoder.tokenizer.encode(text.strip())
    if not plain:
        raise UserError("the text is empty")
    if set(plain) == {encoder.tokenizer.special("unk_token")}:
        raise UserError(f"the model knows no part of {text.strip()[:40]!r}")
    ids = encoder.tokenizer.encode(text.strip(), framed=True)
    if len(ids) > encoder.limit:
        if not truncate:
            raise UserError(
                f"the text has {len(ids):,} tokens, the model takes {encoder.limit:,}",
                hint="--truncate leaves out its end",
            )
        ids = [*ids[: encoder.limit - 1], ids[-1]]
    return ids


def unknown_parts(encoder: Encoder, text: str) -> list[str]:
    """What of a text the model has no token for, in order."""
    found = encoder.tokenizer.backend.encode(text.strip(), add_special_tokens=False)
    unknown = encoder.tokenizer.special("unk_token")
    parts = [span for token, span in zip(found.ids, found.offsets, strict=True) if token == unknown]
    return [text.strip()[start:end] for start, end in parts]


def fill_mask(
    encoder: Encoder, text: str, top: int = 5, truncate: bool = False
) -> list[list[dict[str, Any]]]:
    """For each [MASK] the `top` most probable tokens: {"token", "probability", "text"}, the best first.

    The text is that with this token in place of its mask, and the best ones in place of the others.

    Raises:
        UserError: as `encoder_tokens`; there is no mask in the text, or the model guesses no tokens.
    """
    _check_head(encoder, "masked", "--variant masked")
    mask = encoder.tokenizer.special("mask_token")
    if mask is None:
        raise UserError("the tokenizer has no token for a mask", hint="it is the tokenizer of another model")
    ids = encoder_tokens(encoder, text, truncate)
    places = [index for index, token in enumerate(ids) if token == mask]
    if not places:
        shown = encoder.tokenizer.decode([mask], special=True)
        raise UserError(f"there is nothing to fill in {text!r}", hint=f"write {shown} for a hidden word")
    probabilities = softmax(encoder(ids)[places])[:, : encoder.tokenizer.size]
    best = list(ids)
    for place, row in zip(places, probabilities, strict=True):
        best[place] = int(row.argmax())
    found = []
    for place, row in zip(places, probabilities, strict=True):
        choices = np.argsort(-row, kind="stable")[:top]
        found.append(
            [
                {
                    "token": encoder.tokenizer.decode([int(token)], special=True),
                    "probability": float(row[token]),
                    "text": encoder.tokenizer.decode([*best[:place], int(token), *best[place + 1 :]]),
                }
                for token in choices
            ]
        )
    return found


def classify_text(encoder: Encoder, text: str, truncate: bool = False) -> dict[str, float]:
    """The probability of each label, the largest first.

    Raises:
        UserError: as `encoder_tokens`, or the model tells no classes.
    """
    _check_head(encoder, "classifier", "--variant classifier")
    row = softmax(encoder(encoder_tokens(encoder, text, truncate)))
    return {encoder.labels[i]: float(row[i]) for i in np.argsort(-row, kind="stable")}


def embed(encoder: Encoder, text: str, truncate: bool = False) -> np.ndarray:
    """(W,) of length 1: the mean of the features of a text's tokens.

    Raises:
        UserError: as `encoder_tokens`, or the model gives no features.
    """
    _check_head(encoder, "features", None)
    mean = encoder(encoder_tokens(encoder, text, truncate)).mean(axis=0)
    return mean / np.linalg.norm(mean)


def evaluate_encoder(path: Path, data: str | None) -> dict[str, Any]:
    """Accuracy on the test texts; of a model with masks, how many hidden tokens of held-out texts it guesses.

    Raises:
        UserError: the texts are not there, or the model has another head or other labels.
    """
    from rich.progress import track

    from edgevision.console import console
    from edgevision.text.labelled import load_labelled

    encoder = open_encoder(path)
    if encoder.head == "features":
        raise UserError(f"{path} gives features: there is nothing right or wrong about them")
    kept = read_json(_folder(path) / "config.json").get("data")
    if encoder.head == "masked":
        return _evaluate_guesses(encoder, data or str(kept or "wikitext2,multi30k,sst2"))
    name = data or str(kept or "sst2")
    test = load_labelled(name, "test")
    if len(test.labels) != len(encoder.labels):
        raise UserError(f"{name} has {len(test.labels)} labels, the model {len(encoder.labels)}")
    right = 0
    told = track(test.texts, "classifying", console=console, transient=True)
    for text, number in zip(told, test.numbers, strict=True):
        row = encoder(encoder_tokens(encoder, text, truncate=True))
        right += int(row.argmax()) == number
    return {"data": name, "texts": len(test), "accuracy": right / len(test), "runtime": encoder.runtime}


def _evaluate_guesses(encoder: Encoder, name: str) -> dict[str, Any]:
    from rich.progress import track

    from edgevision.console import console
    from edgevision.text.texts import find_texts
    from edgevision.training.encoding import hidden, pieces

    _, texts = find_texts(name)
    random, right, count = np.random.default_rng(0), 0, 0
    for row in track(
        pieces(encoder.tokenizer, texts, min(encoder.limit, 64)), console=console, transient=True
    ):
        ids, places, tokens = (array[0] for array in hidden(np.array([row]), encoder.tokenizer, random))
        places, tokens = places[tokens >= 0], tokens[tokens >= 0]
        right += int((encoder(ids.tolist())[places].argmax(axis=-1) == tokens).sum())
        count += len(tokens)
    return {"data": name, "tokens": count, "accuracy": right / count, "runtime": encoder.runtime}


def encoder_agreement(run: Path, artefact: Path, precision: str | None = None) -> dict[str, Any]:
    """`ok`: on random texts all outputs are close; `same`: for how many the largest is the same; `told`.

    Args:
        artefact: a file or package of an export. precision: what it was written in.
    """
    ours: Encoder = MlxEncoder(run)
    theirs, random = open_encoder(artefact), np.random.default_rng(0)
    same, furthest, limit = 0, 0.0, min(ours.limit, theirs.limit)
    for length in np.linspace(1, limit, COUNT, dtype=int):
        ids = random.integers(0, ours.tokenizer.size, length).tolist()
        expected, found = ours(ids), theirs(ids)
        furthest = max(furthest, float(np.abs(found - expected).max() / np.abs(expected).max()))
        same += bool((expected.argmax(axis=-1) == found.argmax(axis=-1)).all())
    told = f"{same} of {COUNT} texts as MLX's, outputs to {furthest:.1g}, on {theirs.runtime}"
    half = precision == "float16" or (artefact.suffix == ".mlpackage" and precision is None)
    tolerance = FLOAT16 if half else FLOAT32
    return {"ok": furthest <= tolerance, "same": same, "furthest": furthest, "told": told}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _check_head(encoder: Encoder, head: str, variant: str | None) -> None:
    if encoder.head != head:
        wanted = f"edgevision train encoder_lm {variant} …" if variant else "give a BertModel"
        raise UserError(f"this encoder is for {TASKS[encoder.head]}, not for {TASKS[head]}", hint=wanted)


def _folder(path: Path) -> Path:
    """Where the files of the model lie: the folder itself, or that around a package or around onnx/."""
    if path.suffix in PACKAGES:
        return path.parent
    return path.parent.parent if path.suffix == ".onnx" else path


__all__ = [
    "TASKS",
    "Encoder",
    "classify_text",
    "embed",
    "encoder_agreement",
    "encoder_tokens",
    "evaluate_encoder",
    "fill_mask",
    "is_encoder",
    "open_encoder",
    "unknown_parts",
]

"""An encoder of text in a folder: a run of ours, or Hugging Face's BertModel, BertForMaskedLM or
BertForSequenceClassification, which a run is too; read without executing any of it.

config.json model.safetensors tokenizer.json tokenizer_config.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import recover, replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.models import encoder_lm
from edgevision.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Encoder:
    """A loaded model, in evaluation mode.

    Attributes:
        config: the content of config.json. labels: of the classes, where its head tells them.
    """

    path: Path
    model: encoder_lm.Model
    tokenizer: Tokenizer
    config: dict[str, Any]
    labels: tuple[str, ...]


def save(
    path: Path,
    model: encoder_lm.Model,
    tokenizer: Tokenizer,
    facts: dict[str, Any],
    labels: Sequence[str] = (),
) -> None:
    """Write weights, tokenizer and, last, config.json, which makes the folder a run and keeps `facts`."""
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    theirs = encoder_lm.hugging_face_weights(weights, model.config)
    tokenizer.save(path)
    ours = {"format": runs.FORMAT, "model": "encoder_lm", "config": asdict(model.config), **facts}
    config = encoder_lm.to_hugging_face(model.config, labels) | ours
    with replacing_file(path / "model.safetensors") as new:
        mx.save_safetensors(str(new), {n: mx.contiguous(w) for n, w in theirs.items()}, {"format": "pt"})
    with replacing_file(path / "config.json") as new:
        new.write_text(json.dumps(config, indent=1))


def load(path: Path) -> Encoder:
    """The encoder in a folder.

    Raises:
        UserError: a file is missing or damaged, it is another architecture, or something does not fit.
    """
    recover(path)
    config, tokenizer = runs.read_config(path), load_tokenizer(path)
    weights = runs.read_weights(path / "model.safetensors")
    try:
        ours = config.get("model") == "encoder_lm"
        found = encoder_lm.Config(**config["config"]) if ours else None
        settings = found or encoder_lm.from_hugging_face(config, list(weights))
        model = encoder_lm.Model(settings)
        weights = {name: _float32(array) for name, array in encoder_lm.sanitize(weights).items()}
        names = {int(index): str(name) for index, name in (config.get("id2label") or {}).items()}
        labels = tuple(names.get(i, f"LABEL_{i}") for i in range(settings.classes))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path / 'config.json'} is damaged, or of another model: {error}") from error
    if tokenizer.size > settings.vocabulary or (ours and tokenizer.size != settings.vocabulary):
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.size:,} tokens, the model {settings.vocabulary:,}",
            hint="take the tokenizer.json that belongs to the model",
        )
    runs.check_weights(model, weights, path)
    model.load_weights(list(weights.items()))
    model.eval()
    mx.eval(model.parameters())
    return Encoder(path, model, tokenizer, config, labels if settings.head == "classifier" else ())


def _float32(array: mx.array) -> mx.array:
    return array.astype(mx.float32)


__all__ = ["Encoder", "load", "save"]

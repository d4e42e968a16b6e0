"""A translator in a folder: a run of ours, or Hugging Face's MarianMTModel, which a run is too; read without
executing any of it.

config.json model.safetensors generation_config.json tokenizer.json tokenizer_config.json
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import recover, replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.jsonfiles import read_json
from edgevision.models import translator
from edgevision.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Translator:
    """A loaded model, in evaluation mode.

    Attributes:
        config: the content of config.json. limit: tokens of a translation, at most.
    """

    path: Path
    model: translator.Model
    tokenizer: Tokenizer
    config: dict[str, Any]
    limit: int


def save(path: Path, model: translator.Model, tokenizer: Tokenizer, facts: dict[str, Any]) -> None:
    """Write weights, tokenizer and, last, config.json, which makes the folder a run and keeps `facts`."""
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    theirs = translator.hugging_face_weights(weights, model.config)
    tokenizer.save(path)
    ours = {"format": runs.FORMAT, "model": "translator", "config": asdict(model.config), **facts}
    config = translator.to_hugging_face(model.config) | ours
    names = ("decoder_start_token_id", "pad_token_id", "bos_token_id", "eos_token_id")
    generation = {name: config[name] for name in names} | {"max_length": model.config.context}
    with replacing_file(path / "model.safetensors") as new:
        mx.save_safetensors(str(new), {n: mx.contiguous(w) for n, w in theirs.items()}, {"format": "pt"})
    for name, content in {"generation_config.json": generation, "config.json": config}.items():
        with replacing_file(path / name) as new:
            new.write_text(json.dumps(content, indent=1))


def load(path: Path) -> Translator:
    """The translator in a folder.

    Raises:
        UserError: a file is missing or damaged, it is another architecture, or something does not fit.
    """
    recover(path)
    config, tokenizer = runs.read_config(path), load_tokenizer(path)
    try:
        ours = config.get("model") == "translator"
        settings = translator.Config(**config["config"]) if ours else translator.from_hugging_face(config)
        model = translator.Model(settings)
        weights = runs.read_weights(path / "model.safetensors")
        weights = {name: array.astype(mx.float32) for name, array in translator.sanitize(weights).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path / 'config.json'} is damaged, or of another model: {error}") from error
    if tokenizer.size > settings.vocabulary:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.size:,} tokens, the model {settings.vocabulary:,}",
            hint="take the tokenizer.json that belongs to the model",
        )
    weights.setdefault("bias", mx.zeros((settings.vocabulary,)))
    runs.check_weights(model, weights, path)
    model.load_weights(list(weights.items()))
    model.eval()
    mx.eval(model.parameters())
    limit = int(read_json(path / "generation_config.json").get("max_length") or settings.context)
    return Translator(path, model, tokenizer, config, min(limit, settings.context))


__all__ = ["Translator", "load", "save"]

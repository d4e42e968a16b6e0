"""A language model in a folder, as Hugging Face, mlx-lm and we lay it out: read without executing any of it.

config.json model.safetensors tokenizer.json tokenizer_config.json generation_config.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from converters.storage import recover, replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.jsonfiles import end_tokens, read_json, text_setting
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model.

    Attributes:
        model: called as `model(ids, cache=caches)`; in evaluation mode.
        config: the content of config.json. generation: that of generation_config.json.
        context: the most tokens that it takes; vocabulary: how many tokens it knows.
        ends: the tokens that end a text.
        kind: "run" for our own models, "mlx-lm" for those of mlx-lm.
    """

    path: Path
    model: nn.Module
    tokenizer: Tokenizer
    config: dict[str, Any]
    generation: dict[str, Any]
    context: int
    vocabulary: int
    ends: tuple[int, ...]
    kind: str


def is_language_model(path: Path) -> bool:
    """Whether a folder holds the weights of a language model: a run of ours, or one of mlx-lm."""
    return (path / "config.json").is_file() and any(path.glob("model*.safetensors"))


def save(path: Path, model: decoder_lm.Model, tokenizer: Tokenizer, facts: dict[str, Any]) -> None:
    """Write weights, tokenizer and, last, config.json, which makes the folder a run.

    `facts` is kept in config.json beside what Hugging Face's programs read there.
    """
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    named = decoder_lm.hugging_face_weights(weights, model.config.style)
    with replacing_file(path / "model.safetensors") as new:
        mx.save_safetensors(str(new), {name: mx.contiguous(w) for name, w in named.items()}, {"format": "pt"})
    tokenizer.save(path)
    config = decoder_lm.to_hugging_face(model.config) | end_settings(tokenizer.end)
    generation = end_settings(tokenizer.end)
    with replacing_file(path / "generation_config.json") as new:
        new.write_text(json.dumps(generation, indent=1))
    with replacing_file(path / "config.json") as new:
        new.write_text(json.dumps({**config, "format": runs.FORMAT, **facts}, indent=1))


def end_settings(end: int | None) -> dict[str, Any]:
    """The entries of config.json and generation_config.json for the token that ends, begins and pads."""
    return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end)


def load(path: Path) -> LanguageModel:
    """The model in a folder: a run, Hugging Face's GPT-2 or Llama, or anything of mlx-lm where that is
    installed.

    Raises:
        UserError: a file is missing or damaged, or the tokenizer does not fit the model.
    """
    recover(path)
    config = runs.read_config(path)
    tokenizer = load_tokenizer(path)
    try:
        settings = None if "quantization" in config else decoder_lm.from_hugging_face(config)
    except (ValueError, KeyError, TypeError):
        settings = None
    model = _of_mlx_lm(path, config) if settings is None else _ours(path, settings)
    model.eval()
    mx.eval(model.parameters())
    vocabulary = text_setting(config, "vocab_size") or tokenizer.size
    if tokenizer.size > vocabulary:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.size:,} tokens, the model {vocabulary:,}",
            hint="take the tokenizer.json that belongs to the model",
        )
    context = text_setting(config, "n_positions") or text_setting(config, "max_position_embeddings") or 2048
    generation = read_json(path / "generation_config.json")
    ends = end_tokens(config, generation, tokenizer.end)
    kind = "mlx-lm" if settings is None else "run"
    return LanguageModel(path, model, tokenizer, config, generation, context, vocabulary, ends, kind)


def _ours(path: Path, settings: decoder_lm.Config) -> decoder_lm.Model:
    try:
        model = decoder_lm.Model(settings)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{path / 'config.json'} is damaged: {error}") from error
    weights: dict[str, mx.array] = {}
    for file in sorted(path.glob("model*.safetensors")) or [path / "model.safetensors"]:
        weights |= runs.read_weights(file)
    weights = decoder_lm.sanitize(weights)
    wanted = next(iter(weights.values())).dtype if weights else mx.float32
    if wanted != mx.float32:
        weights = {name: array.astype(mx.float32) for name, array in weights.items()}
    runs.check_weights(model, weights, path)
    model.load_weights(list(weights.items()))
    return model


def _of_mlx_lm(path: Path, config: dict[str, Any]) -> nn.Module:
    try:
        from mlx_lm.utils import load_model
    except ImportError as error:
        kind = config.get("model_type")
        raise UserError(
            f"{path} is a model of type {kind!r}, which mlx-lm runs", hint="pip install mlx-lm"
        ) from error
    if "model_file" in config:
        raise UserError(f"{path} brings its own code ({config['model_file']}), which is never executed")
    try:
        model, _ = load_model(path, model_config=_rope_settings(config))
    except Exception as error:
        raise UserError(f"{path} cannot be loaded by mlx-lm: {error}") from error
    return model


def _rope_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers 5 writes as `rope_parameters`, under the names that mlx-lm reads; it would take
    other angles without a word."""
    found = config.get("rope_parameters")
    if not isinstance(found, dict) or "rope_theta" in config:
        return {}
    local = found.get("sliding_attention")
    main = found.get("full_attention", found)
    settings = {"rope_theta": main.get("rope_theta", 10000.0)}
    if main.get("rope_type", "default") != "default":
        settings["rope_scaling"] = {name: value for name, value in main.items() if name != "rope_theta"}
    if isinstance(local, dict):
        settings["rope_local_base_freq"] = local.get("rope_theta", 10000.0)
    return settings


__all__ = ["LanguageModel", "end_settings", "is_language_model", "load", "save"]

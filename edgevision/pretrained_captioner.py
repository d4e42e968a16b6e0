"""A captioner in a folder: a run of ours, or Hugging Face's VisionEncoderDecoderModel; read without executing
any of it.

config.json weights.safetensors tokenizer.json tokenizer_config.json                    a CNN with a decoder
config.json model.safetensors preprocessor_config.json tokenizer.json generation_config.json     ViT and GPT-2
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import recover, replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.jsonfiles import CAPTIONER, end_tokens, read_json
from edgevision.models import captioner, decoder_lm, vit
from edgevision.pretrained_vit import their_names
from edgevision.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Captioner:
    """A loaded model, in evaluation mode.

    Attributes:
        config: the content of config.json.
        start: the token that a sentence begins after. end: that which ends it.
        limit: tokens of a sentence, at most.
    """

    path: Path
    model: captioner.Model
    tokenizer: Tokenizer
    config: dict[str, Any]
    start: int
    end: int
    limit: int


def save(path: Path, model: captioner.Model, tokenizer: Tokenizer, facts: dict[str, Any]) -> None:
    """Write weights, tokenizer and, last, config.json, which makes the folder a run; `facts` are kept there.

    A ViT with GPT-2 is written as transformers loads it.
    """
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    tokenizer.save(path)
    config = {"format": runs.FORMAT, "model": "captioner", "config": asdict(model.config), **facts}
    if is_hugging_face(model.config):
        weights = hugging_face_weights(weights)
        content = to_hugging_face(model.config, tokenizer.end)
        config = {**content.pop("config.json"), **config}
        for name, value in content.items():
            with replacing_file(path / name) as new:
                new.write_text(json.dumps(value, indent=1))
    name = "model.safetensors" if is_hugging_face(model.config) else "weights.safetensors"
    with replacing_file(path / name) as new:
        mx.save_safetensors(str(new), {n: mx.contiguous(w) for n, w in weights.items()}, {"format": "pt"})
    with replacing_file(path / "config.json") as new:
        new.write_text(json.dumps(config, indent=1))


def load(path: Path) -> Captioner:
    """The captioner in a folder.

    Raises:
        UserError: a file is missing or damaged, it is another architecture, or the weights do not fit.
    """
    recover(path)
    config, generation = runs.read_config(path), read_json(path / "generation_config.json")
    tokenizer = load_tokenizer(path)
    try:
        ours = "config" in config
        settings = captioner.Config(**config["config"]) if ours else from_hugging_face(config)
        if not ours:
            settings = replace(settings, vit=_normalized(settings.vit, path))
        model = captioner.Model(settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path / 'config.json'} is damaged: {error}") from error
    files = [path / name for name in ("weights.safetensors", "model.safetensors")]
    weights = runs.read_weights(next((file for file in files if file.is_file()), files[0]))
    weights = {name: array.astype(mx.float32) for name, array in captioner.sanitize(weights).items()}
    runs.check_weights(model, weights, path)
    model.load_weights(list(weights.items()))
    model.eval()
    mx.eval(model.parameters())
    ends = end_tokens(config, generation, tokenizer.end)
    if not ends:
        raise UserError(f"{path} does not say which token ends a sentence")
    found = generation.get("decoder_start_token_id", config.get("decoder_start_token_id"))
    start = ends[0] if found is None else found
    limit = int(config.get("longest") or min(generation.get("max_length") or 32, settings.decoder.context))
    return Captioner(path, model, tokenizer, config, start, ends[0], limit)


def is_hugging_face(config: captioner.Config) -> bool:
    """Whether a VisionEncoderDecoderModel can hold the model."""
    return config.vit is not None and config.decoder.style == "gpt2" and not config.prefix


def to_hugging_face(config: captioner.Config, end: int | None) -> dict[str, dict[str, Any]]:
    """config.json, generation_config.json and preprocessor_config.json."""
    ids = {
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
        "decoder_start_token_id": end,
    }
    encoder, size = config.vit, config.image_size
    mean, std = (list(values) * (3 if len(values) == 1 else 1) for values in (encoder.mean, encoder.std))
    return {
        "config.json": {
            "model_type": CAPTIONER,
            "architectures": ["VisionEncoderDecoderModel"],
            "is_encoder_decoder": True,
            "tie_word_embeddings": False,
            "encoder": {
                "model_type": "vit",
                "hidden_size": encoder.width,
                "num_hidden_layers": encoder.layers,
                "num_attention_heads": encoder.heads,
                "intermediate_size": encoder.hidden or 4 * encoder.width,
                "image_size": size,
                "patch_size": encoder.patch_size,
                "num_channels": encoder.channels,
                "layer_norm_eps": encoder.norm_epsilon,
                "hidden_act": "gelu",
                "qkv_bias": True,
                **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
            },
            "decoder": {**decoder_lm.to_hugging_face(config.decoder), "is_decoder": True},
            **ids,
        },
        "generation_config.json": ids,
        "preprocessor_config.json": {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": size, "width": size},
            "do_resize": True,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": mean,
            "image_std": std,
        },
    }


def from_hugging_face(found: dict[str, Any]) -> captioner.Config:
    """The Config of a config.json of VisionEncoderDecoderModel.

    Raises:
        ValueError: it is another architecture. KeyError: a size is missing.
    """
    if found.get("model_type") != CAPTIONER:
        raise ValueError(f"model_type {found.get('model_type')!r} is no {CAPTIONER}")
    encoder, decoder = found["encoder"], found["decoder"]
    kinds = (encoder.get("model_type"), decoder.get("model_type"))
    if kinds != ("vit", "gpt2"):
        raise ValueError(f"it joins {kinds[0]} and {kinds[1]}; vit and gpt2 can be read")
    if not decoder.get("add_cross_attention"):
        raise ValueError("its decoder has no cross-attention")
    defaults = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224}
    size = {**defaults, "patch_size": 16, "num_channels": 3, "layer_norm_eps": 1e-12, **encoder}
    if size.get("hidden_act", "gelu") != "gelu" or not size.get("qkv_bias", True):
        raise ValueError("its encoder has another activation or no biases")
    eyes = vit.Config(
        image_size=size["image_size"],
        patch_size=size["patch_size"],
        channels=size["num_channels"],
        layers=size["num_hidden_layers"],
        heads=size["num_attention_heads"],
        width=size["hidden_size"],
        hidden=size.get("intermediate_size"),
        norm_epsilon=size["layer_norm_eps"],
    )
    text = {"n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, **decoder}
    writer = decoder_lm.from_hugging_face(text)
    if writer.width != eyes.width:
        raise ValueError(
            f"features of {eyes.width} for a decoder of {writer.width}: no enc_to_dec_proj is read"
        )
    return captioner.Config(vit=eyes, decoder=writer, dropout=0.0)


def hugging_face_weights(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Our weights under the names of VisionEncoderDecoderModel: the inverse of `captioner.sanitize`."""
    parts: dict[str, dict[str, mx.array]] = {"encoder.vit": {}, "decoder": {}}
    for name, array in weights.items():
        part = next(part for part in parts if name.startswith(f"{part}."))
        parts[part][name.removeprefix(f"{part}.")] = array
    encoder = {n.removeprefix("vit."): a for n, a in their_names(parts["encoder.vit"]).items()}
    decoder = decoder_lm.hugging_face_weights(parts["decoder"], "gpt2")
    result = {f"encoder.{name}": array for name, array in encoder.items()}
    return result | {f"decoder.{name}": array for name, array in decoder.items()}


def _normalized(encoder: vit.Config, path: Path) -> vit.Config:
    """With the mean and deviation of preprocessor_config.json."""
    found = read_json(path / "preprocessor_config.json")
    mean, std = found.get("image_mean", [0.5] * 3), found.get("image_std", [0.5] * 3)
    return replace(encoder, mean=tuple(mean), std=tuple(std))


__all__ = [
    "Captioner",
    "from_hugging_face",
    "hugging_face_weights",
    "is_hugging_face",
    "load",
    "save",
    "to_hugging_face",
]

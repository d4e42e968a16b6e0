"""What the JSON files beside a language model say; read without MLX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgevision.errors import UserError

CAPTIONER = "vision-encoder-decoder"  # Hugging Face's name for the type of model


def text_setting(config: dict[str, Any], name: str) -> Any:
    """An entry of config.json, or of its part about text in models of several kinds of input."""
    inner = config.get("text_config")
    return config[name] if name in config else inner.get(name) if isinstance(inner, dict) else None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file. UserError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds no object")
    return found


def is_captioner(path: Path) -> bool:
    """Whether a folder holds the weights of a captioner, a run or Hugging Face's."""
    config = read_json(path / "config.json")
    weights = any((path / name).is_file() for name in ("weights.safetensors", "model.safetensors"))
    return weights and (config.get("model") == "captioner" or config.get("model_type") == CAPTIONER)


def end_tokens(config: dict[str, Any], generation: dict[str, Any], end: int | None) -> tuple[int, ...]:
    """The tokens that end a text: by generation_config.json, else config.json, else the tokenizer's `end`."""
    found = generation.get("eos_token_id")
    found = text_setting(config, "eos_token_id") if found is None else found
    found = end if found is None else found
    return () if found is None else tuple(found) if isinstance(found, list) else (int(found),)


__all__ = ["CAPTIONER", "end_tokens", "is_captioner", "read_json", "text_setting"]

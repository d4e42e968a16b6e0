"""The models, one architecture per file: `Config`, `VARIANTS`, `Model`, `sanitize` in each."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from edgevision.errors import UsageError

MODELS = {
    "lenet": "edgevision.models.lenet",
    "cnn": "edgevision.models.cnn",
    "vit": "edgevision.models.vit",
    "decoder_lm": "edgevision.models.decoder_lm",
    "encoder_lm": "edgevision.models.encoder_lm",
    "captioner": "edgevision.models.captioner",
    "translator": "edgevision.models.translator",
}


def find(name: str) -> ModuleType:
    """The module of a model; UsageError lists the names there are."""
    if name not in MODELS:
        raise UsageError(f"model {name!r} is unknown", hint=f"choose from {', '.join(MODELS)}")
    return import_module(MODELS[name])


def variant(name: str, wanted: str | None = None) -> str:
    """The variant of a model, by default its first; UsageError lists the variants there are."""
    variants = list(find(name).VARIANTS)
    if wanted is None:
        return variants[0]
    if wanted not in variants:
        raise UsageError(f"{name} has no variant {wanted!r}", hint=f"choose from {', '.join(variants)}")
    return wanted


__all__ = ["MODELS", "find", "variant"]

"""`edgevision explain` for language models and encoders: attention maps and the mask of a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.storage import claim
from edgevision import pretrained
from edgevision.errors import UserError
from edgevision.inference.attention_maps import SHOWN, attention_maps, draw_maps, draw_mask, strongest
from edgevision.inference.encoding import MlxEncoder, encoder_tokens
from edgevision.text.tokenizer import Tokenizer

PICTURES = ("attention.png", "mask.png")


def explain_language(path: Path, text: str, out: Path) -> dict[str, Any]:
    """Draw what a model attends to into `out`; gives the tokens, the pictures, and for each token where it
    looked most.

    Raises:
        UserError: the folder holds no model, or the text has no token, or more than can be shown.
    """
    loaded = pretrained.load(path)
    ids = loaded.tokenizer.encode(text)
    most = min(SHOWN, loaded.context)
    if not 1 < len(ids) <= most:
        raise UserError(
            f"the text has {len(ids)} tokens, 2 to {most} can be shown", hint="give another sentence"
        )
    return _drawn(loaded.model, loaded.tokenizer, ids, out)


def explain_encoder(path: Path, text: str, out: Path) -> dict[str, Any]:
    """The same of an encoder, in which every token sees all of them, [CLS] and [SEP] too.

    Raises:
        UserError: the folder holds no weights, or the text is empty or longer than can be shown.
    """
    encoder = MlxEncoder(path)
    ids = encoder_tokens(encoder, text)
    if len(ids) > SHOWN:
        raise UserError(f"the text has {len(ids)} tokens, {SHOWN} can be shown", hint="give another sentence")
    return _drawn(encoder.loaded.model, encoder.tokenizer, ids, out, full=True)


def _drawn(model: Any, tokenizer: Tokenizer, ids: list[int], out: Path, full: bool = False) -> dict[str, Any]:
    """`full`: whether tokens see later ones."""
    tokens = [tokenizer.decode([one], special=True) for one in ids]
    maps = attention_maps(model, ids)
    out.mkdir(parents=True, exist_ok=True)
    claim(out, list(PICTURES))
    draw_maps(tokens, maps, out / "attention.png")
    draw_mask(tokens, out / "mask.png", full)
    looks = [
        {
            "token": tokens[row + 1],
            "at": tokens[column],
            "weight": weight,
            "layer": layer + 1,
            "head": head + 1,
        }
        for row, (layer, head, column, weight) in enumerate(strongest(maps, full))
    ]
    return {"tokens": tokens, "pictures": [str(out / name) for name in PICTURES], "looks": looks}


__all__ = ["explain_encoder", "explain_language"]

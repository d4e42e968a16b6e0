"""`edgevision explain` for language models: attention maps and the causal mask of a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.storage import claim
from edgevision import pretrained
from edgevision.errors import UserError
from edgevision.inference.attention_maps import SHOWN, attention_maps, draw_maps, draw_mask, strongest

PICTURES = ("attention.png", "mask.png")


def explain_language(path: Path, text: str, out: Path) -> dict[str, Any]:
    """Draw what a model attends to into `out`; gives the tokens, the pictures, and for each token where it
    looked most.

    Raises:
        UserError: the folder holds no model, or the text has no token, or more than can be shown.
    """
    loaded = pretrained.load(path)
    ids = loaded.tokenizer.encode(text)
    if not 1 < len(ids) <= min(SHOWN, loaded.context):
        raise UserError(
            f"the text has {len(ids)} tokens, 2 to {min(SHOWN, loaded.context)} can be shown",
            hint="give another sentence",
        )
    tokens = [loaded.tokenizer.decode([one], special=True) for one in ids]
    maps = attention_maps(loaded.model, ids)
    out.mkdir(parents=True, exist_ok=True)
    claim(out, list(PICTURES))
    draw_maps(tokens, maps, out / "attention.png")
    draw_mask(tokens, out / "mask.png")
    looks = [
        {
            "token": tokens[row + 1],
            "at": tokens[column],
            "weight": weight,
            "layer": layer + 1,
            "head": head + 1,
        }
        for row, (layer, head, column, weight) in enumerate(strongest(maps))
    ]
    return {"tokens": tokens, "pictures": [str(out / name) for name in PICTURES], "looks": looks}


__all__ = ["explain_language"]

"""`edgevision explain` for translators: a picture, and a page on which layer and head are chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from converters.storage import claim, replacing_file
from edgevision.errors import UserError
from edgevision.inference.three_attentions import (
    SHOWN,
    Attention,
    draw_three,
    furthest_looks,
    three_attentions,
)
from edgevision.inference.translation import MlxWriter, source_tokens
from edgevision.report.charts import text as escaped

DIGITS = 4  # of a weight on the page


def explain_translator(path: Path, text: str, translation: str | None, out: Path) -> dict[str, Any]:
    """Draw where a run attends to while it translates into `out`; gives the tokens of both sides, the
    pictures, and for each word that is written where in the source it looked most.

    Args:
        translation: what is read as if it had been written; default: the run's own, greedily.

    Raises:
        UserError: there is no run, or one of the texts is empty or longer than can be shown.
    """
    writer = MlxWriter(path)
    model, decode = writer.loaded.model, writer.tokenizer.decode
    source = _few(source_tokens(writer, text), "text", writer.limit)
    if translation is None:
        target = model.write(_row(source), None, min(SHOWN, writer.limit) - 1)[0]
        if not target:
            raise UserError("the model writes nothing for this text", hint="give a --translation")
    else:
        target = writer.tokenizer.encode(translation.strip(), special=False)
        if not target:
            raise UserError("the translation is empty")
        target = _few(target, "translation", writer.limit - 1)
    there, words = ([decode([token], special=True) for token in side] for side in (source, target))
    kinds = three_attentions(
        model, source, [writer.start, *target], (there, ["[start]", *words], [*words, "[end]"])
    )
    out.mkdir(parents=True, exist_ok=True)
    claim(out, ["attention.png", "attention.html"])
    draw_three(kinds, out / "attention.png")
    shown = decode(target).strip()
    with replacing_file(out / "attention.html") as new:
        new.write_text(attention_page(kinds, f"{text.strip()} → {shown}"), encoding="utf-8")
    return {
        "tokens": there,
        "translation": shown,
        "translated": words,
        "pictures": [str(out / name) for name in ("attention.png", "attention.html")],
        "looks": furthest_looks(kinds[2]),
    }


def attention_page(kinds: Sequence[Attention], title: str) -> str:
    """A page that needs nothing else: the kinds side by side, their masks beneath."""
    content = [
        {
            "title": kind.title,
            "maps": [
                [[[round(float(w), DIGITS) for w in row] for row in head] for head in one]
                for one in kind.maps
            ],
            "mask": kind.mask.astype(int).tolist(),
            "rows": kind.padded_rows,
            "columns": kind.padded_columns,
        }
        for kind in kinds
    ]
    template = (files("edgevision.report") / "attention.html").read_text(encoding="utf-8")
    safe = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")  # no </script> in a text
    return Template(template).substitute(title=escaped(title), content=safe)


def _row(ids: Sequence[int]) -> Any:
    import mlx.core as mx

    return mx.array([list(ids)])


def _few(ids: list[int], side: str, limit: int) -> list[int]:
    most = min(SHOWN, limit)
    if len(ids) > most:
        raise UserError(f"the {side} has {len(ids)} tokens, {most} can be shown", hint="give a shorter one")
    return ids


__all__ = ["attention_page", "explain_translator"]

"""A language model in MLX and its artefact on the same text: do they compute the same thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.generation import Writer
from edgevision.inference.writers import open_writer

TOKENS = 64
TOLERANCES = {"_fp16": 2e-2, "_quantized": 0.2, "_int8": 0.2, "_palette8": 0.2}  # by the end of a name
TOLERANCES |= dict.fromkeys(("_q4", "_int4", "_palette4", "_palette6"), 0.5)
EXACT, HALF = 1e-3, 2e-2  # other files; other Core ML packages, assets of float16; all of the largest logit


def language_agreement(model: Path, artifact: Path, count: int = TOKENS) -> dict[str, Any]:
    """Both read the text that MLX writes greedily, a prompt first and then a token at a time.

    Gives `ok`, `max_abs`, `max_rel` (of the largest logit), `tolerance`, how many of `tokens` both find most
    probable as `same_token`, the `runtime`, and `told`, a line for people.

    Raises:
        UserError: one of them is no language model, or the two have different vocabularies.
    """
    one, other = open_writer(model), open_writer(artifact)
    expected, text = _greedy(one, count)
    got = _read(other, text, len(expected))
    if expected.shape != got.shape:
        raise UserError(
            f"{artifact} gives {got.shape[1]:,} logits, {model} {expected.shape[1]:,}", hint="export it anew"
        )
    error = float(np.abs(expected - got).max())
    relative = error / float(np.abs(expected).max())
    half = artifact.suffix == ".mlpackage" or other.precision == "float16"
    otherwise = HALF if half else EXACT
    tolerance = next((t for end, t in TOLERANCES.items() if artifact.stem.endswith(end)), otherwise)
    same = int((expected.argmax(axis=-1) == got.argmax(axis=-1)).sum())
    verdict = "agrees with MLX" if relative <= tolerance else "DIFFERS from MLX"
    return {
        "ok": relative <= tolerance,
        "max_abs": error,
        "max_rel": relative,
        "tolerance": tolerance,
        "tokens": len(expected),
        "same_token": same,
        "runtime": other.runtime,
        "told": f"{verdict}, max rel {relative:.2g}, the same token {same} of {len(expected)} times, "
        f"on {other.runtime}",
    }


def _greedy(writer: Writer, count: int) -> tuple[np.ndarray, list[int]]:
    """The logits (count, V) of a text begun with a few tokens, and its tokens."""
    first = [index % writer.tokenizer.size for index in (1, 5, 2, 7)]
    count = min(count, writer.context - len(first))
    engine, text = writer.start(), list(first)
    rows = [engine(first)]
    while len(rows) < count:
        text.append(int(rows[-1].argmax()))
        rows.append(engine(text[-1:]))
    return np.stack(rows), text


def _read(writer: Writer, text: list[int], count: int) -> np.ndarray:
    engine, first = writer.start(), len(text) - count + 1
    return np.stack([engine(text[:first]), *(engine([token]) for token in text[first:])])


__all__ = ["language_agreement"]

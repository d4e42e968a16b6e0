"""Whether an exported captioner computes what its run does, on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data import scenes
from edgevision.inference.captioner import Style, captions, open_captioner
from edgevision.inference.writers import PACKAGES

COUNT = 12  # pictures
FLOAT32, FLOAT16 = 1e-4, 2e-2  # largest difference of logits, of the largest logit


def caption_agreement(run: Path, artefact: Path, precision: str | None = None) -> dict[str, Any]:
    """`ok`: on the way of MLX's sentences all logits are close; `same`: how many sentences are the same,
    which only what is nearly as probable can change; `told`: in words.

    Args:
        artefact: the folder `onnx` of an export, a .mlpackage or an .aimodel.
        precision: what it was written in; default float32, for Core ML float16.
    """
    package = artefact.suffix in PACKAGES
    ours, theirs = open_captioner(run), open_captioner(artefact if package else artefact.parent)
    half = precision == "float16" or (artefact.suffix == ".mlpackage" and precision is None)
    tolerance = FLOAT16 if half else FLOAT32
    same, furthest = 0, 0.0
    for image in scenes.draw("test", COUNT, side=ours.side).images:
        array = image[None].astype(np.float32) / np.float32(255)
        (a,), (b,) = (captions(writer, array, Style()) for writer in (ours, theirs))
        same += a.tokens == b.tokens
        rows = [writer.rows(writer.look(array), 1) for writer in (ours, theirs)]
        for token in (ours.start, *a.tokens):
            expected, found = (row(np.array([token])) for row in rows)
            furthest = max(furthest, float(np.abs(found - expected).max() / np.abs(expected).max()))
    told = f"{same} of {COUNT} sentences as MLX's, logits to {furthest:.1g}, on {theirs.runtime}"
    return {"ok": furthest <= tolerance, "same": same, "furthest": furthest, "told": told}


__all__ = ["caption_agreement"]

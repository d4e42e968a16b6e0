"""Whether an exported captioner writes the sentences of its run, on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data import scenes
from edgevision.inference.captioner import Style, captions, open_captioner

COUNT = 12  # pictures


def caption_agreement(run: Path, artefact: Path) -> dict[str, Any]:
    """`ok`: every sentence is the same; `same`: how many; `told`: in words.

    Args:
        artefact: the folder `onnx` of an export, or a .mlpackage.
    """
    folder = artefact.parent if artefact.name == "onnx" else artefact
    ours, theirs = open_captioner(run), open_captioner(folder)
    images = scenes.draw("test", COUNT, side=ours.side).images
    same, furthest = 0, 0.0
    for image in images:
        array = image[None].astype(np.float32) / np.float32(255)
        (a,), (b,) = (captions(writer, array, Style()) for writer in (ours, theirs))
        same += a.tokens == b.tokens
        furthest = max(furthest, abs(a.score - b.score))
    told = f"{same} of {COUNT} sentences as MLX's, log-probabilities to {furthest:.1g}, on {theirs.runtime}"
    return {"ok": same == COUNT, "same": same, "furthest": furthest, "told": told}


__all__ = ["caption_agreement"]

"""How good the sentences of a captioner are, in every form, on held-out pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data.captions import CaptionSet, load_captions, plain
from edgevision.errors import UsageError
from edgevision.inference.caption_metrics import is_installed, scores
from edgevision.inference.captioner import Style, Writer, captions, described, open_captioner
from edgevision.jsonfiles import read_json


@dataclass(frozen=True)
class Judged:
    """The sentences of a split, beside what people wrote.

    Attributes:
        test: its first pictures. written: a sentence for each of them. found: the scores, in percent.
    """

    test: CaptionSet
    written: tuple[str, ...]
    found: dict[str, Any]


def evaluate_captioner(
    path: Path, data: str | None = None, style: Style | None = None, count: int | None = None
) -> dict[str, Any]:
    """For the test split (of drawn scenes, `unseen` too): `exact`, the share of sentences that are one of the
    references, and the scores of `caption_metrics`, in percent; `judged` has each split's sentences.

    Args:
        data: default: what a run was trained on. count: the first so many pictures.

    Raises:
        UsageError: the model does not say what it was trained on, and no data is given.
    """
    name = data or read_json(path / "config.json").get("data")
    if name is None:
        raise UsageError(f"{path} does not say what it was trained on", hint="give --data")
    writer = open_captioner(path)
    splits = ("test", "unseen") if name == "scenes" else ("test",)
    judged = {split: _split(writer, name, split, style or Style(), count) for split in splits}
    found = {split: one.found for split, one in judged.items()}
    return {"data": name, "runtime": writer.runtime, "splits": found, "judged": judged}


def _split(writer: Writer, name: str, split: str, style: Style, count: int | None) -> Judged:
    test = load_captions(name, split, writer.side)
    test = CaptionSet(test.images[:count], test.captions[:count], test.names[:count])
    written = []
    for image in test.images:
        array = image[None].astype(np.float32) / np.float32(255)
        written.append(plain(described(writer, captions(writer, array, style)[0])["text"]))
    exact = sum(text in known for text, known in zip(written, test.captions, strict=True)) / len(written)
    told = scores(test.captions, written) if is_installed() else {}
    return Judged(test, tuple(written), {"pictures": len(written), "exact": 100 * exact, **told})


__all__ = ["Judged", "evaluate_captioner"]

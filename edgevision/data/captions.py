"""Pictures with sentences: Flickr8k, drawn scenes, and any folder of pictures with a captions file.

captions.csv, captions.tsv   a line each, header "image,caption" or none; a picture may have many lines
captions.jsonl               {"image": name, "caption": text} or {"image": name, "captions": [text, …]}
captions.json                COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}

Letters: N pictures, H height, W width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

_CONTRACTED = re.compile(r" ('s|n't|'re|'ve|'ll|'d|'m)\b")
_WORD = re.compile(r"[^\W_]+(?:['\u2019&-][^\W_]+)*")


@dataclass(frozen=True)
class CaptionSet:
    """One split in memory: images uint8 (N, H, W, 3), and the sentences of each, at least one."""

    images: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def plain(sentence: str) -> str:
    """Lower-case words with one blank between: what is learnt and what is compared.

    "A dog 's tail , wagging ." gives "a dog's tail wagging".
    """
    return " ".join(_WORD.findall(_CONTRACTED.sub(r"\1", sentence.lower())))


__all__ = ["CaptionSet", "plain"]

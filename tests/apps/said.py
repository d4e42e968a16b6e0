"""What Python says with the models of an app: to be compared with what the app says."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgevision.data.captioned_pictures import squeezed
from edgevision.inference.captioner import Style, captions, open_captioner
from edgevision.inference.classifier import open_classifier, softmax
from edgevision.inference.generation import generate
from edgevision.inference.sampling import Sampling
from edgevision.inference.writers import open_writer
from edgevision.pictures import digit_array

FOLDER = Path(__file__).parents[2] / "apps" / "fixtures" / "pictures"


def said(digits: Path, caption: Path, write: Path) -> list[Any]:
    """Tokens of sentences about three pictures, by one and three beams; shares of a digit; two texts."""
    lines: list[Any] = []
    captioner = open_captioner(caption)
    for name in ("scene", "wide", "high"):
        pixels = squeezed(Image.open(FOLDER / f"{name}.png"), captioner.side)
        picture = pixels.astype(np.float32)[None] / np.float32(255)
        for beams in (1, 3):
            found = captions(captioner, picture, Style(beams=beams, count=beams))
            lines.append([list(sentence.tokens) for sentence in found])
    digit, _ = digit_array(Image.open(FOLDER / "seven.png"))
    lines.append(softmax(open_classifier(digits).logits(digit))[0].tolist())
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.95, seed=5)):
        _, pieces = generate(open_writer(write), "a large", sampling, 24)
        lines.append("".join(pieces))
    return lines

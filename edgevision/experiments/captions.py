"""What captioners say: six drawn scenes and the sentences as a picture, six sentences of Flickr8k as a table.

    python -m edgevision.experiments.captions runs/scenes --out docs/images/scenes-captions.png
    python -m edgevision.experiments.captions runs/flickr8k

The scenes are the first three of the test split and of the unseen one, where each has a pair of colour and
shape that the training never showed. The sentences of Flickr8k are those of the test pictures at fixed
percentiles of the sentence's own CIDEr: chosen by rank alone, bad ones and good ones; printed as Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from converters.storage import replacing_file
from edgevision.inference.caption_evaluation import Judged, evaluate_captioner
from edgevision.inference.consensus import Consensus

PERCENTILES = (5, 25, 45, 65, 85, 95)
SHOWN = 3  # scenes of each split
WORDS = 5  # in a line below a picture


def draw(captioner: Path, path: Path) -> None:
    """Six scenes and what is said of them, as a PNG; a sentence that is not right is red."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judged = evaluate_captioner(captioner, "scenes", count=SHOWN)["judged"]
    figure = Figure(figsize=(7, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (split, index) in zip(
        figure.subplots(2, SHOWN).flat, [(s, i) for s in judged for i in range(SHOWN)], strict=True
    ):
        one = judged[split]
        said, right = one.written[index], one.written[index] in one.test.captions[index]
        axes.imshow(one.test.images[index])
        axes.set_title("pair unseen in training" if split == "unseen" else "", fontsize=8, color="dimgrey")
        axes.set_xlabel(_lines(said), fontsize=10, color="black" if right else "firebrick")
        axes.set(xticks=(), yticks=())
    with replacing_file(path) as new:
        figure.savefig(new, format="png", dpi=100)


def ranked(judged: Judged) -> list[tuple[int, float]]:
    """(number of the picture, CIDEr of its sentence in percent) at PERCENTILES of all."""
    measure = Consensus(judged.test.captions)
    found = [
        100 * measure.score(said, known)
        for said, known in zip(judged.written, judged.test.captions, strict=True)
    ]
    order = np.argsort(found, kind="stable")
    return [(int(i), found[i]) for i in order[[percent * len(order) // 100 for percent in PERCENTILES]]]


def sentences(captioner: Path, data: str | None = None) -> str:
    """The table of the test pictures at PERCENTILES: file, the first reference, ours."""
    judged = evaluate_captioner(captioner, data)["judged"]["test"]
    lines = ["| percentile | CIDEr | file | a person wrote | ours |", "|---|---|---|---|---|"]
    for percent, (index, value) in zip(PERCENTILES, ranked(judged), strict=True):
        name, reference = judged.test.names[index], judged.test.captions[index][0]
        lines.append(f"| {percent} | {value:.0f} | {name} | {reference} | {judged.written[index]} |")
    return "\n".join(lines)


def _lines(sentence: str) -> str:
    words = sentence.split()
    return "\n".join(" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("captioner", type=Path, help="run or export folder")
    given.add_argument("--data", help="default: what the run was trained on")
    given.add_argument("--out", type=Path, help="PNG to write, of a captioner of scenes")
    asked = given.parse_args(arguments)
    if asked.out is not None:
        draw(asked.captioner, asked.out)
    else:
        print(sentences(asked.captioner, asked.data))


if __name__ == "__main__":
    main()


__all__ = ["draw", "ranked", "sentences"]

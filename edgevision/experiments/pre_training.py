"""What pre-training is worth: film reviews by a bag of words, and by an encoder with and without it.

    edgevision train encoder_lm --out runs/encoder
    edgevision train encoder_lm --variant classifier --from runs/encoder --out runs/sst2
    edgevision train encoder_lm --variant classifier --out runs/sst2-scratch
    python -m edgevision.experiments.pre_training --encoder runs/encoder --tuned runs/sst2 \
        --scratch runs/sst2-scratch --out docs/experiments

Trains the bag of words, reads the runs and writes pre-training.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from converters.storage import replacing_file
from edgevision import runs
from edgevision.text.labelled import load_labelled
from edgevision.text.tokenizer import load_tokenizer
from edgevision.training import loop
from edgevision.training.encoding import Classifying, EncoderRecipe
from edgevision.training.watch import machine

BAG = EncoderRecipe(
    epochs=8, batch_size=128, optimizer="adamw", learning_rate=5e-3, weight_decay=0.0, average=None, seed=0
)


class BagOfWords(nn.Module):
    """Logistic regression on how often each token is there: tokens and mask (B, L) to logits (B, C)."""

    def __init__(self, vocabulary: int, classes: int):
        super().__init__()
        self.weights = nn.Embedding(vocabulary, classes)
        self.weights.weight = mx.zeros((vocabulary, classes))
        self.bias = mx.zeros((classes,))

    def __call__(self, ids: mx.array, mask: mx.array) -> mx.array:
        return mx.sum(self.weights(ids) * mask[..., None], axis=1) + self.bias


def run(encoder: Path, tuned: Path, scratch: Path, out: Path, steps: int | None = None) -> dict[str, Any]:
    """The rows of the table, and the page `out`/pre-training.md.

    Args:
        steps: of the bag of words; None for all of its recipe.
    """
    found = {path: runs.read_config(path) for path in (encoder, tuned, scratch)}
    name = found[tuned]["data"]
    data, test = (load_labelled(name, part) for part in ("train", "test"))
    tokenizer, recipe = load_tokenizer(tuned), replace(BAG, steps=steps)
    model = BagOfWords(tokenizer.size, len(data.labels))
    with TemporaryDirectory() as scratch_folder:
        bag = loop.train(model, Classifying(data, test, tokenizer, recipe), recipe, Path(scratch_folder))
    rows = {
        "bag of words": bag,
        "encoder, from scratch": found[scratch]["result"],
        "encoder, pre-trained": found[tuned]["result"],
    }
    out.mkdir(parents=True, exist_ok=True)
    with replacing_file(out / "pre-training.md") as new:
        new.write_text(page(name, len(data), len(test), rows, found[encoder]))
    return rows


def page(name: str, count: int, tested: int, rows: dict[str, Any], encoder: dict[str, Any]) -> str:
    """The page."""
    before = encoder["result"]
    better = rows["encoder, pre-trained"]["test_accuracy"] - rows["encoder, from scratch"]["test_accuracy"]
    sizes, passes = encoder["config"], encoder["training"]["epochs"]
    share = rows["encoder, pre-trained"]["test_accuracy"]
    error = sqrt(share * (1 - share) / tested)
    lines = [
        "# What pre-training is worth",
        "",
        f"Film reviews, negative or positive: {name}, {count:,} sentences and phrases to learn from, the",
        f"{tested:,} of its test. The encoder: {sizes['layers']} layers, {sizes['width']} wide.",
        f"Pre-training is guessing hidden words of {encoder['data']} (no label is looked",
        f"at) in {passes} passes, {before['seconds'] / 60:.0f} minutes, after which it guesses",
        f"{before['test_accuracy']:.1%} of the hidden tokens of held-out text. Both encoders are tuned by",
        "the same recipe and seed; the weights are those of the last step, nothing was chosen by the test.",
        "",
        "| model | accuracy | training |",
        "|---|---|---|",
        *(
            f"| {title} | {row['test_accuracy']:.1%} | {row['seconds'] / 60:.1f} min |"
            for title, row in rows.items()
        ),
        "",
        f"Pre-training is worth {100 * better:+.1f} points here; the standard error of an accuracy",
        f"on {tested:,} sentences is {100 * error:.1f} points.",
        "",
        f"On {machine()}. Made by",
        "",
        "```sh",
        "edgevision train encoder_lm --out runs/encoder",
        "edgevision train encoder_lm --variant classifier --from runs/encoder --out runs/sst2",
        "edgevision train encoder_lm --variant classifier --out runs/sst2-scratch",
        "python -m edgevision.experiments.pre_training --encoder runs/encoder --tuned runs/sst2 \\",
        "    --scratch runs/sst2-scratch --out docs/experiments",
        "```",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("encoder", "tuned", "scratch", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    run(given.encoder, given.tuned, given.scratch, given.out)


if __name__ == "__main__":
    main()

__all__ = ["BagOfWords", "page", "run"]

"""Why Vision Transformers took so long: a small CNN beside a small ViT on growing parts of CIFAR-10.

    python -m edgevision.experiments.data_size --out docs/experiments

Both are trained for the same number of steps whatever the part, so that a small part is seen more often; with
crops and flips, and without. Writes data-size.md and data-size.png; a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from converters.storage import replacing_file
from edgevision import runs
from edgevision.data import ImageSet, load
from edgevision.experiments.results import Results, trained
from edgevision.training.recipe import recipe_of
from edgevision.training.watch import machine

MODELS = ("cnn", "vit")
SEED = 0


@dataclass(frozen=True)
class Settings:
    """What is compared: shares of the training set, steps of each training, variants, test pictures."""

    shares: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    steps: int = 2000
    batch_size: int = 64
    cnn: str = "tiny"
    vit: str = "tiny"
    data: str = "cifar10"
    tested: int = 10_000


def run(settings: Settings, out: Path) -> dict[str, dict[str, Any]]:
    """Measure every cell, and write the page and its plot."""
    data, test = load(settings.data, "train"), load(settings.data, "test", settings.tested)
    results = Results(out / "data-size", asdict(settings) | {"shares": list(settings.shares)})
    order = np.random.default_rng(SEED).permutation(len(data))
    for share in settings.shares:
        chosen = np.sort(order[: max(len(data.classes), round(share * len(data)))])
        part = ImageSet(data.images[chosen], data.labels[chosen], data.classes)
        for model in MODELS:
            for changed in (False, True):
                results.measured(
                    name_of(model, share, changed),
                    lambda m=model, p=part, c=changed: _measure(m, p, test, settings, c),
                )
    draw(settings, results.table, out / "data-size.png")
    with replacing_file(out / "data-size.md") as new:
        new.write_text(page(settings, results.table, len(data)), encoding="utf-8")
    return results.table


def name_of(model: str, share: float, changed: bool) -> str:
    """The name of a cell of the table."""
    return f"{model} {share:g} {'changed' if changed else 'plain'}"


def _measure(model: str, part: ImageSet, test: ImageSet, settings: Settings, changed: bool) -> dict[str, Any]:
    variant = getattr(settings, model)
    recipe = replace(
        recipe_of(model, variant, settings.data),
        steps=settings.steps,
        batch_size=settings.batch_size,
        evaluate_every=settings.steps,
        keep="last",
        seed=SEED,
    )
    if not changed:
        recipe = replace(recipe, crop=0, flip=False, randaugment=None, mixup=0.0, cutmix=0.0)
    mx.random.seed(SEED)
    network, _ = runs.build(model, variant, len(part.classes), part.images.shape[1:])
    return trained(network, part, test, recipe)


def crossing(settings: Settings, table: Mapping[str, Mapping[str, Any]], changed: bool) -> float | None:
    """The smallest share from which on the ViT is at least as good, None where there is none."""
    ahead = [
        table[name_of("vit", share, changed)]["accuracy"] >= table[name_of("cnn", share, changed)]["accuracy"]
        for share in settings.shares
    ]
    first = len(ahead)
    while first and ahead[first - 1]:
        first -= 1
    return settings.shares[first] if first < len(ahead) else None


def page(settings: Settings, table: Mapping[str, Mapping[str, Any]], count: int) -> str:
    """The page, as measured."""
    columns = [(model, changed) for model in MODELS for changed in (False, True)]
    head = (
        "| part of CIFAR-10 | pictures | CNN | CNN, augmented | ViT | ViT, augmented |\n" + "|---" * 6 + "|"
    )
    rows = [
        f"| {share:.0%} | {round(share * count):,} | "
        + " | ".join(f"{table[name_of(model, share, changed)]['accuracy']:.1%}" for model, changed in columns)
        + " |"
        for share in settings.shares
    ]
    told, first, last = [], settings.shares[0], settings.shares[-1]
    for changed, how in ((False, "Without augmentation"), (True, "With augmentation")):
        at = crossing(settings, table, changed)
        if at is not None:
            told.append(f"{how} the ViT is at least as good as the CNN from {at:.0%} of the pictures on.")
            continue
        low, high = (
            100 * table[name_of("cnn", share, changed)]["accuracy"]
            - 100 * table[name_of("vit", share, changed)]["accuracy"]
            for share in (first, last)
        )
        told.append(
            f"{how} the lines do not cross: the CNN is ahead by {low:.1f} points at {first:.0%} of the "
            f"pictures and by {high:.1f} at {last:.0%}."
        )
    minutes = sum(cell["seconds"] for cell in table.values()) / 60
    return f"""# Why Vision Transformers took so long

A convolution knows before it has seen a picture that neighbouring pixels belong together and that a thing
is the same thing elsewhere. A Vision Transformer has to learn both, from pictures. Here is what that costs:
the `tiny` CNN beside the `tiny` ViT on growing parts of CIFAR-10, {settings.steps:,} steps of
{settings.batch_size} pictures each whatever the part, accuracy on {settings.tested:,} test pictures.

{head}
{chr(10).join(rows)}

![Accuracy by the number of training pictures](data-size.png)

{" ".join(told)}

One seed, {minutes:.0f} minutes of training in all on {machine()}. Made by

```sh
python -m edgevision.experiments.data_size --out docs/experiments \\
    --steps {settings.steps} --tested {settings.tested}
```

"An Image is Worth 16x16 Words" (Dosovitskiy et al., 2020, figure 4) asks the same at another scale:
pretrained on 9 million pictures, its ViT-B/32 stays behind a ResNet50 of about its cost; on 90 million and
more it is ahead.
"""


def draw(settings: Settings, table: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Accuracy over the share of the pictures, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for model, colour in zip(MODELS, ("tab:orange", "tab:blue"), strict=True):
        for changed, style in ((True, "-"), (False, "--")):
            values = [100 * table[name_of(model, share, changed)]["accuracy"] for share in settings.shares]
            label = f"{model.replace('cnn', 'CNN').replace('vit', 'ViT')}{', augmented' if changed else ''}"
            percent = [100 * share for share in settings.shares]
            axes.plot(percent, values, style, color=colour, marker="o", markersize=4, label=label)
    axes.set(xscale="log", xlabel="training pictures, % of CIFAR-10", ylabel="test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing_file(path) as new:
        figure.savefig(new, dpi=110, format="png")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("--out", type=Path, required=True, help="folder for the page and its plot")
    given.add_argument("--steps", type=int, default=Settings.steps, help="of each training")
    given.add_argument("--tested", type=int, default=Settings.tested, help="test pictures")
    asked = given.parse_args(arguments)
    run(Settings(steps=asked.steps, tested=asked.tested), asked.out)


if __name__ == "__main__":
    main()

"""What a trained model is worth to begin with: a ViT on Fashion-MNIST, from CIFAR-10 and from scratch.

    edgevision train vit --data cifar10 --out runs/vit
    python -m edgevision.experiments.fine_tuning --start runs/vit --out docs/experiments

Every row is trained for the same number of steps. Writes fine-tuning.md; a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import replacing_file
from edgevision import runs
from edgevision.data import load
from edgevision.experiments.results import Results, trained
from edgevision.training.finetuning import begun_with, kind_of_start, merged
from edgevision.training.recipe import Recipe, recipe_of
from edgevision.training.watch import machine

SEED = 0
ROWS: dict[
    str, dict[str, Any]
] = {  # what is told, and what the recipe says of it; without a start from scratch
    "from scratch": {},
    "all weights": {"tune": "all"},
    "all weights, layer-wise decay 0.8": {"tune": "all", "layer_decay": 0.8},
    "LoRA of rank 8": {"tune": "lora:8"},
    "the last 2 blocks": {"tune": "last:2"},
    "the head alone (linear probe)": {"tune": "head"},
}


@dataclass(frozen=True)
class Settings:
    """What is compared: the run that is begun with, its data, steps and pictures."""

    start: str
    steps: int = 300
    batch_size: int = 64
    data: str = "fashion-mnist"
    tested: int = 10_000


def run(settings: Settings, out: Path) -> dict[str, dict[str, Any]]:
    """Measure every row, and write the page."""
    data, test = load(settings.data, "train"), load(settings.data, "test", settings.tested)
    variant, _ = kind_of_start("vit", settings.start)
    usual = replace(
        recipe_of("vit", variant, settings.data),
        steps=settings.steps,
        batch_size=settings.batch_size,
        evaluate_every=settings.steps,
        crop=2,
        flip=True,
        keep="last",
        seed=SEED,
    )
    results = Results(out / "fine-tuning", asdict(settings))

    def measure(recipe: Recipe) -> dict[str, Any]:
        mx.random.seed(SEED)
        shape = data.images.shape[1:]
        network, _ = begun_with("vit", variant, len(data.classes), shape, recipe)
        learnt = sum(array.size for array in _arrays(network.trainable_parameters()))
        found = trained(network, data, test, recipe)
        merged(network)
        return {**found, "learnt": learnt}

    for name, changes in ROWS.items():
        recipe = replace(usual, start=settings.start, **changes) if changes else usual
        results.measured(name, lambda recipe=recipe: measure(recipe))
    before = runs.read_config(Path(settings.start)).get("result", {}).get("test_accuracy")
    with replacing_file(out / "fine-tuning.md") as new:
        new.write_text(page(settings, results.table, before), encoding="utf-8")
    return results.table


def _arrays(tree: Any) -> list[mx.array]:
    flat: dict[str, mx.array] = dict(tree_flatten(tree))
    return list(flat.values())


def page(settings: Settings, table: Mapping[str, Mapping[str, Any]], before: float | None) -> str:
    """The page, as measured."""
    rows = [
        f"| {name} | {cell['learnt']:,} | {cell['accuracy']:.2%} | {cell['seconds']:.0f} s |"
        for name, cell in ((name, table[name]) for name in ROWS)
    ]
    gained = 100 * (table["all weights"]["accuracy"] - table["from scratch"]["accuracy"])
    known = f" ({before:.1%} there)" if before is not None else ""
    return f"""# Fine-tuning beside training from scratch

The small ViT that was trained on CIFAR-10{known}, photographs of 32 x 32 in colour, goes on with
Fashion-MNIST, articles of clothing of 28 x 28 in grey: its positions are interpolated from 8 x 8 to 7 x 7,
its patches take one channel, its head is new. {settings.steps:,} steps of {settings.batch_size} pictures
in each row, one recipe, one seed; accuracy on {settings.tested:,} test pictures. Seconds are by the clock,
beside whatever else the machine did.

| what learns | weights that learn | test accuracy | training |
|---|---|---|---|
{chr(10).join(rows)}

With all weights learning, the pretrained model is {gained:+.1f} points beside the one from scratch at the
same steps.

On {machine()}. Made by

```sh
python -m edgevision.experiments.fine_tuning --start runs/vit --out docs/experiments \\
    --steps {settings.steps} --tested {settings.tested}
```
"""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("--start", required=True, help="run of a ViT")
    given.add_argument("--out", type=Path, required=True, help="folder for the page")
    given.add_argument("--steps", type=int, default=Settings.steps, help="of each training")
    given.add_argument("--tested", type=int, default=Settings.tested, help="test pictures")
    asked = given.parse_args(arguments)
    run(Settings(asked.start, steps=asked.steps, tested=asked.tested), asked.out)


if __name__ == "__main__":
    main()

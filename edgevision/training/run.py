"""From names to a run folder: data, model, training, and what is kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgevision import blas, runs
from edgevision.console import console
from edgevision.data import load
from edgevision.training.loop import train
from edgevision.training.recipe import Recipe
from edgevision.training.watch import machine


def train_run(
    model: str, variant: str, data: str, recipe: Recipe, out: Path, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Train `model` on `data` and write the run folder `out`; gives the results
    (`edgevision.training.loop.train`).

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given.
        UserError: the data set is not there, the checkpoint is of another training, or the loss is no number.
    """
    training, test = load(data, "train"), load(data, "test")
    runs.prepare(out, force=force, resume=resume)
    mx.random.seed(recipe.seed)
    network, config = runs.build(model, variant)
    console.print(f"{model} {variant} on {data}: {len(training):,} pictures; {machine()}")
    result = train(network, training, test, recipe, out, resume=resume)
    described = {
        "model": model,
        "variant": variant,
        "config": config,
        "data": data,
        "training": asdict(recipe),
    }
    described |= {"input": {"shape": [28, 28, 1], "scale": 1 / 255}, "result": result}
    described |= {"machine": {"about": machine(), "blas": blas.status().as_dict()}}
    runs.save(out, network, described, training.classes)
    return result

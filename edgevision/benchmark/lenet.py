"""Figures of this machine, and of LeNet on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

import converters as cv
from edgevision import blas
from edgevision.allocator import kept_memory
from edgevision.benchmark.timing import seconds
from edgevision.data import CLASSES, ImageSet
from edgevision.models.lenet import VARIANTS, Model
from edgevision.training.classification import Classification
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recipe import Recipe, recipe_of
from edgevision.training.step import Step
from edgevision.training.watch import machine


def machine_figures() -> dict[str, str]:
    """What computes here, and how fast."""
    x = mx.random.normal((1024, 1024))
    mx.eval(x)
    per_product = seconds(lambda: mx.eval(x @ x))
    status = {key: str(value) for key, value in blas.status().as_dict().items()}
    return {
        "machine": machine(),
        "1024^3 float32 product": f"{2 * 1024**3 / per_product / 1e9:.0f} GFLOP/s",
        **status,
    }


def lenet_figures(folder: Path) -> dict[str, str]:
    """A training step, exports, and one picture in each form."""
    model = Model(VARIANTS["modern"])
    mx.eval(model.parameters())
    step, recipe = _training_step(model)
    with blas.threads(recipe.blas_threads), kept_memory():
        rows = {f"training step, batch {recipe.batch_size}": f"{1000 * seconds(step):.1f} ms"}
    model.eval()
    spec, image = cv.Spec(("batch", 28, 28, 1)), cv.Image(size=(28, 28), color="grey")
    black = np.zeros((1, 28, 28, 1), np.float32)
    targets = {"lenet.onnx": spec, "lenet.mlpackage": image}
    for name, given in targets.items():
        path = folder / name

        def export(path: Path = path, given: Any = given) -> None:
            cv.convert(cv.capture(model, {"image": given}, ["logits"]), path, labels=CLASSES["digits"])

        export()
        rows[f"export to {path.suffix}"] = f"{seconds(export, repeat=5, warm_up=0):.3f} s"
        operations = next(iter(cv.inspect(path)["functions"].values()))["operations"]
        rows[f"operations in {path.suffix}"] = str(sum(operations.values()))
        loaded = cv.load(path)
        rows[f"one picture, {loaded.runtime}"] = f"{1000 * seconds(lambda m=loaded: m(image=black)):.3f} ms"
    picture = mx.zeros((1, 28, 28, 1))
    rows["one picture, MLX"] = f"{1000 * seconds(lambda: mx.eval(model(picture))):.3f} ms"
    return rows


def _training_step(model: nn.Module) -> tuple[Callable[[], None], Recipe]:
    random = np.random.default_rng(0)
    data = ImageSet(
        random.integers(0, 255, (640, 28, 28, 1)).astype(np.uint8),
        random.integers(0, 10, 640).astype(np.int32),
        CLASSES["digits"],
    )
    recipe = replace(recipe_of("lenet", "modern"), batch_size=64)
    task, optimizer = Classification(data, data, recipe), build_optimizer(recipe, 1000)
    optimizer.init(model.trainable_parameters())
    step = Step(model, optimizer, task.loss, recipe)
    batch = [mx.array(array) for array in task.at(0)]
    return lambda: mx.eval(*step(*batch), model.state, optimizer.state), recipe

"""A step of training beside PyTorch's on the same machine: the same network, weights, batch and optimizer.

Ours is the step of `edgevision train` as the model's recipe has it, apart from the changes of pictures, with
AdamW; PyTorch's is the usual eager one. Both begin with the same weights, and their losses are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch
from mlx.utils import tree_flatten
from torch.nn.functional import cross_entropy

from edgevision import blas, models
from edgevision.allocator import kept_memory
from edgevision.benchmark import torch_networks
from edgevision.benchmark.timing import in_turns
from edgevision.data import ImageSet
from edgevision.training.classification import Classification
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recipe import Recipe, recipe_of
from edgevision.training.step import Step

CLASSES = 10
NO_CHANGES: dict[str, Any] = {"turn": 0.0, "stretch": 0.0, "shift": 0.0, "crop": 0, "flip": False}
NAMES = {"patches.": "patch.", "positions": "position", "layers.": "blocks.", "attention.out": "projection"}


@dataclass(frozen=True)
class Case:
    """A network in both frameworks, the pictures of a batch, how many rounds are timed, and the mean and
    deviation by which ours normalizes pixels."""

    model: str
    variant: str
    shape: tuple[int, int, int]
    batch: int
    other: Callable[[], torch.nn.Module]
    rounds: int
    pixels: tuple[float, float] = (0.0, 1.0)


CASES = {
    "LeNet, 64 digits": Case("lenet", "modern", (28, 28, 1), 64, torch_networks.LeNet, 40),
    "CNN, 128 photographs of 32 px": Case("cnn", "small", (32, 32, 3), 128, torch_networks.CNN, 12),
    "ViT-Ti/16, 8 photographs of 224 px": Case(
        "vit", "Ti", (224, 224, 3), 8, lambda: torch_networks.ViT(classes=CLASSES), 12, (0.5, 0.5)
    ),
}


def compared(case: Case) -> dict[str, str]:
    """The figures of one network."""
    recipe = recipe_for(case)
    ours, theirs = steps(case, recipe)
    with blas.threads(recipe.blas_threads), kept_memory():
        own, torchs = [(ours(), theirs()) for _ in range(2)][-1]  # the second step sees what the first did
        (mine, ratio), (other, _) = in_turns([ours, theirs], case.rounds)
    return {
        "training step": f"{1000 * mine:.1f} ms, PyTorch {1000 * other:.1f} ms: {ratio:.2f}x",
        "loss of the second step": f"{own:.4f}, PyTorch {torchs:.4f}",
    }


def recipe_for(case: Case) -> Recipe:
    """The recipe of the model, with what both frameworks do."""
    recipe = recipe_of(case.model, case.variant)
    return replace(recipe, batch_size=case.batch, optimizer="adamw", **NO_CHANGES)


def steps(case: Case, recipe: Recipe) -> tuple[Callable[[], float], Callable[[], float]]:
    """What makes a step and gives its loss, in MLX and in PyTorch."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (case.batch, *case.shape)).astype(np.uint8)
    labels = random.integers(0, CLASSES, case.batch).astype(np.int32)
    model, ours = _ours(case, recipe, images, labels)
    other = torch_networks.with_weights(case.other(), _renamed(model))
    return ours, _theirs(other, recipe, images, labels, *case.pixels)


def _ours(
    case: Case, recipe: Recipe, images: np.ndarray, labels: np.ndarray
) -> tuple[nn.Module, Callable[[], float]]:
    """The model, and what makes a step and gives its loss."""
    mx.random.seed(0)
    module = models.find(case.model)
    model = module.Model(replace(module.VARIANTS[case.variant], classes=CLASSES))
    mx.eval(model.parameters())
    data = ImageSet(images, labels, tuple(map(str, range(CLASSES))))
    task, optimizer = Classification(data, data, recipe), build_optimizer(recipe, 1000, model)
    optimizer.init(model.trainable_parameters())
    step = Step(model, optimizer, task.loss, recipe)

    def run() -> float:
        loss, _ = step(mx.array(images), mx.array(labels))
        mx.eval(loss, model.state, optimizer.state)
        return float(np.array(loss))

    return model, run


def _theirs(
    other: torch.nn.Module, recipe: Recipe, images: np.ndarray, labels: np.ndarray, mean: float, std: float
) -> Callable[[], float]:
    """The same step in PyTorch."""
    other.train()
    matrices = [weight for weight in other.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in other.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors}]
    optimizer = torch.optim.AdamW(groups, recipe.learning_rate / 20, recipe.betas, weight_decay=0.0)
    pictures = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    wanted = torch.from_numpy(labels.astype(np.int64))

    def run() -> float:
        logits = other((pictures / 255 - mean) / std)
        loss = cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def _renamed(model: nn.Module) -> dict[str, mx.array]:
    """The weights under the names of `torch_networks`, whose ViT computes q, k and v as one product."""
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    result: dict[str, mx.array] = {}
    for name, array in weights.items():
        if ".attention.query." in name:
            parts = [weights[name.replace("query", part)] for part in ("query", "key", "value")]
            name, array = name.replace("attention.query", "qkv"), mx.concatenate(parts)
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        result[name] = array
    return result


__all__ = ["CASES", "Case", "compared", "recipe_for", "steps"]

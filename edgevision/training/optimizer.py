"""The optimizer of a recipe, and how its learning rate rises and falls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim

from edgevision.training.recipe import Recipe

Filter = Callable[[str, mx.array], bool]


def build_optimizer(recipe: Recipe, steps: int) -> optim.Optimizer:
    """Matrices and kernels with weight decay, vectors without; for Muon those inside blocks by themselves."""
    rate = schedule(recipe.learning_rate, recipe, steps)

    def general(decay: float) -> optim.Optimizer:
        match recipe.optimizer:
            case "lion":
                return optim.Lion(rate, weight_decay=decay)
            case "sgd":
                return optim.SGD(rate, momentum=0.9, weight_decay=decay, nesterov=True)
        return optim.AdamW(rate, betas=list(recipe.betas), weight_decay=decay, bias_correction=True)

    kinds: list[optim.Optimizer] = [general(recipe.weight_decay), general(0.0)]
    filters: list[Filter] = [_is_matrix]
    if recipe.optimizer == "muon":
        muon = Muon(schedule(recipe.muon_rate, recipe, steps), weight_decay=recipe.weight_decay)
        kinds, filters = [muon, *kinds], [_is_inside, *filters]
    return optim.MultiOptimizer(kinds, filters)


class Muon(optim.Muon):
    """With decoupled weight decay; MLX's adds it to the gradient, whose length Muon then throws away."""

    def __init__(self, learning_rate: Any, weight_decay: float):
        super().__init__(learning_rate, weight_decay=0.0)
        self.decay = weight_decay

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        """The parameter made a little smaller, then moved."""
        kept = 1 - self.learning_rate.astype(parameter.dtype) * self.decay
        return super().apply_single(gradient, parameter * kept, state)


def schedule(high: float, recipe: Recipe, steps: int) -> Any:
    """Linear rise from a twentieth, then a cosine down to the floor."""
    rise = max(1, round(recipe.warmup * steps))
    fall = optim.cosine_decay(high, max(1, steps - rise), high * recipe.floor)
    return optim.join_schedules([optim.linear_schedule(high / 20, high, rise), fall], [rise])


def _is_matrix(name: str, weight: mx.array) -> bool:
    return weight.ndim >= 2


def _is_inside(name: str, weight: mx.array) -> bool:
    """A matrix or kernel of a numbered block; not the first and last layers, whose rows are no features."""
    return weight.ndim in (2, 4) and any(part.isdigit() for part in name.split("."))


__all__ = ["build_optimizer", "schedule"]

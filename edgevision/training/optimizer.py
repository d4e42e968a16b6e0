"""The optimizer of a recipe, and how its learning rate rises and falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from edgevision.training.recipe import Recipe

Filter = Callable[[str, mx.array], bool]


def build_optimizer(recipe: Recipe, steps: int, model: nn.Module | None = None) -> optim.Optimizer:
    """Matrices and kernels with weight decay, vectors without; for Muon those inside blocks by themselves.

    Args:
        model: whose blocks the recipe's layer decay counts; without one it is left out.
    """
    blocks = 0 if model is None else _blocks_of(model)
    if recipe.layer_decay == 1.0 or not blocks:
        return optim.MultiOptimizer(*_kinds(recipe, steps))
    kinds: list[optim.Optimizer] = []
    filters: list[Filter] = []
    for depth in range(blocks + 2):
        share = recipe.layer_decay ** (blocks + 1 - depth)
        rates = {name: share * getattr(recipe, name) for name in ("learning_rate", "muon_rate")}
        own, chosen = _kinds(replace(recipe, **rates), steps)
        kinds += own
        filters += [_at_depth(depth, blocks, choose) for choose in (*chosen, lambda name, weight: True)]
    return optim.MultiOptimizer(kinds, filters[:-1])


def _blocks_of(model: nn.Module) -> int:
    """How many blocks a model has, 0 where it has none."""
    lists = [child for child in model.children().values() if isinstance(child, list)]
    return max(map(len, lists), default=0)


def _at_depth(depth: int, blocks: int, choose: Filter) -> Filter:
    return lambda name, weight: depth_of(name, blocks) == depth and choose(name, weight)


def depth_of(name: str, blocks: int) -> int:
    """How far from the picture a parameter is: 0 before the blocks, 1 to `blocks` in them, one more after."""
    first, *rest = name.split(".")
    if rest and rest[0].isdecimal():
        return 1 + int(rest[0])
    return blocks + 1 if first in ("head", "norm") else 0


def _kinds(recipe: Recipe, steps: int) -> tuple[list[optim.Optimizer], list[Filter]]:
    """The optimizers, and which weights each but the last gets."""
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
    return kinds, filters


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


__all__ = ["build_optimizer", "depth_of", "schedule"]

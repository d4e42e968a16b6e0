"""The batch size that trains fastest on this machine, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn

from edgevision import blas
from edgevision.console import console
from edgevision.training import memory
from edgevision.training.group import Group
from edgevision.training.loop import Task
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recipe import Recipe
from edgevision.training.step import Step

Kind = TypeVar("Kind", bound=Recipe)


def with_best_batch(
    recipe: Kind, model: nn.Module, task: Callable[[Kind], Task], most: int, limit: int | None
) -> Kind:
    """The recipe with the fastest batch that fits, the same in all processes.

    Args:
        model: is trained by the trials, and is to be thrown away.
        task: of a recipe with another batch size.
        most: larger batches are not tried. limit: bytes that arrays may take, None for most of the memory.
    """

    def trial(size: int) -> Any:
        own = replace(recipe, batch_size=size)
        tried, optimizer = task(own), build_optimizer(own, 1000, model)
        optimizer.init(model.trainable_parameters())
        step, batch = Step(model, optimizer, tried.loss, own), [mx.array(array) for array in tried.at(0)]
        return lambda: mx.eval(step(*batch), model.state, optimizer.state)

    with blas.threads(recipe.blas_threads):
        size = memory.best_batch_size(trial, most, limit)
    size = int(Group().shared({"size": mx.array(size)})["size"])
    console.print(f"batch size {size}: the fastest that fits")
    return replace(recipe, batch_size=size)


__all__ = ["with_best_batch"]

"""One update of the weights, compiled: the loss and its gradients, in parts where the recipe says so, then
the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map

from edgevision.training.group import Group
from edgevision.training.recipe import Recipe

Measured = tuple[mx.array, mx.array]  # mean loss, and how many answers were right
Loss = Callable[..., Measured]  # of the model on one batch, traced


class Step:
    """`step(*batch)` updates model, optimizer and average, and gives (mean loss, right answers)."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        loss: Loss,
        recipe: Recipe,
        group: Group | None = None,
    ):
        self.model, self.optimizer, self.recipe = model, optimizer, recipe
        self._group = group or Group()
        self._loss = loss
        self._average: dict[str, Any] = {}
        if recipe.average is not None:
            self._average = {"weights": tree_map(mx.array, model.parameters()), "steps": mx.array(0.0)}
        on_cpu = mx.default_device() == mx.Device(mx.cpu)
        self._parts = recipe.side_by_side if on_cpu else 1
        self._streams = [mx.default_stream(mx.default_device())]
        self._streams += [mx.new_stream(mx.cpu) for _ in range(self._parts - 1)]
        self._compile()
        model.train()

    def _compile(self) -> None:
        changed = [self.model.state, self.optimizer.state, mx.random.state, self._average]
        compiled = partial(mx.compile, inputs=changed, outputs=changed)
        self._whole = compiled(self._update_from_batch)
        self._gradients, self._update = compiled(self._part_gradients), compiled(self._apply)

    def __call__(self, *batch: mx.array) -> Measured:
        count = self.recipe.accumulate
        if count == 1:
            return self._whole(*batch)
        loss, hits, gradients = mx.array(0.0), mx.array(0), None
        for index in range(min(count, len(batch[0]))):
            part = [array[index::count] for array in batch]
            share = len(part[0]) / len(batch[0])
            (value, right), found = self._gradients(*part)
            found = tree_map(lambda g, share=share: g * share, found)
            gradients = found if gradients is None else tree_map(mx.add, gradients, found)
            loss, hits = loss + value * share, hits + right
            mx.eval(gradients, loss, hits)  # so that the parts do not lie in memory together
        self._update(gradients)
        return self._over_all(loss, hits)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights, where there are such."""
        newest = tree_map(lambda array: array, self.model.parameters())
        self.keep_average()
        try:
            yield
        finally:
            self.model.update(newest)

    def keep_average(self) -> None:
        """Make the averaged weights the model's, where there are such."""
        if self._average:
            self.model.update(self._average["weights"])

    def state(self) -> dict[str, Any]:
        """Every array that the next step depends on."""
        (key,) = mx.random.state  # type: ignore[misc]
        tree = {"model": self.model.parameters(), "optimizer": self.optimizer.state, "random": key}
        return tree | ({"average": dict(self._average)} if self._average else {})

    def restore(self, tree: dict[str, Any]) -> None:
        """Put back what `state` gave."""
        self.model.update(tree["model"])
        self.optimizer.state = tree["optimizer"]
        self._average.update(tree.get("average", {}))
        high, low = (int(half) for half in np.array(tree["random"]))
        mx.random.seed((high << 32) | low)  # assigning to mx.random.state does nothing
        mx.eval(self.model.parameters(), self.optimizer.state)
        self._compile()

    def _update_from_batch(self, *batch: mx.array) -> Measured:
        (loss, hits), gradients = self._part_gradients(*batch)
        self._apply(gradients)
        return self._over_all(loss, hits)

    def _over_all(self, loss: mx.array, hits: mx.array) -> Measured:
        return self._group.mean({"loss": loss})["loss"], self._group.total(hits)

    def _part_gradients(self, *batch: mx.array) -> tuple[Measured, Any]:
        """Of one batch, computed side by side on several streams where there are some."""
        if len(self._streams) == 1 or len(batch[0]) < len(self._streams):
            return self._differentiate(*batch)
        found = []
        for index, stream in enumerate(self._streams):
            with mx.stream(stream):
                found.append(self._differentiate(*(array[index :: self._parts] for array in batch)))
        shares = [len(batch[0][index :: self._parts]) / len(batch[0]) for index in range(self._parts)]

        def mean(*arrays: mx.array) -> mx.array:
            return sum((array * share for array, share in zip(arrays, shares, strict=True)), mx.array(0.0))

        losses, hits = zip(*(measured for measured, _ in found), strict=True)
        return (mean(*losses), mx.sum(mx.stack(list(hits)))), tree_map(
            mean, *(gradients for _, gradients in found)
        )

    def _differentiate(self, *batch: mx.array) -> tuple[Measured, Any]:
        """With arithmetic in the recipe's precision, and gradients in float32."""
        model, weights = self.model, self.model.trainable_parameters()
        if self.recipe.precision == "float32":
            return nn.value_and_grad(model, lambda *batch: self._loss(model, *batch))(*batch)

        def loss(weights: Any, *batch: mx.array) -> Measured:
            model.update(tree_map(lambda weight: weight.astype(mx.bfloat16), weights))
            return self._loss(model, *batch)

        result = mx.value_and_grad(loss)(weights, *batch)
        model.update(weights)
        return result

    def _apply(self, gradients: Any) -> None:
        recipe = self.recipe
        gradients = self._group.mean(gradients)
        if recipe.clip is not None:
            gradients, _ = optim.clip_grad_norm(gradients, recipe.clip)
        self.optimizer.update(self.model, gradients)
        if recipe.average is not None:
            steps = self._average["steps"] + 1
            kept = mx.minimum(recipe.average, (1 + steps) / (10 + steps))  # the first weights are forgotten
            weights = tree_map(
                lambda old, new: kept * old + (1 - kept) * new,
                self._average["weights"],
                self.model.parameters(),
            )
            self._average.update(weights=weights, steps=steps)


__all__ = ["Loss", "Measured", "Step"]

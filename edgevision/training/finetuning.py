"""Fine-tuning: a trained model goes on with other classes, other pictures, and as few weights as are wanted.

    all       every weight learns
    head      only the new head: a linear probe of what the model knows
    last:N    the head, the norm before it and the last N blocks
    lora:R    the head, and products of two matrices of rank R that are added to the linear layers of the
              blocks ("LoRA", Hu et al., 2021); they are added into the layers' own matrices in the end

A model takes part whose file names its `HEAD` and its `BLOCKS` and has `refitted`, which fits weights to
another size, number of channels and number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from edgevision import models, runs
from edgevision.errors import UsageError, UserError
from edgevision.training.recipe import Recipe

KINDS = ("all", "head", "last", "lora")
LORA_SCALE = 2.0  # of what is added: alpha / rank, as is usual


@dataclass(frozen=True)
class Tuning:
    """Which weights learn: one of KINDS, and N or R of the last two."""

    kind: str = "all"
    count: int = 0


def parse(text: str) -> Tuning:
    """ "all", "head", "last:2" or "lora:8".

    Raises:
        UsageError: it is none of these.
    """
    kind, _, number = text.partition(":")
    counted = kind in ("last", "lora")
    if kind not in KINDS or counted != (number.isdecimal() and int(number) > 0) or (number and not counted):
        raise UsageError(f"tuning {text!r} is unknown", hint="choose all, head, last:N or lora:R")
    return Tuning(kind, int(number or 0))


def begun_with(
    model: str, variant: str, classes: int, shape: Sequence[int], recipe: Recipe
) -> tuple[nn.Module, dict[str, Any]]:
    """The model that a training begins with, and its configuration: a new one, or where the recipe names a
    `start` that one, with a new head where the classes are others; what shall not learn is frozen.

    Raises:
        UsageError: the recipe asks for what the model has not.
        UserError: the start is not there, or is another model.
    """
    tuning = parse(recipe.tune)
    if recipe.start is None:
        if tuning.kind != "all":
            raise UsageError(
                f"only a trained model can be tuned by {recipe.tune!r}", hint="say which, --from"
            )
        return runs.build(model, variant, classes, shape)
    module = _tunable(model)
    weights, before, _ = _start(model, module, Path(recipe.start))
    given = {"classes": classes, "channels": shape[2], "image_size": shape[0]}
    own = {field.name for field in fields(before)}
    after = replace(before, **{name: value for name, value in given.items() if name in own})
    network = module.Model(after)
    network.load_weights(list(module.refitted(weights, before, after).items()), strict=False)
    _restrict(network, module, tuning)
    return network, asdict(after)


def kind_of_start(model: str, start: str) -> tuple[str, int | None]:
    """The variant that the model at `start` is one of, or most like, and the side of its pictures.

    Raises:
        UserError: it is not there, or is another model.
    """
    module = _tunable(model)
    _, config, variant = _start(model, module, Path(start))
    return variant, getattr(config, "image_size", None)


def merged(network: nn.Module) -> nn.Module:
    """The model with what LoRA added inside its matrices, and no layer of LoRA left; changed in place."""
    plain = [(name, layer.merged()) for name, layer in network.named_modules() if isinstance(layer, LowRank)]
    if plain:
        network.update_modules(tree_unflatten(plain))
    return network


class LowRank(nn.Module):
    """A linear layer W that stays, plus a product of two that learn: x W^T + b + 2 (x A^T) B^T."""

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__()
        outputs, inputs = linear.weight.shape
        self.linear = linear
        self.a = mx.random.normal((rank, inputs), scale=inputs**-0.5)
        self.b = mx.zeros((outputs, rank))  # so that nothing is added at first

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear(x) + LORA_SCALE * ((x @ self.a.T) @ self.b.T)

    def merged(self) -> nn.Linear:
        """One layer that computes the same."""
        plain = nn.Linear(*reversed(self.linear.weight.shape), bias="bias" in self.linear)
        plain.update(self.linear.parameters())
        plain.weight = plain.weight + LORA_SCALE * (self.b @ self.a)
        return plain


class Unmoved(nn.BatchNorm):
    """Batch normalization that keeps to the means and variances that it learnt before."""

    def _set_training_mode(self, mode: bool) -> None:
        super()._set_training_mode(False)


def _tunable(model: str) -> ModuleType:
    module = models.find(model)
    if not hasattr(module, "refitted"):
        able = ", ".join(name for name in models.MODELS if hasattr(models.find(name), "refitted"))
        raise UsageError(f"{model} cannot begin with a trained model", hint=f"choose from {able}")
    return module


def _start(model: str, module: ModuleType, path: Path) -> tuple[dict[str, mx.array], Any, str]:
    """Weights, configuration and variant of the model that is there."""
    if (path / "weights.safetensors").is_file() or not hasattr(module.Model, "from_pretrained"):
        run = runs.load(path)
        if run.config["model"] != model:
            raise UserError(f"{path} is a run of {run.config['model']}, not of {model}")
        network, config, variant = run.model, module.Config(**run.config["config"]), run.config["variant"]
    else:
        network = module.Model.from_pretrained(path)
        config = network.config
        alike = (name for name, other in module.VARIANTS.items() if _sizes(other) == _sizes(config))
        variant = next(alike, models.variant(model))
    return dict(tree_flatten(network.parameters())), config, variant


def _sizes(config: Any) -> tuple[Any, ...]:
    return tuple(getattr(config, name, None) for name in ("width", "layers", "patch_size"))


def _restrict(network: nn.Module, module: ModuleType, tuning: Tuning) -> None:
    """Freeze what shall not learn, and add what LoRA learns."""
    if tuning.kind == "all":
        return
    blocks: list[nn.Module] = network[module.BLOCKS]
    if tuning.kind == "last" and tuning.count > len(blocks):
        raise UsageError(f"the model has {len(blocks)} blocks, not {tuning.count}")
    if tuning.kind == "lora":
        places = [
            (f"{module.BLOCKS}.{index}.{name}", LowRank(layer, tuning.count))
            for index, block in enumerate(blocks)
            for name, layer in block.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        if not places:
            raise UsageError("the blocks of the model have no linear layers", hint="choose head or last:N")
        network.update_modules(tree_unflatten(places))
    network.freeze()
    network[module.HEAD].unfreeze()
    for block in blocks[len(blocks) - tuning.count :] if tuning.kind == "last" else []:
        block.unfreeze()
    if tuning.kind == "last" and "norm" in network:
        network["norm"].unfreeze()
    for layer in network.modules():
        if isinstance(layer, LowRank):
            layer.unfreeze(recurse=False)
        elif isinstance(layer, nn.BatchNorm) and "weight" not in layer.trainable_parameters():
            layer.__class__ = Unmoved


__all__ = ["LowRank", "Tuning", "begun_with", "kind_of_start", "merged", "parse"]

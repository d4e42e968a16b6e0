"""Run folders: a trained model with what is needed to use it, to go on, and to see how it came about.

config.json            format, model, variant, its configuration, data set, labels, recipe, result
weights.safetensors    the parameters by their paths
labels.json            class names
metrics.jsonl curve.png checkpoints/
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from converters.errors import OutputExists
from converters.storage import claim, foreign_files, recover, replacing_file
from edgevision import models
from edgevision.errors import UserError

FORMAT = 1
FILES = ("config.json", "weights.safetensors", "labels.json", "metrics.jsonl", "curve.png", "report.html")


@dataclass(frozen=True)
class Run:
    """A loaded run: `model` is in evaluation mode, `config` the content of config.json."""

    path: Path
    config: dict[str, Any]
    model: nn.Module
    labels: tuple[str, ...]


def is_run(path: Path) -> bool:
    """Whether the folder holds a run."""
    return (path / "config.json").is_file()


def build(model: str, variant: str) -> tuple[nn.Module, dict[str, Any]]:
    """A new model and its configuration as plain values."""
    module = models.find(model)
    config = module.VARIANTS[models.variant(model, variant)]
    return module.Model(config), asdict(config)


def prepare(path: Path, force: bool, resume: bool) -> None:
    """Make the folder ours, or refuse.

    Raises:
        OutputExists: it is there and neither `force` nor `resume` was given, or it is not a run of ours.
    """
    if path.exists() and not resume:
        if not force:
            raise OutputExists(
                f"{path} is there already", hint="--force replaces it, --resume goes on with it"
            )
        foreign = foreign_files(path)
        if foreign is None:
            raise OutputExists(f"{path} was not written by edgevision", hint="choose another folder")
        for name in FILES:
            (path / name).unlink(missing_ok=True)
        pointer = path / "checkpoints" / "latest"
        pointer.unlink(missing_ok=True)
    claim(path, FILES)


def save(path: Path, model: nn.Module, config: dict[str, Any], labels: tuple[str, ...]) -> None:
    """Write weights, labels and, last, config.json, which makes the folder a run."""
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    with replacing_file(path / "weights.safetensors") as new:
        mx.save_safetensors(str(new), weights)
    with replacing_file(path / "labels.json") as new:
        new.write_text(json.dumps(list(labels)))
    with replacing_file(path / "config.json") as new:
        new.write_text(json.dumps({"format": FORMAT, **config, "labels": list(labels)}, indent=1))


def load(path: Path) -> Run:
    """The run in a folder.

    Raises:
        UserError: a file is missing or damaged, or weights are missing, unexpected or of another shape.
    """
    recover(path)
    try:
        config = json.loads((path / "config.json").read_text())
        model, variant, labels = config["model"], config["variant"], tuple(config["labels"])
    except FileNotFoundError as error:
        raise UserError(
            f"{path} holds no run: config.json is missing", hint="train one: edgevision train lenet"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / 'config.json'} is damaged: {error}") from error
    if config.get("format") != FORMAT:
        raise UserError(f"{path} is of format {config.get('format')}, this version reads {FORMAT}")
    network, _ = build(model, variant)
    weights = read_weights(path / "weights.safetensors")
    check_weights(network, weights, path)
    network.load_weights(list(weights.items()))
    network.eval()
    mx.eval(network.state)
    return Run(path, config, network, labels)


def read_weights(path: Path) -> dict[str, mx.array]:
    """The arrays of a safetensors file; UserError where it is missing or damaged."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        arrays: Any = mx.load(str(path))
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return arrays


def check_weights(model: nn.Module, weights: dict[str, mx.array], path: Path) -> None:
    """UserError that names the first missing, unexpected, misshapen or not finite weights."""
    wanted: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    missing, extra = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    told = [f"missing {_first(missing)}"] if missing else []
    told += [f"unexpected {_first(extra)}"] if extra else []
    for name in sorted(set(wanted) & set(weights)):
        if weights[name].shape != wanted[name].shape:
            told.append(f"{name} is {weights[name].shape}, expected {wanted[name].shape}")
        elif not mx.all(mx.isfinite(weights[name])).item():
            told.append(f"{name} holds values that are no numbers")
    if told:
        raise UserError(f"the weights in {path} do not fit: {'; '.join(told[:10])}")


def _first(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")

"""Run folders: a trained model with what is needed to use it, to go on, and to see how it came about.

config.json            format, model, variant, its configuration, data set, labels, recipe, result, machine
weights.safetensors    the parameters by their paths
labels.json            class names
model.safetensors tokenizer.json tokenizer_config.json generation_config.json
                       of a language model, in place of the two above: see edgevision.pretrained
metrics.jsonl curve.png
training.json          what was asked for, from the first step on
checkpoints/           see edgevision.training.checkpoints
replacement/           the same files of a training that will replace this run when it is finished

A folder is a run once it has config.json, which is written last. A finished run stays as it is until the
training that replaces it is finished too; then the two are exchanged in one step.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from converters import ownership
from converters.errors import OutputExists
from converters.storage import claim, foreign_files, recover, replacing_file, replacing_folder
from edgevision import models
from edgevision.errors import UsageError, UserError

FORMAT = 1
FILES = (
    "config.json",
    "weights.safetensors",
    "labels.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "metrics.jsonl",
    "curve.png",
    "report.html",
    "training.json",
    "checkpoints/latest",
    "checkpoints/best.safetensors",
    "tensorboard/events.out.tfevents.edgevision",
)
REPLACEMENT = "replacement"


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


def build(
    model: str, variant: str, classes: int = 10, shape: Sequence[int] = (28, 28, 1)
) -> tuple[nn.Module, dict[str, Any]]:
    """A new model for pictures of `shape` (H, W, C), and its configuration as plain values."""
    module = models.find(model)
    config = module.VARIANTS[models.variant(model, variant)]
    given = {"classes": classes, "channels": shape[2], "image_size": shape[0]}
    own = {field.name for field in fields(config)}
    config = replace(config, **{name: value for name, value in given.items() if name in own})
    return module.Model(config), asdict(config)


def picture_shape(model: str, variant: str, side: int | None = None) -> tuple[int, int, int]:
    """(H, W, C) of the pictures that a model takes: of `side` pixels, by default of the variant's own size.

    Raises:
        UsageError: the model has a fixed size.
    """
    config = models.find(model).VARIANTS[models.variant(model, variant)]
    own = {field.name for field in fields(config)}
    if "channels" not in own:
        if side not in (None, 28):
            raise UsageError(
                f"{model} takes pictures of 28 x 28, not of {side}", hint="leave --image-size out"
            )
        return 28, 28, 1
    pixels: int = side or getattr(config, "image_size", 64)
    return pixels, pixels, 3


def live_folder(path: Path) -> Path:
    """Where the state of the newest training of the run `path` is: its replacement's, or its own."""
    return path / REPLACEMENT if (path / REPLACEMENT).is_dir() else path


def check_place(path: Path, force: bool, resume: bool) -> None:
    """Whether `training_folder` would refuse `path`, without making anything; raises what it would raise."""
    if force and resume:
        raise UsageError("--force and --resume exclude each other")
    recover(path)
    used = os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))
    if not used:
        return
    if not (force or resume):
        raise OutputExists(f"{path} is there already", hint="--force replaces it, --resume goes on with it")
    if foreign_files(path) is None:
        raise OutputExists(f"{path} was not written by edgevision", hint="choose another folder")


@contextmanager
def training_folder(path: Path, force: bool = False, resume: bool = False) -> Iterator[Path]:
    """Yield the folder that a training of the run `path` may write to; no other training gets it meanwhile.

    It is `path` itself, or a folder inside it where `path` holds a finished run. `force` empties it.

    Raises:
        OutputExists: `path` holds something, and neither `force` nor `resume` was given, or it is not ours.
        UserError: another process trains there.
    """
    check_place(path, force, resume)
    claim(path, FILES)
    with _locked(path):
        _mend(path)
        foreign = foreign_files(path) or []
        links = [name for name in foreign if (path / name).is_symlink()]
        if foreign and (force or links):
            raise OutputExists(
                f"{path} holds {foreign[0]!r}, which edgevision did not write", hint="move it away"
            )
        live = path / REPLACEMENT if force and is_run(path) else live_folder(path)
        if force:
            _clear(live)
        claim(live, FILES)
        yield live


def publish(path: Path, live: Path, write: Callable[[Path], None]) -> None:
    """Make what was trained in `live` the run `path`: completely, or not at all. `write` puts the model and,
    last, config.json into a folder."""
    if live == path:
        write(path)
        return
    with replacing_folder(path) as new:
        shutil.copytree(live, new, dirs_exist_ok=True)
        write(new)


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
    config = read_config(path)
    try:
        if config["format"] != FORMAT:
            raise UserError(f"{path} is of format {config['format']}, this version reads {FORMAT}")
        module = models.find(config["model"])
        settings = module.Config(**config["config"])
        network = module.Model(settings)
        labels = tuple(str(label) for label in config["labels"])
        if len(labels) != settings.classes:
            raise ValueError(f"{len(labels)} labels for {settings.classes} classes")
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path / 'config.json'} is damaged: {error}", hint="train the run anew") from error
    weights = module.sanitize(read_weights(path / "weights.safetensors"))
    check_weights(network, weights, path)
    network.load_weights(list(weights.items()))
    network.eval()
    mx.eval(network.state)
    return Run(path, config, network, labels)


def read_config(path: Path) -> dict[str, Any]:
    """The content of config.json of the run `path`; UserError where it is missing or damaged."""
    try:
        config = json.loads((path / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path} holds no trained model", hint=_how_to_train(path)) from error
    except ValueError as error:
        raise UserError(f"{path / 'config.json'} is damaged: {error}", hint="train the run anew") from error
    if not isinstance(config, dict):
        raise UserError(f"{path / 'config.json'} is damaged: it holds no object", hint="train the run anew")
    return config


def read_weights(path: Path) -> dict[str, mx.array]:
    """The arrays of a safetensors file; UserError where it is missing or damaged."""
    if not path.is_file():
        raise UserError(f"{path} is missing", hint="train the run anew")
    try:
        arrays: Any = mx.load(str(path))
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="train the run anew") from error
    return arrays


def check_weights(model: nn.Module, weights: dict[str, mx.array], path: Path) -> None:
    """UserError that names the first missing, unexpected, misshapen or not finite weights."""
    wanted: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    told = names_that_differ(wanted, weights)
    for name in sorted(set(wanted) & set(weights)):
        if weights[name].shape != wanted[name].shape:
            told.append(f"{name} has the shape {weights[name].shape}, expected {wanted[name].shape}")
        elif weights[name].dtype != wanted[name].dtype:
            told.append(f"{name} is {weights[name].dtype}, expected {wanted[name].dtype}")
        elif not mx.all(mx.isfinite(weights[name])).item():
            told.append(f"{name} holds values that are no numbers")
    if told:
        raise UserError(f"the weights in {path} do not fit: {'; '.join(told[:10])}")


def names_that_differ(wanted: Iterable[str], found: Iterable[str]) -> list[str]:
    """What is told about names: the first ten that are missing, and that are unexpected."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    told = [f"missing {_first(missing)}"] if missing else []
    return told + ([f"unexpected {_first(extra)}"] if extra else [])


def _first(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _how_to_train(path: Path) -> str:
    unfinished = (path / "training.json").is_file()
    return "its training is not finished: go on with --resume" if unfinished else "edgevision train lenet"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
            raise
        raise UserError(f"another process trains in {path}", hint="wait for it, or stop it") from error
    finally:
        os.close(folder)


def _clear(live: Path) -> None:
    """Remove what a training wrote, its pointer first; the folder stays, for its lock is in use."""
    (live / "checkpoints" / "latest").unlink(missing_ok=True)
    for checkpoint in live.glob("checkpoints/step-*"):
        ownership.remove(checkpoint)
    for name in FILES:
        (live / name).unlink(missing_ok=True)


def _mend(path: Path) -> None:
    """Finish or undo what a killed training left half-done anywhere in its folder."""
    for scratch in path.rglob(".*.replacing"):
        target = scratch.name.removeprefix(".").rsplit(".", 2)[0]
        recover(scratch.with_name(target))

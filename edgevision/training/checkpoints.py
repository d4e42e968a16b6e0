"""Checkpoints: a folder each, complete or not there, and one pointer file that names the newest.

checkpoints/step-0000640/arrays.safetensors     weights, optimizer, random state, losses not yet told
checkpoints/latest                              "step-0000640"

A checkpoint is a new folder that appears in one rename; only then the pointer is replaced, and only then the
older ones go. A process killed in between leaves the previous pointer and what it names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from converters import ownership
from converters.storage import recover, replacing_file, replacing_folder
from edgevision.errors import UserError

FOLDER = "checkpoints"
POINTER = f"{FOLDER}/latest"
ARRAYS = "arrays.safetensors"


def save(live: Path, step: int, tree: dict[str, Any]) -> None:
    """Write the arrays of `tree` as the checkpoint of `step`, make it the newest, remove the older ones.

    Raises:
        UserError: an array holds values that are no numbers; the previous checkpoint stays the newest.
    """
    name = f"step-{step:07d}"
    flat: dict[str, mx.array] = dict(tree_flatten(tree))
    check_numbers(flat, step, live)
    folder = live / FOLDER
    with replacing_folder(folder / name) as new:
        mx.save_safetensors(str(new / ARRAYS), flat)
    with replacing_file(live / POINTER) as new:
        new.write_text(name)
    for other in folder.glob("step-*"):
        if other.name != name and not other.is_symlink():
            ownership.remove(other)


def check_numbers(arrays: dict[str, mx.array], step: int, live: Path) -> None:
    """UserError where an array holds values that are no numbers; says which checkpoint of `live` is kept."""
    for name, array in arrays.items():
        if not mx.all(mx.isfinite(array)).item():
            raise UserError(
                f"{name} holds values that are no numbers at step {step}; {kept(live)}",
                hint="lower the learning rate",
            )


def kept(live: Path) -> str:
    """What a person reads about the newest checkpoint when a training ends."""
    newest = latest(live)
    return f"the checkpoint {newest.name} is kept" if newest else "there was no checkpoint yet"


def latest(live: Path) -> Path | None:
    """The folder of the newest checkpoint; None where there is none.

    Raises:
        UserError: the pointer names no checkpoint.
    """
    pointer = live / POINTER
    recover(pointer)
    if not pointer.is_file():
        return None
    name = pointer.read_text().strip()
    if not re.fullmatch(r"step-\d+", name):
        raise UserError(f"{pointer} is damaged", hint="train anew with --force")
    return live / FOLDER / name


def load(live: Path) -> tuple[int, dict[str, Any]] | None:
    """(step, tree) of the newest checkpoint, None where there is none.

    Raises:
        UserError: it is damaged.
    """
    folder = latest(live)
    if folder is None:
        return None
    try:
        arrays: Any = mx.load(str(folder / ARRAYS))
        mx.eval(arrays)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint {folder} cannot be read: {error}", hint="train anew with --force"
        ) from error
    return int(folder.name.removeprefix("step-")), tree_unflatten(list(arrays.items()))


def check(live: Path, tree: dict[str, Any], wanted: dict[str, Any]) -> None:
    """UserError where the newest checkpoint's `tree` has not the arrays that a training needs, as one that
    another version wrote may; the first ten names are listed."""
    found, needed = (dict(tree_flatten(one)) for one in (tree, wanted))
    told = [f"{name} is missing" for name in sorted(needed.keys() - found.keys())]
    told += [f"{name} is unexpected" for name in sorted(found.keys() - needed.keys())]
    told += [
        f"{name} has the shape {found[name].shape}, expected {needed[name].shape}"
        for name in sorted(found.keys() & needed.keys())
        if found[name].shape != needed[name].shape
    ]
    if told:
        more = f" and {len(told) - 10} more" if len(told) > 10 else ""
        raise UserError(
            f"the checkpoint {latest(live)} is of another version of edgevision or another model: "
            f"{', '.join(told[:10])}{more}",
            hint="go on with the version that wrote it, or train anew with --force",
        )


__all__ = ["check", "check_numbers", "kept", "latest", "load", "save"]

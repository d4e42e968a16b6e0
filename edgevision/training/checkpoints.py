"""Checkpoints: a folder each, complete or not there, and one pointer file that names the newest.

    checkpoints/step-0000640/arrays.safetensors     weights, optimizer state, random state
    checkpoints/step-0000640/state.json             step and the settings that belong to it
    checkpoints/latest                              "step-0000640"

A checkpoint is a new folder that appears in one rename; only then the pointer is replaced, and only then
older
checkpoints go. A process killed in between leaves the previous pointer and what it names.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from converters.storage import recover, replacing_file, replacing_folder
from edgevision.errors import UserError

POINTER = "latest"


def save(folder: Path, step: int, tree: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the arrays of `tree` as the checkpoint of `step`, make it the newest, remove the older ones."""
    name = f"step-{step:07d}"
    flat: dict[str, mx.array] = dict(tree_flatten(tree))
    with replacing_folder(folder / name) as new:
        mx.save_safetensors(str(new / "arrays.safetensors"), flat)
        (new / "state.json").write_text(json.dumps({"step": step, "settings": settings}))
    with replacing_file(folder / POINTER) as new:
        new.write_text(name)
    for other in folder.glob("step-*"):
        if other.name != name:
            shutil.rmtree(other)


def load(folder: Path, settings: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """(step, tree) of the newest checkpoint, or None where there is none.

    Raises:
        UserError: it is damaged, or belongs to other settings; the message names those that differ.
    """
    recover(folder / POINTER)
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    place = folder / Path(pointer.read_text().strip()).name
    try:
        state = json.loads((place / "state.json").read_text())
        arrays: Any = mx.load(str(place / "arrays.safetensors"))
        mx.eval(arrays)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint {place} cannot be read: {error}", hint="train anew with --force"
        ) from error
    before = state["settings"]
    differing = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
    if differing:
        told = ", ".join(f"{key} was {before.get(key)}, is {settings.get(key)}" for key in differing)
        raise UserError(f"the checkpoint in {folder.parent} belongs to another training: {told}")
    return state["step"], tree_unflatten(list(arrays.items()))

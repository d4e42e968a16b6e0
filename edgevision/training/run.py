"""From names to a run folder: data, model, training, and what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx

from converters.storage import replacing_file
from edgevision import blas, runs
from edgevision.console import console
from edgevision.data import load
from edgevision.errors import UserError
from edgevision.training.classification import train
from edgevision.training.recipe import Recipe
from edgevision.training.watch import machine


def train_run(
    model: str, variant: str, data: str, recipe: Recipe, out: Path, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Train `model` on `data` and write the run folder `out`; gives the results (`training.loop.train`).

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the data set is not there, the checkpoint is of another training, or the loss is no number.
    """
    runs.check_place(out, force, resume)
    training, test = load(data, "train"), load(data, "test")
    asked = {"model": model, "variant": variant, "data": data, "recipe": asdict(recipe)}
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = begun(out) if resume else None
        if before is None:
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps({**asked, "machine": _machine()}, indent=1))
        else:
            _check_same(before, asked, out)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already")
            return runs.read_config(out)["result"]
        mx.random.seed(recipe.seed)
        network, config = runs.build(model, variant, len(training.classes), training.images.shape[1:])
        console.print(f"{model} {variant} on {data}: {len(training):,} pictures; {machine()}")
        result = train(network, training, test, recipe, live, resume=before is not None)
        described = {"model": model, "variant": variant, "config": config, "data": data}
        described |= {"input": {"shape": list(training.images.shape[1:]), "scale": 1 / 255}}
        described |= {"training": asdict(recipe), "result": result, "machine": _machine()}
        runs.publish(out, live, lambda folder: runs.save(folder, network, described, training.classes))
    return result


def begun(out: Path) -> dict[str, Any] | None:
    """What the training in `out` was begun with: model, variant, data, recipe; None where there is none.

    Raises:
        UserError: the record is damaged.
    """
    path = runs.live_folder(out) / "training.json"
    try:
        asked = json.loads(path.read_bytes())
        asked["recipe"] = asdict(Recipe(**asked["recipe"]))
        return {key: asked[key] for key in ("model", "variant", "data", "recipe", "machine")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="train anew with --force") from error


def _check_same(before: dict[str, Any], asked: dict[str, Any], out: Path) -> None:
    """UserError where another training was begun; a note where the machine is another."""
    old, new = ({**kind, **kind["recipe"], "recipe": None, "machine": None} for kind in (before, asked))
    told = [f"{key} was {old[key]}, is {new[key]}" for key in new if old[key] != new[key]]
    if told:
        raise UserError(
            f"{out} was begun with other settings: {', '.join(told)}",
            hint="leave these options out, or train anew with --force",
        )
    if before["machine"] != _machine():
        console.print("begun on another machine or with another BLAS: the last bits may differ")


def _machine() -> dict[str, Any]:
    return {"about": machine(), "blas": blas.status().as_dict()}

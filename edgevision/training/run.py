"""From names to a run folder: data, model, training, and what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from converters.storage import replacing_file
from edgevision import blas, runs
from edgevision.console import console
from edgevision.data import ImageSet, load
from edgevision.data.folder import is_own, load_pictures
from edgevision.errors import UserError
from edgevision.report.training import read_training, write_run_report
from edgevision.training.batch_size import with_best_batch
from edgevision.training.classification import Classification, train
from edgevision.training.events import FILE, Events
from edgevision.training.finetuning import begun_with, merged
from edgevision.training.group import Group
from edgevision.training.recipe import Recipe
from edgevision.training.watch import machine
from edgevision.training.wishes import Machine

LARGEST = 1 << 25  # pixels of a batch that is found by itself


@dataclass(frozen=True)
class Plan:
    """What decides about the weights: `image_size` is the side in pixels of a person's own pictures, None for
    the variant's."""

    model: str
    variant: str
    data: str
    recipe: Recipe
    image_size: int | None = None


def train_run(
    plan: Plan, out: Path, resume: bool = False, force: bool = False, wishes: Machine | None = None
) -> dict[str, Any]:
    """Train and write the run folder `out`; gives the results (`training.loop.train`).

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the data set is not there, the checkpoint is of another training, or the loss is no number.
    """
    wishes, group = wishes or Machine(), Group()
    if not group.is_first:  # it computes with the others and keeps nothing
        with TemporaryDirectory() as scratch:
            sets = _data(plan, group)
            plan, network, _ = _prepared(plan, sets[0], wishes, resume, group)
            return train(network, *sets, plan.recipe, Path(scratch), resume)
    runs.check_place(out, force, resume)
    training, test = _data(plan, group)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = begun(out) if resume else None
        if before is not None:
            _check_same(before, plan, out)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already")
            return runs.read_config(out)["result"]
        plan, network, config = _prepared(plan, training, wishes, before is not None, group)
        if before is None:
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps({**asdict(plan), "machine": _machine()}, indent=1))
        watchers = [Events(live / FILE, resume)] if wishes.tensorboard else []
        options = {"memory_limit": wishes.memory_limit, "watchers": watchers}
        result = train(network, training, test, plan.recipe, live, resume, **options)
        network = merged(network)
        described = {"model": plan.model, "variant": plan.variant, "config": config, "data": plan.data}
        described |= {"input": {"shape": list(training.images.shape[1:]), "scale": 1 / 255}}
        described |= {"training": asdict(plan.recipe), "result": result, "machine": _machine()}
        runs.publish(out, live, lambda folder: runs.save(folder, network, described, training.classes))
        write_run_report(out / "report.html", read_training(out))
    return result


def _data(plan: Plan, group: Group) -> tuple[ImageSet, ImageSet]:
    """What is trained with and what is tested with."""
    if not is_own(plan.data):
        return load(plan.data, "train"), load(plan.data, "test")
    shape = runs.picture_shape(plan.model, plan.variant, plan.image_size)
    pictures = load_pictures(Path(plan.data), shape, plan.recipe.seed)
    for note in pictures.notes if group.is_first else ():
        console.print(note, markup=False)
    return pictures.train, pictures.test


def _prepared(
    plan: Plan, training: ImageSet, wishes: Machine, resumed: bool, group: Group
) -> tuple[Plan, nn.Module, dict[str, Any]]:
    """The plan with its batch size, the model and its configuration."""

    def new_model() -> tuple[nn.Module, dict[str, Any]]:
        mx.random.seed(plan.recipe.seed)
        shape = training.images.shape[1:]
        return begun_with(plan.model, plan.variant, len(training.classes), shape, plan.recipe)

    if wishes.batch_auto and not resumed:
        most = min(len(training), LARGEST // prod(training.images.shape[1:3]))
        first = ImageSet(training.images[:most], training.labels[:most], training.classes)
        model, _ = new_model()
        trial = partial(Classification, first, first)
        plan = replace(plan, recipe=with_best_batch(plan.recipe, model, trial, most, wishes.memory_limit))
    network, config = new_model()
    told = f"{plan.model} {plan.variant} on {plan.data}: {len(training):,} pictures; {machine()}"
    console.print(told if group.size == 1 else f"{told}; process {group.number + 1} of {group.size}")
    return plan, network, config


def begun(out: Path) -> dict[str, Any] | None:
    """What the training in `out` was begun with: the fields of `Plan`, and the machine; None where there is
    none.

    Raises:
        UserError: the record is damaged.
    """
    path = runs.live_folder(out) / "training.json"
    try:
        asked = json.loads(path.read_bytes())
        asked["recipe"] = asdict(Recipe(**asked["recipe"]))
        own = {key: asked[key] for key in ("model", "variant", "data", "recipe", "machine")}
        return {**own, "image_size": asked.get("image_size")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="train anew with --force") from error


def _check_same(before: dict[str, Any], plan: Plan, out: Path) -> None:
    """UserError where another training was begun; a note where the machine is another."""
    asked = asdict(plan)
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


__all__ = ["Plan", "begun", "train_run"]

"""From names to the run folder of a translator: pairs of sentences, tokenizer, training, what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import replacing_file
from edgevision import models, pretrained_translator, runs
from edgevision.console import console
from edgevision.models import translator
from edgevision.report.training import read_training, write_run_report
from edgevision.text.pairs import load_pairs
from edgevision.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from edgevision.training import loop
from edgevision.training.batch_size import with_best_batch
from edgevision.training.events import FILE, Events
from edgevision.training.group import Group
from edgevision.training.recipe import recipe_of
from edgevision.training.translating import PairRecipe, Translating
from edgevision.training.watch import machine as about_machine
from edgevision.training.wishes import Machine, begun, settled

MODEL = "translator"
VOCABULARY = 5000  # tokens for both languages together
LARGEST = 1024  # pairs of a batch that is found by itself


def train_translation_run(
    wishes: dict[str, Any],
    out: Path,
    resume: bool = False,
    force: bool = False,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Train a translator and write the run folder `out`; gives the results (`training.loop.train`).

    Args:
        wishes: `variant` (the two languages, such as "de-en"), `data` (multi30k, or a folder of text files),
            `vocabulary` (tokens), and any setting of `PairRecipe`; what is missing or None is as the training
            was begun with, else as the recipe has it.

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the pairs are not to be used, or the checkpoint is of another training.
    """
    machine = machine or Machine()
    if not Group().is_first:  # it computes with the others and keeps nothing
        before = begun(runs.live_folder(out), PairRecipe) if resume else None
        with TemporaryDirectory() as scratch:
            model, _, task, asked = _prepared(_settled(wishes, before), None, machine, before is not None)
            return loop.train(model, task, PairRecipe(**asked["recipe"]), Path(scratch), resume)
    runs.check_place(out, force, resume)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = begun(live, PairRecipe) if resume else None
        asked = _settled(wishes, before)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already", markup=False)
            return runs.read_config(out)["result"]
        model, tokenizer, task, asked = _prepared(asked, live, machine, before is not None)
        recipe = PairRecipe(**asked["recipe"])
        if before is None:
            tokenizer.save(live)
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps(asked, indent=1))
        watchers = [Events(live / FILE, resume)] if machine.tensorboard else []
        result = loop.train(model, task, recipe, live, resume, machine.memory_limit, watchers)
        facts = {"variant": asked["variant"], "data": asked["data"], "training": asked["recipe"]}
        facts |= {"result": result, "machine": {"about": about_machine()}}
        runs.publish(out, live, lambda folder: pretrained_translator.save(folder, model, tokenizer, facts))
        write_run_report(out / "report.html", read_training(out))
    return result


def _prepared(
    asked: dict[str, Any], live: Path | None, machine: Machine, resumed: bool
) -> tuple[translator.Model, Tokenizer, Translating, dict[str, Any]]:
    """Model, tokenizer, what is learnt, and `asked` with its batch size; a tokenizer that lies in `live` is
    that of the training."""
    source, _, target = asked["variant"].partition("-")
    data, test = (load_pairs(asked["data"], part, source, target) for part in ("train", "val"))
    settings = translator.VARIANTS[asked["variant"]]
    if resumed and live is not None:
        tokenizer = load_tokenizer(live)
    else:
        tokenizer = train_tokenizer(
            "bpe", [*data.source, *data.target], asked["vocabulary"], settings.context
        )
    end = tokenizer.end
    assert end is not None
    settings = replace(settings, vocabulary=tokenizer.size, start=end, end=end)

    def task(recipe: PairRecipe) -> Translating:
        return Translating(data, test, tokenizer, recipe)

    def new_model() -> translator.Model:
        mx.random.seed(recipe.seed)
        return translator.Model(settings)

    recipe = PairRecipe(**asked["recipe"])
    if machine.batch_auto and not resumed:
        recipe = with_best_batch(recipe, new_model(), task, min(len(data), LARGEST), machine.memory_limit)
        asked = {**asked, "recipe": asdict(recipe)}
    model = new_model()
    count = sum(array.size for array in dict(tree_flatten(model.parameters())).values())
    told = f"{MODEL} {asked['variant']} on {asked['data']}: {count:,} parameters, {len(data):,} pairs"
    console.print(f"{told}; {about_machine()}", markup=False)
    return model, tokenizer, task(recipe), asked


def _settled(wishes: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that decides about a training, from what is wished and what was begun."""
    variant = models.variant(MODEL, wishes.get("variant") or (before or {}).get("variant"))
    data = wishes.get("data") or "multi30k"
    fixed = {"variant": variant, "data": data, "vocabulary": VOCABULARY}
    return {"model": MODEL, **settled(wishes, before, fixed, recipe_of(MODEL, variant, data))}


__all__ = ["train_translation_run"]

"""From names to the run folder of a captioner: pictures with sentences, tokenizer, training, what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import claim, replacing_file
from edgevision import models, pretrained_captioner, runs
from edgevision.console import console
from edgevision.data.captions import load_captions
from edgevision.errors import UsageError
from edgevision.inference.caption_metrics import is_installed
from edgevision.models import captioner
from edgevision.report.training import read_training, write_run_report
from edgevision.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from edgevision.training import loop
from edgevision.training.batch_size import with_best_batch
from edgevision.training.captioning import VOCABULARIES, Captioning, CaptionRecipe
from edgevision.training.checkpoints import latest
from edgevision.training.critical import train_critically
from edgevision.training.events import FILE, Events
from edgevision.training.frozen import DecoderAlone, encoder_of, train_decoder_alone
from edgevision.training.group import Group
from edgevision.training.recipe import recipe_of
from edgevision.training.watch import machine as about_machine
from edgevision.training.wishes import Machine, begun, settled

MODEL = "captioner"
LARGEST = 1 << 23  # pixels of a batch that is found by itself


def train_caption_run(
    wishes: dict[str, Any],
    out: Path,
    resume: bool = False,
    force: bool = False,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Train a captioner and write the run folder `out`; gives the results (`training.loop.train`).

    Args:
        wishes: `variant`, `data` (flickr8k, scenes, or a folder with a captions file), `vocabulary` (tokens),
            and any setting of `CaptionRecipe`, such as `start`; what is missing or None is as the training
            was begun with, else as the recipe has it.

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the pictures or sentences are not to be used, or the checkpoint is of another training.
    """
    machine = machine or Machine()
    if not Group().is_first:  # it computes with the others and keeps nothing
        before = begun(runs.live_folder(out), CaptionRecipe) if resume else None
        with TemporaryDirectory() as scratch:
            model, _, task, asked = _prepared(_settled(wishes, before), None, machine, before is not None)
            return loop.train(model, task, CaptionRecipe(**asked["recipe"]), Path(scratch), resume)
    runs.check_place(out, force, resume)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = begun(live, CaptionRecipe) if resume else None
        asked = _settled(wishes, before)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already", markup=False)
            return runs.read_config(out)["result"]
        model, tokenizer, task, asked = _prepared(asked, live, machine, before is not None)
        recipe = CaptionRecipe(**asked["recipe"])
        if before is None:
            tokenizer.save(live)
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps(asked, indent=1))
        watchers = [Events(live / FILE, resume)] if machine.tensorboard else []
        result = loop.train(model, task, recipe, live, resume, machine.memory_limit, watchers)
        if recipe.critical:
            found = train_critically(model, task, task.data, tokenizer, recipe) or {}
            result |= {f"test_{name}": value for name, value in found.items()}
        facts = {"variant": asked["variant"], "data": asked["data"], "longest": recipe.longest}
        facts |= {"training": asked["recipe"], "result": result, "machine": {"about": about_machine()}}
        facts |= {"labels": []}

        def write(folder: Path) -> None:
            claim(folder, ["preprocessor_config.json"])
            pretrained_captioner.save(folder, model, tokenizer, facts)

        runs.publish(out, live, write)
        write_run_report(out / "report.html", read_training(out))
    return result


def _prepared(
    asked: dict[str, Any], live: Path | None, machine: Machine, resumed: bool
) -> tuple[captioner.Model, Tokenizer, Captioning, dict[str, Any]]:
    """Model, tokenizer, what is learnt, and `asked` with its batch size; a tokenizer that lies in `live` is
    that of the training."""
    settings, weights = captioner.VARIANTS[asked["variant"]], {}
    if (start := asked["recipe"]["start"]) is not None:
        settings, weights = encoder_of(start, settings)
    data = load_captions(asked["data"], "train", settings.image_size)
    test = load_captions(asked["data"], "dev", settings.image_size)
    if resumed and live is not None:
        tokenizer = load_tokenizer(live)
    else:
        sentences = [sentence for known in data.captions for sentence in known]
        tokenizer = train_tokenizer("bpe", sentences, asked["vocabulary"], settings.decoder.context)
    settings = replace(settings, decoder=replace(settings.decoder, vocabulary=tokenizer.size))

    def task(recipe: CaptionRecipe) -> Captioning:
        return Captioning(data, test, tokenizer, recipe)

    def new_model() -> captioner.Model:
        mx.random.seed(recipe.seed)
        model = captioner.Model(settings)
        model.encoder.load_weights(list(weights.items()), strict=bool(weights))
        return model

    recipe = CaptionRecipe(**asked["recipe"])
    if machine.batch_auto and not resumed:
        most = min(len(data), LARGEST // settings.image_size**2)
        recipe = with_best_batch(recipe, new_model(), task, most, machine.memory_limit)
        asked = {**asked, "recipe": asdict(recipe)}
    model, learnt = new_model(), task(recipe)
    count = sum(array.size for array in dict(tree_flatten(model.parameters())).values())
    told = f"{MODEL} {asked['variant']} on {asked['data']}: {count:,} parameters, {len(data):,} pictures"
    console.print(f"{told}; {about_machine()}", markup=False)
    begins = live is not None and not (resumed and latest(live))
    if recipe.frozen and Group().agree(begins):
        train_decoder_alone(model, lambda own: DecoderAlone(model, data, test, tokenizer, own), recipe)
    return model, tokenizer, learnt, asked


def _settled(wishes: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that decides about a training, from what is wished and what was begun."""
    data = wishes.get("data") or "flickr8k"
    usual = "scenes" if data == "scenes" else None
    variant = models.variant(MODEL, wishes.get("variant") or (before or {}).get("variant") or usual)
    fixed = {"variant": variant, "data": data, "vocabulary": VOCABULARIES.get(variant, 3000)}
    begins = wishes.get("start") is not None
    recipe = recipe_of(MODEL, "pretrained") if begins else recipe_of(MODEL, variant, data)
    asked = {"model": MODEL, **settled(wishes, before, fixed, recipe)}
    own = asked["recipe"]
    if own["frozen"] and own["start"] is None:
        raise UsageError(
            "frozen is for a captioner that begins with a trained encoder", hint="say which, --from"
        )
    if own["critical"] and (Group().size > 1 or not is_installed()):
        raise UsageError("critical is for one process, and needs pycocoevalcap to measure what it won")
    return asked


__all__ = ["train_caption_run"]

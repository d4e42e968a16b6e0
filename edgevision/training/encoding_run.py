"""From names to the run folder of an encoder of text: texts, tokenizer, training, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import replacing_file
from edgevision import models, pretrained_encoder, runs
from edgevision.console import console
from edgevision.errors import UsageError
from edgevision.models import encoder_lm
from edgevision.report.training import read_training, write_run_report
from edgevision.text.labelled import load_labelled
from edgevision.text.texts import find_texts
from edgevision.text.tokenizer import Tokenizer, load_tokenizer, train_wordpiece
from edgevision.training import loop
from edgevision.training.batch_size import with_best_batch
from edgevision.training.encoding import Classifying, EncoderRecipe, Guessing
from edgevision.training.events import FILE, Events
from edgevision.training.group import Group
from edgevision.training.recipe import recipe_of
from edgevision.training.watch import machine as about_machine
from edgevision.training.wishes import Machine, begun, settled

MODEL = "encoder_lm"
VOCABULARY = 8000  # tokens
DATA = {"masked": "wikitext2,multi30k,sst2", "classifier": "sst2"}
LARGEST = 1024  # texts of a batch that is found by itself

Learnt = tuple[encoder_lm.Model, Tokenizer, loop.Task, tuple[str, ...]]  # with its task and the labels


def train_encoder_run(
    wishes: dict[str, Any],
    out: Path,
    resume: bool = False,
    force: bool = False,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Train an encoder and write the run folder `out`; gives the results (`training.loop.train`).

    Args:
        wishes: `variant` (masked, classifier), `data` (as `find_texts`; for a classifier as `load_labelled`),
            `vocabulary` (tokens), `start` (the run or BERT to begin with, which brings its tokenizer), and
            any setting of `EncoderRecipe`; what is missing or None is as the training was begun with, else
            as the recipe has it.

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the texts are not to be used, or the checkpoint is of another training.
    """
    machine = machine or Machine()
    if not Group().is_first:  # it computes with the others and keeps nothing
        before = begun(runs.live_folder(out), EncoderRecipe) if resume else None
        with TemporaryDirectory() as scratch:
            (model, _, task, _), asked = _prepared(
                _settled(wishes, before), None, machine, before is not None
            )
            return loop.train(model, task, EncoderRecipe(**asked["recipe"]), Path(scratch), resume)
    runs.check_place(out, force, resume)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = begun(live, EncoderRecipe) if resume else None
        asked = _settled(wishes, before)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already", markup=False)
            return runs.read_config(out)["result"]
        (model, tokenizer, task, labels), asked = _prepared(asked, live, machine, before is not None)
        recipe = EncoderRecipe(**asked["recipe"])
        if before is None:
            tokenizer.save(live)
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps(asked, indent=1))
        watchers = [Events(live / FILE, resume)] if machine.tensorboard else []
        result = loop.train(model, task, recipe, live, resume, machine.memory_limit, watchers)
        facts = {"variant": asked["variant"], "data": asked["data"], "training": asked["recipe"]}
        facts |= {"result": result, "machine": {"about": about_machine()}}
        runs.publish(
            out, live, lambda folder: pretrained_encoder.save(folder, model, tokenizer, facts, labels)
        )
        write_run_report(out / "report.html", read_training(out))
    return result


def _prepared(
    asked: dict[str, Any], live: Path | None, machine: Machine, resumed: bool
) -> tuple[Learnt, dict[str, Any]]:
    """Model, tokenizer, what is learnt and the labels, and `asked` with its batch size; a tokenizer that lies
    in `live` is that of the training."""
    recipe = EncoderRecipe(**asked["recipe"])
    begin = None if recipe.start is None else pretrained_encoder.load(Path(recipe.start))
    texts, labels, learnt = _material(asked)
    if begin is not None:
        tokenizer = begin.tokenizer
    elif resumed and live is not None:
        tokenizer = load_tokenizer(live)
    else:
        settings = encoder_lm.VARIANTS[asked["variant"]]
        tokenizer = train_wordpiece(texts, asked["vocabulary"], settings.context)

    def task(recipe: EncoderRecipe) -> loop.Task:
        return learnt(tokenizer, recipe)

    def new_model() -> encoder_lm.Model:
        mx.random.seed(recipe.seed)
        return _model(asked["variant"], tokenizer, len(labels), begin)

    model = new_model()
    if recipe.longest > model.config.context or recipe.longest < 3:
        raise UsageError(f"longest={recipe.longest}: the model takes 3 to {model.config.context} tokens")
    if machine.batch_auto and not resumed:
        recipe = with_best_batch(recipe, new_model(), task, min(len(texts), LARGEST), machine.memory_limit)
        asked = {**asked, "recipe": asdict(recipe)}
    count = sum(array.size for array in dict(tree_flatten(model.parameters())).values())
    told = f"{MODEL} {asked['variant']} on {asked['data']}: {count:,} parameters, {len(texts):,} texts"
    console.print(f"{told}; {about_machine()}", markup=False)
    return (model, tokenizer, task(recipe), labels), asked


def _material(
    asked: dict[str, Any],
) -> tuple[Sequence[str], tuple[str, ...], Callable[[Tokenizer, EncoderRecipe], loop.Task]]:
    """The texts, their labels, and what is learnt from them."""
    if asked["variant"] == "masked":
        texts, held_out = find_texts(asked["data"])
        return texts, (), lambda tokenizer, recipe: Guessing(texts, held_out, tokenizer, recipe)
    data, test = (load_labelled(asked["data"], part) for part in ("train", "test"))
    return data.texts, data.labels, lambda tokenizer, recipe: Classifying(data, test, tokenizer, recipe)


def _model(
    variant: str, tokenizer: Tokenizer, classes: int, begin: pretrained_encoder.Encoder | None
) -> encoder_lm.Model:
    """A new model, with what it has in common with the one to begin with."""
    known = encoder_lm.VARIANTS[variant] if begin is None else begin.model.config
    head: Any = variant
    settings = replace(known, head=head, vocabulary=tokenizer.size, classes=classes or known.classes)
    model = encoder_lm.Model(settings)
    if begin is not None:
        own: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
        theirs: dict[str, mx.array] = dict(tree_flatten(begin.model.parameters()))
        shared = [(name, array) for name, array in theirs.items() if name in own]
        model.load_weights([(n, array) for n, array in shared if array.shape == own[n].shape], strict=False)
    return model


def _settled(wishes: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that decides about a training, from what is wished and what was begun."""
    variant = models.variant(MODEL, wishes.get("variant") or (before or {}).get("variant"))
    data = wishes.get("data") or DATA[variant]
    fixed = {"variant": variant, "data": data, "vocabulary": VOCABULARY}
    return {"model": MODEL, **settled(wishes, before, fixed, recipe_of(MODEL, variant, data))}


__all__ = ["train_encoder_run"]

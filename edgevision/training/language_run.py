"""From names to the run folder of a language model: text, tokenizer, model, training, and what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import replacing_file
from edgevision import models, pretrained, runs
from edgevision.console import console
from edgevision.errors import UsageError
from edgevision.models import decoder_lm
from edgevision.report.training import read_training, write_run_report
from edgevision.text.corpus import Corpus, Windows, held_out, sample
from edgevision.text.sets import find_text
from edgevision.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from edgevision.training import loop
from edgevision.training.batch_size import with_best_batch
from edgevision.training.events import FILE, Events
from edgevision.training.group import Group
from edgevision.training.language import Language, TextRecipe, measure
from edgevision.training.recipe import recipe_of
from edgevision.training.watch import machine as about_machine
from edgevision.training.wishes import Machine, begun, settled

MODEL = "decoder_lm"
LARGEST = 1 << 18  # tokens of a batch that is found by itself
HELD_OUT = 0.1  # of the text, its end: what is never trained on


def train_language_run(
    wishes: dict[str, Any],
    out: Path,
    resume: bool = False,
    force: bool = False,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Train a language model and write the run folder `out`; gives the results (`training.loop.train`).

    Args:
        wishes: `variant`, `data` (a text file, a folder or a data set), `tokenizer` ("characters", "bpe", or
            a folder with a tokenizer.json), `vocabulary`, `context`, and any setting of `TextRecipe`; what
            is missing or None is as the training was begun with, else as the recipe has it.

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the text is not to be used, or the checkpoint is of another training.
    """
    machine = machine or Machine()
    if not Group().is_first:  # it computes with the others and keeps nothing
        before = begun(runs.live_folder(out), TextRecipe) if resume else None
        with TemporaryDirectory() as scratch:
            model, _, task, asked = _prepared(_settled(wishes, before), None, machine, before is not None)
            return loop.train(model, task, TextRecipe(**asked["recipe"]), Path(scratch), resume)
    runs.check_place(out, force, resume)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = begun(live, TextRecipe) if resume else None
        asked = _settled(wishes, before)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already")
            return runs.read_config(out)["result"]
        model, tokenizer, task, asked = _prepared(asked, live, machine, before is not None)
        recipe = TextRecipe(**asked["recipe"])
        if before is None:
            tokenizer.save(live)
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps(asked, indent=1))
        watchers = [Events(live / FILE, resume)] if machine.tensorboard else []
        result = loop.train(model, task, recipe, live, resume, machine.memory_limit, watchers)
        facts = {"model": MODEL, "variant": asked["variant"], "config": asdict(model.config)}
        facts |= {"data": asked["data"], "training": asked["recipe"], "result": result}
        facts |= {"machine": {"about": about_machine()}}
        runs.publish(out, live, lambda folder: pretrained.save(folder, model, tokenizer, facts))
        write_run_report(out / "report.html", read_training(out))
    return result


def _prepared(
    asked: dict[str, Any], live: Path | None, machine: Machine, resumed: bool
) -> tuple[decoder_lm.Model, Tokenizer, Language, dict[str, Any]]:
    """Model, tokenizer, what is learnt, and `asked` with its batch size; a tokenizer that lies in `live` is
    that of the training."""
    corpus = find_text(asked["data"])
    cut = int(corpus.size * (1 - HELD_OUT))
    known = resumed and live is not None
    tokenizer = load_tokenizer(live) if known and live is not None else _tokenizer(asked, corpus)
    settings = replace(_settings(asked), vocabulary=tokenizer.size)
    test = held_out(corpus, tokenizer, cut, corpus.size, settings.context)

    def task(recipe: TextRecipe) -> Language:
        rows, seed = recipe.batch_size, recipe.seed
        return Language(Windows(corpus, tokenizer, 0, cut, settings.context, rows, seed), test, recipe)

    def new_model() -> decoder_lm.Model:
        mx.random.seed(recipe.seed)
        return decoder_lm.Model(settings)

    recipe = TextRecipe(**asked["recipe"])
    if machine.batch_auto and not resumed:
        most, limit = max(1, LARGEST // settings.context), machine.memory_limit
        recipe = with_best_batch(recipe, new_model(), task, most, limit)
        asked = {**asked, "recipe": asdict(recipe)}
    model, learnt = new_model(), task(recipe)
    count = sum(array.size for array in dict(tree_flatten(model.parameters())).values())
    told = f"{MODEL} {asked['variant']}, {count:,} parameters, {tokenizer.size:,} tokens; {about_machine()}"
    console.print(told)
    return model, tokenizer, learnt, asked


def evaluate_language_model(path: Path, data: str | None = None) -> dict[str, Any]:
    """Loss, perplexity and bits per byte of a model on the held-out end of the text that it was trained on,
    or on all of another text.

    Raises:
        UserError: the folder holds no language model, or the text is not there.
    """
    loaded = pretrained.load(path)
    own = loaded.config.get("data")
    name = data or own
    if name is None:
        raise UsageError(f"{path} does not say what it was trained on", hint="give a text with --data")
    corpus = find_text(name)
    start = 0 if data not in (None, own) else int(corpus.size * (1 - HELD_OUT))
    test = held_out(corpus, loaded.tokenizer, start, corpus.size, min(loaded.context, 1024))
    return {"data": name, **measure(loaded.model, test)}


def _settled(wishes: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that decides about a training, from what is wished and what was begun."""
    variant = models.variant(MODEL, wishes.get("variant") or (before or {}).get("variant"))
    fixed = {"variant": variant, "data": "tiny-shakespeare", "tokenizer": "characters"}
    fixed |= {"vocabulary": None, "context": None}
    asked = settled(wishes, before, fixed, recipe_of(MODEL, variant))
    return {"model": MODEL, **asked}


def _settings(asked: dict[str, Any]) -> decoder_lm.Config:
    settings = decoder_lm.VARIANTS[asked["variant"]]
    return settings if asked["context"] is None else replace(settings, context=asked["context"])


def _tokenizer(asked: dict[str, Any], corpus: Corpus) -> Tokenizer:
    """A new tokenizer for the whole text, as nanoGPT's; or the one of a folder."""
    kind, context = asked["tokenizer"], _settings(asked).context
    if (Path(kind) / "tokenizer.json").is_file():
        return load_tokenizer(Path(kind))
    return train_tokenizer(kind, sample(corpus, corpus.size), asked["vocabulary"], context)


__all__ = ["evaluate_language_model", "train_language_run"]

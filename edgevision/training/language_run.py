"""From names to the run folder of a language model: text, tokenizer, model, training, and what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import replacing_file
from edgevision import models, pretrained, runs
from edgevision.console import console
from edgevision.errors import UsageError, UserError
from edgevision.models import decoder_lm
from edgevision.text.corpus import Corpus, Windows, held_out, sample
from edgevision.text.sets import find_text
from edgevision.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from edgevision.training.language import TextRecipe, measure, recipe_of, train
from edgevision.training.watch import machine

MODEL = "decoder_lm"
HELD_OUT = 0.1  # of the text, its end: what is never trained on


def train_language_run(
    wishes: dict[str, Any], out: Path, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Train a language model and write the run folder `out`; gives the results (`training.language.train`).

    Args:
        wishes: `variant`, `data` (a text file, a folder or a data set), `tokenizer` ("characters", "bpe", or
            a folder with a tokenizer.json), `vocabulary`, `context`, and any setting of `TextRecipe`; what
            is missing or None is as the training was begun with, else as the recipe has it.

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the text is not to be used, or the checkpoint is of another training.
    """
    runs.check_place(out, force, resume)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = _begun(live) if resume else None
        asked = _settled(wishes, before)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already")
            return runs.read_config(out)["result"]
        corpus = find_text(asked["data"])
        cut = int(corpus.size * (1 - HELD_OUT))
        if before is None:
            tokenizer = _tokenizer(asked, corpus)
            tokenizer.save(live)
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps(asked, indent=1))
        else:
            tokenizer = load_tokenizer(live)
        recipe = TextRecipe(**asked["recipe"])
        mx.random.seed(recipe.seed)
        settings = replace(_settings(asked), vocabulary=tokenizer.size)
        model = decoder_lm.Model(settings)
        context, rows = settings.context, recipe.batch_size
        windows = Windows(corpus, tokenizer, 0, cut, context, rows, recipe.seed)
        test = held_out(corpus, tokenizer, cut, corpus.size, context)
        count = sum(array.size for array in dict(tree_flatten(model.parameters())).values())
        console.print(
            f"{MODEL} {asked['variant']}, {count:,} parameters, {tokenizer.size:,} tokens; {machine()}"
        )
        result = train(model, windows, test, recipe, live, resume=before is not None)
        facts = {"model": MODEL, "variant": asked["variant"], "config": asdict(settings)}
        facts |= {"data": asked["data"], "training": asked["recipe"], "result": result}
        facts |= {"machine": {"about": machine()}}
        runs.publish(out, live, lambda folder: pretrained.save(folder, model, tokenizer, facts))
    return result


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
    given = {name: value for name, value in wishes.items() if value is not None}
    fixed = ("variant", "data", "tokenizer", "vocabulary", "context")
    if before is not None:
        old = {**before, **before["recipe"]}
        told = [
            f"{name} was {old.get(name)}, is {value}"
            for name, value in given.items()
            if old.get(name) != value
        ]
        if told:
            raise UserError(
                f"it was begun with other settings: {', '.join(told)}",
                hint="leave these options out, or train anew with --force",
            )
        return before
    variant = models.variant(MODEL, given.get("variant"))
    recipe = replace(
        recipe_of(variant), **{name: value for name, value in given.items() if name not in fixed}
    )
    return {
        "model": MODEL,
        "variant": variant,
        "data": given.get("data", "tiny-shakespeare"),
        "tokenizer": given.get("tokenizer", "characters"),
        "vocabulary": given.get("vocabulary"),
        "context": given.get("context"),
        "recipe": asdict(recipe),
    }


def _begun(live: Path) -> dict[str, Any] | None:
    path = live / "training.json"
    try:
        asked = json.loads(path.read_bytes())
        TextRecipe(**asked["recipe"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="train anew with --force") from error
    return asked


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

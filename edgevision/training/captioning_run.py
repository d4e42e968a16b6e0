"""From names to the run folder of a captioner: pictures with sentences, tokenizer, training, what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import claim, replacing_file
from edgevision import models, pretrained_captioner, runs
from edgevision.console import console
from edgevision.data.captions import load_captions
from edgevision.errors import UserError
from edgevision.models import captioner
from edgevision.text.tokenizer import load_tokenizer, train_tokenizer
from edgevision.training import loop
from edgevision.training.captioning import FLICKR8K, RECIPES, VOCABULARIES, Captioning, CaptionRecipe
from edgevision.training.watch import machine

MODEL = "captioner"
FIXED = ("variant", "data", "vocabulary")


def train_caption_run(
    wishes: dict[str, Any], out: Path, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Train a captioner and write the run folder `out`; gives the results (`training.loop.train`).

    Args:
        wishes: `variant`, `data` (flickr8k, scenes, or a folder with a captions file), `vocabulary` (tokens),
            and any setting of `CaptionRecipe`; what is missing or None is as the training was begun with,
            else as the recipe has it.

    Raises:
        OutputExists: `out` is there, and neither `resume` nor `force` was given, or it is not ours.
        Interrupted: by Ctrl-C.
        UserError: the pictures or sentences are not to be used, or the checkpoint is of another training.
    """
    runs.check_place(out, force, resume)
    with runs.training_folder(out, force=force, resume=resume) as live:
        before = _begun(live) if resume else None
        asked = _settled(wishes, before)
        if before is not None and live == out and runs.is_run(out):
            console.print(f"{out} is finished already", markup=False)
            return runs.read_config(out)["result"]
        settings, recipe = captioner.VARIANTS[asked["variant"]], CaptionRecipe(**asked["recipe"])
        data = load_captions(asked["data"], "train", settings.image_size)
        test = load_captions(asked["data"], "dev", settings.image_size)
        if before is None:
            sentences = [sentence for known in data.captions for sentence in known]
            tokenizer = train_tokenizer("bpe", sentences, asked["vocabulary"], settings.decoder.context)
            tokenizer.save(live)
            with replacing_file(live / "training.json") as new:
                new.write_text(json.dumps(asked, indent=1))
        else:
            tokenizer = load_tokenizer(live)
        mx.random.seed(recipe.seed)
        settings = replace(settings, decoder=replace(settings.decoder, vocabulary=tokenizer.size))
        model = captioner.Model(settings)
        count = sum(array.size for array in dict(tree_flatten(model.parameters())).values())
        told = f"{MODEL} {asked['variant']} on {asked['data']}: {count:,} parameters, {len(data):,} pictures"
        console.print(f"{told}; {machine()}", markup=False)
        result = loop.train(
            model, Captioning(data, test, tokenizer, recipe), recipe, live, before is not None
        )
        facts = {"variant": asked["variant"], "data": asked["data"], "longest": recipe.longest}
        facts |= {"training": asked["recipe"], "result": result, "machine": {"about": machine()}}
        facts |= {"labels": []}

        def write(folder: Path) -> None:
            claim(folder, ["preprocessor_config.json"])
            pretrained_captioner.save(folder, model, tokenizer, facts)

        runs.publish(out, live, write)
    return result


def _settled(wishes: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that decides about a training, from what is wished and what was begun."""
    given = {name: value for name, value in wishes.items() if value is not None}
    if before is not None:
        old = {**before, **before["recipe"]}
        told = [f"{k} was {old.get(k)}, is {value}" for k, value in given.items() if old.get(k) != value]
        if told:
            raise UserError(
                f"it was begun with other settings: {', '.join(told)}",
                hint="leave these options out, or train anew with --force",
            )
        return before
    data = given.get("data", "flickr8k")
    variant = models.variant(MODEL, given.get("variant", "scenes" if data == "scenes" else None))
    recipe = RECIPES.get(variant, FLICKR8K)
    known = {field.name for field in fields(recipe)}
    own = {name: value for name, value in given.items() if name not in FIXED}
    assert own.keys() <= known
    vocabulary = given.get("vocabulary", VOCABULARIES.get(variant, 3000))
    return {
        "model": MODEL,
        "variant": variant,
        "data": data,
        "vocabulary": vocabulary,
        "recipe": asdict(replace(recipe, **own)),
    }


def _begun(live: Path) -> dict[str, Any] | None:
    path = live / "training.json"
    try:
        asked = json.loads(path.read_bytes())
        CaptionRecipe(**asked["recipe"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="train anew with --force") from error
    return asked


__all__ = ["train_caption_run"]

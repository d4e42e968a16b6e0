"""`edgevision train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

ModelArgument = Annotated[
    str, typer.Argument(help="lenet, cnn, vit, decoder_lm, encoder_lm, captioner, translator.")
]
OutOption = Annotated[Path, typer.Option(help="Run folder to write.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="Data set: mnist, fashion-mnist, cifar10, digits; or a folder with one subfolder of "
        "pictures for each class, or a CSV file. For decoder_lm tiny-shakespeare, or any text."
    ),
]
VariantOption = Annotated[str | None, typer.Option(help="Variant; default: the model's first.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Passes over the training set.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps, in place of epochs.")]
BatchSizeOption = Annotated[
    str | None,
    typer.Option(
        "--batch-size", "--batch", help="Pictures, or rows of text, per step; auto finds the fastest."
    ),
]
LearningRateOption = Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")]
SeedOption = Annotated[
    int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order and distortions.")
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Begin with this run, or folder or name of a ViT of Hugging Face or timm; captioner: "
        "with its encoder.",
    ),
]
TuneOption = Annotated[
    str | None, typer.Option(help="What of it learns: all (default), head, last:N or lora:R.")
]
LayerDecayOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Each block learns so much slower than the next one.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of the recipe; may be repeated."),
]
ImageSizeOption = Annotated[
    int | None, typer.Option(min=8, help="Own pictures are scaled and cut to this many pixels.")
]
MemoryLimitOption = Annotated[str | None, typer.Option(help="Stop rather than take more memory, such as 4G.")]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Write event files for TensorBoard into the run.")
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(help="decoder_lm: characters (default), bpe, or a folder with tokenizer.json."),
]
VocabularyOption = Annotated[int | None, typer.Option(min=1, help="decoder_lm: tokens of bpe.")]
ContextOption = Annotated[int | None, typer.Option(min=2, help="decoder_lm: tokens that it looks back.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the run in --out.")]


def train(
    model: ModelArgument,
    out: OutOption,
    data: DataOption = None,
    variant: VariantOption = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    start: StartOption = None,
    tune: TuneOption = None,
    layer_decay: LayerDecayOption = None,
    settings: SettingsOption = None,
    image_size: ImageSizeOption = None,
    memory_limit: MemoryLimitOption = None,
    tensorboard: TensorboardOption = False,
    tokenizer: TokenizerOption = None,
    vocabulary: VocabularyOption = None,
    context: ContextOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
) -> None:
    """Train a model and write a run folder.

    With --resume, options that are left out are those that the training was begun with. Several processes
    train together where mlx.launch starts them.

    \b
    Examples:
      edgevision train lenet --data mnist --out runs/lenet
      edgevision train lenet --variant 1998 --seed 1 --out runs/lenet-1998
      edgevision train lenet --out runs/lenet --resume
      edgevision train vit --data photographs --out runs/photographs --tensorboard
      edgevision train cnn --data cifar10 --set mixup=0.2 --set optimizer=sgd --out runs/cnn
      edgevision train vit --from runs/vit --data fashion-mnist --tune lora:8 --out runs/fashion
      edgevision train captioner --data scenes --out runs/scenes
      edgevision train captioner --data flickr8k --from runs/vit --set frozen=2 --out runs/flickr8k
      edgevision train decoder_lm --data tiny-shakespeare --out runs/shakespeare
      edgevision train decoder_lm --variant llama --data book.txt --tokenizer bpe --out runs/book
      edgevision train decoder_lm --batch auto --memory-limit 4G --tensorboard --out runs/text
      edgevision train translator --data multi30k --variant de-en --out runs/de-en
      edgevision train encoder_lm --data wikitext2,multi30k,sst2 --out runs/encoder
      edgevision train encoder_lm --variant classifier --data sst2 --from runs/encoder --out runs/sst2
      mlx.launch -n 2 -- edgevision train cnn --data cifar10 --out runs/cnn
    """
    from edgevision.errors import UsageError

    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps exclude each other")
    auto = batch_size == "auto"
    if batch_size is not None and not auto and not (batch_size.isdecimal() and int(batch_size)):
        raise UsageError(f"--batch-size {batch_size!r} is no number", hint="give a number, or auto")
    recipe = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": int(batch_size) if batch_size and not auto else None,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    text = {"tokenizer": tokenizer, "vocabulary": vocabulary, "context": context}
    fine = {"start": start, "tune": tune, "layer_decay": layer_decay}
    of_pictures = {"from": start, "tune": tune, "layer-decay": layer_decay, "image-size": image_size}
    what = {"variant": variant, "data": data}
    machine = {"batch_auto": auto, "memory_limit": memory_limit, "tensorboard": tensorboard}
    place = {"out": out, "resume": resume, "force": force}
    own = {"captioner": _train_captions, "translator": _train_pairs, "encoder_lm": _train_encoder}
    if model in own:
        begins = {} if model == "translator" else {"start": start}
        _refuse("networks of pictures", {**of_pictures, **({"from": None} if begins else {})})
        _refuse("decoder_lm", {"tokenizer": tokenizer, "context": context})
        own[model]({**what, "vocabulary": vocabulary, **begins}, recipe, settings or [], machine, place)
    elif model == "decoder_lm":
        _refuse("networks of pictures", of_pictures)
        _train_text({**what, **text}, recipe, settings or [], machine, place)
    else:
        _refuse("decoder_lm", text)
        what |= {"model": model, "image_size": image_size}
        _train_pictures(what, recipe | fine, settings or [], machine, place)


def _train_pictures(
    what: dict[str, Any],
    recipe: dict[str, Any],
    settings: list[str],
    machine: dict[str, Any],
    place: dict[str, Any],
) -> None:
    from dataclasses import asdict

    from edgevision.errors import UsageError
    from edgevision.models import variant as find_variant
    from edgevision.training.finetuning import kind_of_start
    from edgevision.training.recipe import Recipe, recipe_of, settings_of
    from edgevision.training.run import Plan, begun, train_run

    before = (begun(place["out"]) if place["resume"] else None) or {}
    old = {"variant": None, "data": None, "image_size": None, **before}
    given = {name: value for name, value in what.items() if value is not None}
    what = {**old, **given}
    if recipe["start"] is not None and not before:
        if what["variant"] is not None:
            raise UsageError("--from brings its variant", hint="leave --variant out")
        what["variant"], side = kind_of_start(what["model"], recipe["start"])
        what["image_size"] = what["image_size"] or side
    variant = find_variant(what["model"], what["variant"])
    data = what["data"] or {"lenet": "mnist"}.get(what["model"], "cifar10")
    known = before["recipe"] if before else asdict(recipe_of(what["model"], variant, data))
    wishes = {name: value for name, value in recipe.items() if value is not None} | settings_of(settings)
    plan = Plan(what["model"], variant, data, Recipe(**{**known, **wishes}), what["image_size"])
    result = train_run(plan, **place, wishes=_machine(machine))
    told = f"test accuracy {result['test_accuracy']:.2%}"
    _tell(place["out"], told, result)


def _train_captions(
    what: dict[str, Any],
    recipe: dict[str, Any],
    settings: list[str],
    machine: dict[str, Any],
    place: dict[str, Any],
) -> None:
    from edgevision.training.captioning import CaptionRecipe
    from edgevision.training.captioning_run import train_caption_run
    from edgevision.training.recipe import settings_of

    wishes = {**what, **recipe, **settings_of(settings, CaptionRecipe())}
    result = train_caption_run(wishes, **place, machine=_machine(machine))
    told = f"held-out loss {result['test_loss']:.3f}, {result['test_exact']:.1%} of the sentences exact"
    if "test_bleu4" in result:
        told += f", BLEU-4 {result['test_bleu4']:.1f}, CIDEr {result['test_cider']:.1f}"
    _tell(place["out"], told, result)


def _train_pairs(
    what: dict[str, Any],
    recipe: dict[str, Any],
    settings: list[str],
    machine: dict[str, Any],
    place: dict[str, Any],
) -> None:
    from edgevision.training.recipe import settings_of
    from edgevision.training.translating import PairRecipe
    from edgevision.training.translating_run import train_translation_run

    wishes = {**what, **recipe, **settings_of(settings, PairRecipe())}
    result = train_translation_run(wishes, **place, machine=_machine(machine))
    told = f"held-out loss {result['test_loss']:.3f}"
    if "test_bleu" in result:
        told += f", BLEU {result['test_bleu']:.1f}"
    _tell(place["out"], told, result)


def _train_encoder(
    what: dict[str, Any],
    recipe: dict[str, Any],
    settings: list[str],
    machine: dict[str, Any],
    place: dict[str, Any],
) -> None:
    from edgevision.errors import UsageError
    from edgevision.training.encoding import EncoderRecipe
    from edgevision.training.encoding_run import train_encoder_run
    from edgevision.training.recipe import settings_of

    if what["start"] is not None and what["vocabulary"] is not None:
        raise UsageError("--from brings its tokenizer", hint="leave --vocabulary out")
    wishes = {**what, **recipe, **settings_of(settings, EncoderRecipe())}
    result = train_encoder_run(wishes, **place, machine=_machine(machine))
    told = f"held-out loss {result['test_loss']:.3f}, accuracy {result['test_accuracy']:.1%}"
    _tell(place["out"], told, result)


def _train_text(
    what: dict[str, Any],
    recipe: dict[str, Any],
    settings: list[str],
    machine: dict[str, Any],
    place: dict[str, Any],
) -> None:
    from edgevision.errors import UsageError
    from edgevision.training.language import TextRecipe
    from edgevision.training.language_run import train_language_run
    from edgevision.training.recipe import settings_of

    if recipe.pop("epochs") is not None:
        raise UsageError("decoder_lm counts steps, not epochs", hint="use --steps")
    wishes = {**what, **recipe, **settings_of(settings, TextRecipe())}
    result = train_language_run(wishes, **place, machine=_machine(machine))
    told = f"held-out loss {result['test_loss']:.3f}, perplexity {result['test_perplexity']:.2f}"
    _tell(place["out"], f"{told}, {result['test_bits_per_byte']:.3f} bits per byte", result)


def _machine(given: dict[str, Any]) -> Any:
    """The options about this machine, as a training takes them."""
    from edgevision.training.memory import bytes_of
    from edgevision.training.wishes import Machine

    limit = given["memory_limit"]
    return Machine(**{**given, "memory_limit": None if limit is None else bytes_of(limit)})


def _tell(out: Path, told: str, result: dict[str, Any]) -> None:
    """What was measured, and how the time was spent; once, where several processes trained."""
    from edgevision.training.group import Group

    if not Group().is_first:
        return
    waited = result.get("share_waiting_for_data")
    told = f"{told}, {result['seconds']:.0f} s of training"
    typer.echo(f"{out}: {told}" + (f", {waited:.1%} of it waiting for data" if waited is not None else ""))


def _refuse(kind: str, options: dict[str, Any]) -> None:
    from edgevision.errors import UsageError

    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} is for {kind}")

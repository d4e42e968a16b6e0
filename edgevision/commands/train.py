"""`edgevision train`."""

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    model: Annotated[str, typer.Argument(help="Architecture: lenet, decoder_lm.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set: mnist (default), fashion-mnist, digits; for decoder_lm tiny-shakespeare, or any "
            "text file or folder of text files."
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Variant; default: the model's first.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, in place of epochs.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures, or rows of text, per step.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order and distortions.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="decoder_lm: characters (default), bpe, or a folder with tokenizer.json."),
    ] = None,
    vocabulary: Annotated[int | None, typer.Option(min=1, help="decoder_lm: tokens of bpe.")] = None,
    context: Annotated[int | None, typer.Option(min=2, help="decoder_lm: tokens that it looks back.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --out.")] = False,
) -> None:
    """Train a model and write a run folder.

    With --resume, options that are left out are those that the training was begun with.

    \b
    Examples:
      edgevision train lenet --data mnist --out runs/lenet
      edgevision train lenet --variant 1998 --seed 1 --out runs/lenet-1998
      edgevision train lenet --out runs/lenet --resume
      edgevision train decoder_lm --data tiny-shakespeare --out runs/shakespeare
      edgevision train decoder_lm --variant llama --data book.txt --tokenizer bpe --out runs/book
    """
    from dataclasses import replace

    from edgevision.errors import UsageError
    from edgevision.models import variant as find_variant
    from edgevision.training.recipe import Recipe, recipe_of
    from edgevision.training.run import begun, train_run

    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps exclude each other")
    text = {"tokenizer": tokenizer, "vocabulary": vocabulary, "context": context}
    if model == "decoder_lm":
        _train_text(
            {"variant": variant, "data": data, **text},
            out,
            resume,
            force,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
        )
        return
    _refuse(model, text)
    before = begun(out) if resume else None
    chosen = find_variant(model, variant or (before["variant"] if before else None))
    recipe = Recipe(**before["recipe"]) if before else recipe_of(model, chosen)
    wishes = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    recipe = replace(recipe, **{name: value for name, value in wishes.items() if value is not None})
    source = data or (before["data"] if before else "mnist")
    result = train_run(model, chosen, source, recipe, out, resume, force)
    typer.echo(f"{out}: test accuracy {result['test_accuracy']:.2%}, {result['seconds']:.0f} s of training")


def _train_text(wishes: dict[str, Any], out: Path, resume: bool, force: bool, **recipe: Any) -> None:
    from edgevision.errors import UsageError
    from edgevision.training.language_run import train_language_run

    if recipe.pop("epochs") is not None:
        raise UsageError("decoder_lm counts steps, not epochs", hint="use --steps")
    result = train_language_run({**wishes, **recipe}, out, resume, force)
    told = f"held-out loss {result['loss']:.3f}, perplexity {result['perplexity']:.2f}"
    typer.echo(
        f"{out}: {told}, {result['bits_per_byte']:.3f} bits per byte, {result['seconds']:.0f} s of training"
    )


def _refuse(model: str, options: dict[str, Any]) -> None:
    from edgevision.errors import UsageError

    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} is for decoder_lm, not for {model}")

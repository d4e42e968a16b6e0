"""`edgevision train`."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    model: Annotated[str, typer.Argument(help="Architecture: lenet.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    data: Annotated[str, typer.Option(help="Data set: mnist, fashion-mnist, digits.")] = "mnist",
    variant: Annotated[str | None, typer.Option(help="Variant of the model; default: its first.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, in place of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and movements.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --out.")] = False,
) -> None:
    """Train a model and write a run folder.

    \b
    Examples:
      edgevision train lenet --data mnist --out runs/lenet
      edgevision train lenet --variant 1998 --seed 1 --out runs/lenet-1998
      edgevision train lenet --data mnist --out runs/lenet --resume
    """
    from dataclasses import replace

    from edgevision.errors import UsageError
    from edgevision.models import variant as find_variant
    from edgevision.training.recipe import recipe_of
    from edgevision.training.run import train_run

    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps exclude each other")
    chosen = find_variant(model, variant)
    wishes = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "steps": steps}
    recipe = replace(
        recipe_of(model, chosen), seed=seed, **{k: v for k, v in wishes.items() if v is not None}
    )
    result = train_run(model, chosen, data, recipe, out, resume, force)
    typer.echo(f"{out}: test accuracy {result['test_accuracy']:.2%}, {result['seconds']:.0f} s of training")

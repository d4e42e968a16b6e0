"""`edgevision train`."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    model: Annotated[str, typer.Argument(help="Architecture: lenet.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    data: Annotated[
        str | None, typer.Option(help="Data set: mnist (default), fashion-mnist, digits.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Variant: modern (default), 1998.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, in place of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order and distortions.")
    ] = None,
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
    """
    from dataclasses import replace

    from edgevision.errors import UsageError
    from edgevision.models import variant as find_variant
    from edgevision.training.recipe import Recipe, recipe_of
    from edgevision.training.run import begun, train_run

    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps exclude each other")
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

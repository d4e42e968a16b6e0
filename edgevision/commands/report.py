"""`edgevision report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[list[Path], typer.Argument(help="Run folders: one, or several to compare.")],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    force: Annotated[bool, typer.Option("--force", help="Replace the page.")] = False,
) -> None:
    """Write a page about trainings: results, curves and settings, those of several runs side by side.

    \b
    Examples:
      edgevision report runs/vit
      edgevision report runs/vit runs/cnn runs/lenet --out comparison.html
    """
    from converters.errors import OutputExists
    from edgevision.report.training import read_training, write_comparison, write_run_report

    trainings = [read_training(path) for path in run]
    if out.exists() and not force:
        raise OutputExists(f"{out} is there already", hint="--force replaces it")
    if len(trainings) == 1:
        write_run_report(out, trainings[0])
    else:
        write_comparison(out, trainings)
    typer.echo(str(out))

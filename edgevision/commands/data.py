"""`edgevision data list | get | show`."""

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="Data sets: what there is, fetching them, looking at them.", no_args_is_help=True)


@data.command("list")
def list_sets() -> None:
    """The data sets, and where each was found.

    \b
    Examples:
      edgevision data list
    """
    from edgevision.console import out, table
    from edgevision.data import DATA_SETS
    from edgevision.data.sources import locate
    from edgevision.text.labelled import LABELLED_SETS
    from edgevision.text.pairs import PAIR_SETS
    from edgevision.text.sets import TEXT_SETS

    rows = []
    for name, known in {**DATA_SETS, **TEXT_SETS, **PAIR_SETS, **LABELLED_SETS}.items():
        where = (
            "drawn when used"
            if not known.sources
            else locate(known) or f"missing: edgevision data get {name}"
        )
        rows.append([name, known.title, where, known.licence])
    out.print(table(["name", "what", "where", "terms"], rows))


@data.command()
def get(
    name: Annotated[str, typer.Argument(help="Data set: mnist, fashion-mnist, tiny-shakespeare.")],
) -> None:
    """Download a data set into the cache, if it is nowhere yet, and check every file.

    \b
    Examples:
      edgevision data get mnist
    """
    from rich.progress import DownloadColumn, Progress, TaskID, TextColumn

    from edgevision.console import console
    from edgevision.data import find
    from edgevision.data.download import get as fetch
    from edgevision.text.labelled import LABELLED_SETS
    from edgevision.text.pairs import PAIR_SETS
    from edgevision.text.sets import TEXT_SETS

    known = {**TEXT_SETS, **PAIR_SETS, **LABELLED_SETS}.get(name) or find(name)
    if not known.sources:
        typer.echo(f"{name} is drawn by this package, there is nothing to get")
        return
    bar = Progress(TextColumn("{task.description}"), DownloadColumn(), console=console)
    tasks: dict[str, TaskID] = {}

    def report(file: str, there: int, total: int) -> None:
        if not tasks:
            bar.start()
        if file not in tasks:
            tasks[file] = bar.add_task(file, total=total)
        bar.update(tasks[file], completed=there)

    try:
        folder = fetch(known, report if console.is_terminal else None)
    finally:
        if tasks:
            bar.stop()
    typer.echo(f"{name}: complete in {folder}")


@data.command()
def show(
    name: Annotated[str, typer.Argument(help="Data set: mnist, fashion-mnist, digits.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("contact-sheet.png"),
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, max=2000, help="Pictures on the sheet.")] = 60,
    force: Annotated[bool, typer.Option("--force", help="Replace the picture.")] = False,
) -> None:
    """Write a contact sheet: the first pictures of a set with their labels.

    \b
    Examples:
      edgevision data show mnist --out mnist.png
      edgevision data show fashion-mnist --count 200 --out clothing.png --force
    """
    from converters.storage import replacing_file
    from edgevision.data import load
    from edgevision.data.sheet import contact_sheet
    from edgevision.errors import UsageError

    if out.suffix.lower() != ".png":
        raise UsageError(f"{out} does not end in .png", hint="contact sheets are written as PNG")
    sheet = contact_sheet(load(name, split, count))
    with replacing_file(out, overwrite=force) as new:
        sheet.save(new, format="PNG")
    typer.echo(str(out))

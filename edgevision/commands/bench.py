"""`edgevision bench`."""

from typing import Annotated

import typer


def bench(json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Measure on this machine: LeNet's training, export and inference; where PyTorch is installed, training
    steps and other networks beside PyTorch and its exporter.

    \b
    Examples:
      edgevision bench
      edgevision bench --json
    """
    from json import dumps

    from edgevision.benchmark import measure
    from edgevision.console import out, table

    found = {}
    for title, rows in measure():
        found[title] = rows
        if not json:
            out.print(table(["what", "figure"], list(rows.items()), title=title))
    if json:
        typer.echo(dumps(found))

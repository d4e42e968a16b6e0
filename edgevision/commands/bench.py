"""`edgevision bench`."""

from typing import Annotated

import typer


def bench(json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Measure on this machine: products, training step, export and inference of LeNet, beside PyTorch if
    installed.

    \b
    Examples:
      edgevision bench
      edgevision bench --json
    """
    from json import dumps

    from edgevision.benchmark import measure
    from edgevision.console import out, table

    found = measure()
    if json:
        typer.echo(dumps(found))
        return
    for title, rows in found.items():
        out.print(table(["what", "figure"], list(rows.items()), title=title))

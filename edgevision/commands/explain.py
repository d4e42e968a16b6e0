"""`edgevision explain`."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    model: Annotated[Path, typer.Argument(help="Run of a language model, or a folder that mlx-lm loads.")],
    text: Annotated[str, typer.Option(help="Sentence to look at, 48 tokens at most.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Draw what a model looks at: the attention of every layer and head, and the causal mask.

    \b
    Examples:
      edgevision explain runs/shakespeare --text "To be, or not to be" --out explained
    """
    from json import dumps

    from edgevision.console import strip_escapes
    from edgevision.inference.explain_language import explain_language

    found = explain_language(model, text, out)
    if json:
        typer.echo(dumps(found))
        return
    for look in found["looks"]:
        told = f"{look['token']!r} looks most at {look['at']!r}: {look['weight']:.2f}"
        typer.echo(strip_escapes(f"{told}, layer {look['layer']}, head {look['head']}"))
    for picture in found["pictures"]:
        typer.echo(picture)

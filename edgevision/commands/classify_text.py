"""`edgevision classify-text`."""

from pathlib import Path
from typing import Annotated

import typer


def classify_text(
    model: Annotated[
        Path,
        typer.Argument(help="Run of a classifier of text, a BertForSequenceClassification, or an export."),
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; default: each line of the standard input.")
    ] = None,
    truncate: Annotated[bool, typer.Option("--truncate", help="Leave out the end of long texts.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Tell the class of texts.

    \b
    Examples:
      edgevision classify-text runs/sst2 "A charming and often affecting journey."
      edgevision classify-text exported/sst2 --json < reviews.txt
    """
    from json import dumps

    from edgevision.commands.lines import given_or_lines, told_unknown
    from edgevision.console import strip_escapes
    from edgevision.inference.encoding import classify_text as classes
    from edgevision.inference.encoding import open_encoder

    encoder, found = open_encoder(model), []
    for text in given_or_lines(texts):
        probabilities = classes(encoder, text, truncate)
        told_unknown(encoder, text)
        found.append({"text": text, "probabilities": probabilities})
        if not json:
            label, probability = next(iter(probabilities.items()))
            typer.echo(strip_escapes(f"{label} {probability:.1%}  {text}"))
    if json:
        typer.echo(dumps({"runtime": encoder.runtime, "texts": found}))

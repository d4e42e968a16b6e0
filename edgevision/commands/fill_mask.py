"""`edgevision fill-mask`."""

from pathlib import Path
from typing import Annotated

import typer


def fill_mask(
    model: Annotated[Path, typer.Argument(help="Run of an encoder, a BertForMaskedLM, or an export.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts with [MASK] in them; default: each line of the standard input."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Guesses for each mask.")] = 5,
    truncate: Annotated[bool, typer.Option("--truncate", help="Leave out the end of long texts.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Guess the hidden words of texts.

    \b
    Examples:
      edgevision fill-mask runs/encoder "A man is [MASK] a horse."
      edgevision fill-mask exported/encoder "A dog [MASK] in the [MASK]." --top 3 --json
    """
    from json import dumps

    from edgevision.commands.lines import given_or_lines, told_unknown
    from edgevision.console import strip_escapes
    from edgevision.inference.encoding import fill_mask as guesses
    from edgevision.inference.encoding import open_encoder

    encoder, found = open_encoder(model), []
    for text in given_or_lines(texts):
        masks = guesses(encoder, text, top, truncate)
        told_unknown(encoder, text)
        found.append({"text": text, "masks": masks})
        for choices in () if json else masks:
            for choice in choices:
                told = f"{choice['probability']:7.1%}  {choice['token']:<16} {choice['text']}"
                typer.echo(strip_escapes(told))
            typer.echo("")
    if json:
        typer.echo(dumps({"runtime": encoder.runtime, "texts": found}))

"""`edgevision translate`."""

from pathlib import Path
from typing import Annotated

import typer


def translate(
    model: Annotated[Path, typer.Argument(help="Run of a translator, or a folder of a MarianMTModel.")],
    sentences: Annotated[
        list[str] | None, typer.Argument(help="Sentences; default: each line of the standard input.")
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Translations that are followed at once.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Translate sentences; a translation appears as it is written.

    \b
    Examples:
      edgevision translate runs/de-en "Ein Hund läuft durch den Schnee."
      edgevision translate runs/de-en --beams 4 < sentences.txt
      edgevision translate runs/de-en "Ein Mann schläft." --json
    """
    from json import dumps

    from edgevision.commands.lines import given_or_lines
    from edgevision.console import strip_escapes
    from edgevision.inference.translation import open_translator, stream
    from edgevision.inference.translation import translate as best

    writer = open_translator(model)
    found = []
    for sentence in given_or_lines(sentences):
        if json:
            found.append({"sentence": sentence, "translation": best(writer, sentence, beams)})
        elif beams > 1:
            typer.echo(strip_escapes(best(writer, sentence, beams)))
        else:
            for index, piece in enumerate(stream(writer, sentence)):
                typer.echo(strip_escapes(piece if index else piece.lstrip()), nl=False)
            typer.echo("")
    if json:
        typer.echo(dumps({"runtime": writer.runtime, "translations": found}))

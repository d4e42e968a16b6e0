"""`edgevision explain`."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    model: Annotated[
        Path, typer.Argument(help="Run folder, or a language model's folder that mlx-lm loads.")
    ],
    text: Annotated[
        str | None, typer.Option(help="Language models: sentence to look at, 48 tokens at most.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Networks of pictures: file to look at; default: a test picture.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; default: explained, in the run.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Draw what a model has learnt and looks at, and show it in the run's report.

    Of a language model the attention of every layer and head, and the causal mask; of a ViT how alike its
    position embeddings are, the filters of its patches, and attention rollout; of a CNN filters and maps.

    \b
    Examples:
      edgevision explain runs/shakespeare --text "To be, or not to be" --out explained
      edgevision explain runs/vit --picture photo.jpg
      edgevision explain runs/lenet
    """
    from json import dumps

    from edgevision.console import strip_escapes
    from edgevision.errors import UsageError
    from edgevision.pretrained import is_language_model

    if is_language_model(model):
        from edgevision.inference.explain_language import explain_language

        if text is None or picture is not None:
            raise UsageError("a language model looks at a sentence", hint="give one, --text")
        found = explain_language(model, text, out or model / "explained")
    else:
        from edgevision.report.explained import explain_picture_run

        if text is not None:
            raise UsageError("this model looks at pictures", hint="give one, --picture")
        found = {"looks": [], **explain_picture_run(model, picture, out)}
    if json:
        typer.echo(dumps(found))
        return
    for look in found["looks"]:
        told = f"{look['token']!r} looks most at {look['at']!r}: {look['weight']:.2f}"
        typer.echo(strip_escapes(f"{told}, layer {look['layer']}, head {look['head']}"))
    for path in found["pictures"]:
        typer.echo(path)

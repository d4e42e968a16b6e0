"""`edgevision explain`."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    model: Annotated[
        Path, typer.Argument(help="Run folder, or one of a language model (mlx-lm), BERT or Marian.")
    ],
    text: Annotated[
        str | None, typer.Option(help="Models of text: sentence to look at, 48 tokens at most.")
    ] = None,
    translation: Annotated[
        str | None, typer.Option(help="Translators: what the sentence becomes; default: what they write.")
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

    Of a language model or an encoder the attention of every layer and head, and the mask; of a translator
    encoder, decoder and cross-attention with their three masks side by side; of a ViT how alike its
    position embeddings are, the filters of its patches, and attention rollout; of a CNN filters and maps.

    \b
    Examples:
      edgevision explain runs/shakespeare --text "To be, or not to be" --out explained
      edgevision explain runs/de-en --text "Ein Hund läuft durch den Schnee."
      edgevision explain runs/vit --picture photo.jpg
      edgevision explain runs/lenet
    """
    from json import dumps

    from edgevision.console import strip_escapes
    from edgevision.errors import UsageError
    from edgevision.inference.captioner import is_any_captioner
    from edgevision.inference.encoding import is_encoder
    from edgevision.inference.translation import is_translator
    from edgevision.pretrained import is_language_model

    if is_any_captioner(model):
        raise UsageError(
            "a captioner shows where it looks while it writes",
            hint="edgevision caption RUN PICTURE --explain FILE",
        )
    reads = is_translator(model) or is_encoder(model) or is_language_model(model)
    if translation is not None and not is_translator(model):
        raise UsageError("--translation is for translators")
    if reads and (text is None or picture is not None):
        raise UsageError("this model looks at a sentence", hint="give one, --text")
    if text is not None and not reads and model.exists():
        raise UsageError("this model looks at pictures", hint="give one, --picture")
    folder = out or model / "explained"
    if is_translator(model):
        from edgevision.report.explained_translation import explain_translator

        found = explain_translator(model, text or "", translation, folder)
    elif reads:
        from edgevision.inference.explain_language import explain_encoder, explain_language

        found = (explain_encoder if is_encoder(model) else explain_language)(model, text or "", folder)
    else:
        from edgevision.report.explained import explain_picture_run

        found = {"looks": [], **explain_picture_run(model, picture, out)}
    if json:
        typer.echo(dumps(found))
        return
    for look in found["looks"]:
        told = f"{look['token']!r} looks most at {look['at']!r}: {look['weight']:.2f}"
        typer.echo(strip_escapes(f"{told}, layer {look['layer']}, head {look['head']}"))
    for path in found["pictures"]:
        typer.echo(path)

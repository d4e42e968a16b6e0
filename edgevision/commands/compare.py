"""`edgevision compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer


def compare(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    artifact: Annotated[Path, typer.Argument(help="Its .onnx, .mlpackage, .aimodel or export folder.")],
    count: Annotated[int, typer.Option(min=1, help="Test pictures to compare on.")] = 256,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run both on the same pictures or the same text.

    Exit code 0: they agree; 1: they differ, or an error; 2: wrong usage.

    \b
    Examples:
      edgevision compare runs/lenet exported/lenet/lenet.mlpackage
      edgevision compare runs/lenet exported/lenet/onnx/model.onnx --count 10000 --json
    """
    from json import dumps

    if any(run.glob("model*.safetensors")):
        result = _texts_agree(run, artifact)
        typer.echo(dumps(result) if json else f"{artifact}: {result['told']}")
        if not result["ok"]:
            raise typer.Exit(1)
        return
    from edgevision.console import out, strip_escapes
    from edgevision.inference.agreement import agreement

    result = agreement(run, artifact, count)
    if json:
        typer.echo(dumps(result))
    else:
        lines = [
            f"{artifact}: {result['verdict']} on {result['runtime']}",
            f"  {result['precision']}, tolerance {result['tolerance']:g}",
            f"  max abs {result['max_abs']:.3g}, max rel {result['max_rel']:.3g}",
            f"  same class for {result['same_class']:,} of {result['pictures']:,} {result['data']} pictures",
            *([f"  {result['note']}"] if result["note"] else []),
        ]
        for line in lines:
            out.print(strip_escapes(line), markup=False)
    if not result["ok"]:
        raise typer.Exit(1)


def _texts_agree(run: Path, artifact: Path) -> dict[str, Any]:
    """`ok`, and what is `told`, of a model that reads or writes text."""
    from edgevision.inference.encoding import encoder_agreement, is_encoder
    from edgevision.inference.language_agreement import language_agreement
    from edgevision.inference.translation import is_translator, translation_agreement

    if is_translator(run):
        return translation_agreement(run, artifact)
    return encoder_agreement(run, artifact) if is_encoder(run) else language_agreement(run, artifact)

"""`edgevision inspect`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    model: Annotated[Path, typer.Argument(help=".onnx or .mlpackage.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Inputs, outputs, states, operations by count, weight bytes, precision and metadata of an artefact.

    \b
    Examples:
      edgevision inspect exported/lenet/lenet.mlpackage
      edgevision inspect exported/lenet/onnx/model.onnx --json
    """
    from collections import Counter
    from json import dumps

    from converters import inspect as look
    from edgevision.console import out, strip_escapes, table

    found = look(model)
    if json:
        typer.echo(dumps(found))
        return
    typer.echo(
        f"{model}: {found['format']}, {found['precision']}, {found['weight_bytes']:,} bytes of weights"
    )
    for name, function in found["functions"].items():
        rows = [
            [kind, key, strip_escapes(str(what))]
            for kind in ("inputs", "outputs", "states")
            for key, what in function[kind].items()
        ]
        out.print(table(["", "name", "what"], rows, title=name))
        out.print(table(["operation", "count"], Counter(function["operations"]).most_common()))
    rows = [[key, strip_escapes(dumps(value))[:100]] for key, value in found["metadata"].items() if value]
    out.print(table(["metadata", ""], rows))

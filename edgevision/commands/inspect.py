"""`edgevision inspect`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    model: Annotated[Path, typer.Argument(help=".onnx, .mlpackage or export folder.")],
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
    from edgevision.inference.classifier import find_artifact

    path = find_artifact(model) if model.is_dir() and model.suffix != ".mlpackage" else model
    found = look(path)
    if json:
        typer.echo(dumps(found))
        return
    size = f"{found['weight_bytes']:,} bytes of weights"
    out.print(strip_escapes(f"{path}: {found['format']}, {found['precision']}, {size}"), markup=False)
    for name, function in found["functions"].items():
        rows = [
            [kind, key, what]
            for kind in ("inputs", "outputs", "states")
            for key, what in function[kind].items()
        ]
        out.print(table(["", "name", "what"], rows, title=name))
        counts = Counter(function["operations"])
        out.print(table(["operation", "count"], [*counts.most_common(), ("all", counts.total())]))
    rows = [[key, dumps(value)[:200]] for key, value in found["metadata"].items() if value]
    out.print(table(["metadata", ""], rows))

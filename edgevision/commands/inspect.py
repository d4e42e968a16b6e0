"""`edgevision inspect`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    model: Annotated[Path, typer.Argument(help=".onnx, .mlpackage, .aimodel or export folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="On a Mac: which operation Core ML runs where.")
    ] = False,
) -> None:
    """Inputs, outputs, states, operations by count, weight bytes, precision and metadata of an artefact.

    \b
    Examples:
      edgevision inspect exported/lenet/lenet.mlpackage
      edgevision inspect exported/lenet/onnx/model.onnx --json
      edgevision inspect exported/lenet/lenet.mlpackage --plan
    """
    from collections import Counter
    from json import dumps

    from converters import inspect as look
    from edgevision.console import out, strip_escapes, table
    from edgevision.inference.classifier import KINDS, find_artifact

    path = find_artifact(model) if model.is_dir() and model.suffix not in KINDS else model
    if plan:
        _print_plan(path, json)
        return
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


def _print_plan(path: Path, json: bool) -> None:
    """The device of each operation, and how much of the work each device does."""
    from collections import Counter
    from dataclasses import asdict
    from json import dumps

    from converters.targets.coreml.plan import compute_plan
    from edgevision.console import out, table
    from edgevision.errors import UsageError

    if path.suffix != ".mlpackage":
        raise UsageError("only an .mlpackage has a compute plan")
    found = compute_plan(path)
    if json:
        typer.echo(dumps({name: [asdict(one) for one in planned] for name, planned in found.items()}))
        return
    for name, planned in found.items():
        rows = [
            [
                one.operator,
                ", ".join(one.outputs),
                one.device or "",
                "" if one.cost is None else f"{one.cost:.1%}",
            ]
            for one in planned
        ]
        out.print(table(["operation", "result", "device", "cost"], rows, title=name))
        counts = Counter(one.device or "unknown" for one in planned)
        out.print(table(["device", "operations"], counts.most_common()))

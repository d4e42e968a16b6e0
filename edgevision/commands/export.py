"""`edgevision export`."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[list[str], typer.Option("--to", help="onnx or coreml; may be given twice.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    precision: Annotated[
        str | None, typer.Option(help="float32 or float16; default float32 for ONNX, float16 for Core ML.")
    ] = None,
    quantize: Annotated[str | None, typer.Option(help="Not supported yet.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace artefacts that are there.")] = False,
) -> None:
    """Write a trained model as ONNX and Core ML, and compare each with MLX.

    \b
    Examples:
      edgevision export runs/lenet --to onnx --to coreml --out exported/lenet
      edgevision export runs/lenet --to onnx --precision float16 --out exported/lenet
    """
    from edgevision import runs
    from edgevision.console import out as printer
    from edgevision.console import strip_escapes
    from edgevision.errors import UsageError
    from edgevision.export import export_run
    from edgevision.inference.agreement import agreement

    if quantize is not None:
        raise UsageError(f"--quantize {quantize} is not supported yet")
    loaded = runs.load(run)
    for path in export_run(loaded, to, out, precision, force):
        result = agreement(run, path, count=64)
        told = f"{result['verdict']}, max rel {result['max_rel']:.2g} on {result['runtime']}"
        printer.print(strip_escapes(f"{path}: {told}"), markup=False)
        if not result["ok"]:
            raise typer.Exit(1)

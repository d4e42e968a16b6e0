"""`edgevision demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/demo"),
    data: Annotated[
        str | None, typer.Option(help="mnist or digits; default: mnist where it can be had.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set.")] = None,
    captioner: Annotated[
        bool, typer.Option(help="Then train a captioner on drawn scenes, and let it say what it sees.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Train anew where the demo is there already.")
    ] = False,
) -> None:
    """Train LeNet, convert it to ONNX and Core ML, prove both, classify a picture, write report.html.
    Then the same road with a captioner, in a folder beside it.

    Exit code 1 where an artefact does not agree with MLX. A demo that is there already is shown again.

    \b
    Examples:
      edgevision demo
      edgevision demo --no-captioner
      edgevision demo --data digits --epochs 1 --out runs/quick
    """
    from edgevision.demo import run_demo

    results = run_demo(out, data, epochs, force)
    agree = all(form["ok"] for form in results["forms"].values())
    if captioner:
        from edgevision.demo_captioner import run_captioner_demo

        found = run_captioner_demo(out.with_name(f"{out.name}-captioner"), epochs, force)
        agree = agree and all(result["ok"] for result in found["agreement"].values())
    if not agree:
        raise typer.Exit(1)

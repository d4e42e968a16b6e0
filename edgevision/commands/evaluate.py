"""`edgevision evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Run folder, .onnx, .mlpackage or export folder.")],
    data: Annotated[
        str | None, typer.Option(help="Data set; default: the one of the run, else mnist.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Accuracy and confusion matrix on the test pictures.

    \b
    Examples:
      edgevision evaluate runs/lenet
      edgevision evaluate exported/lenet.onnx --data mnist --json
    """
    from json import dumps

    from edgevision.console import out, table
    from edgevision.data import load
    from edgevision.inference import open_classifier
    from edgevision.inference.evaluation import data_of, evaluate_classifier

    classifier = open_classifier(model)
    name = data or data_of(model) or "mnist"
    result = evaluate_classifier(classifier, load(name, "test"))
    if json:
        typer.echo(dumps({"data": name, **result}))
        return
    typer.echo(f"{name}: {result['errors']} of {result['count']} wrong, accuracy {result['accuracy']:.2%}")
    rows = [[label, *row] for label, row in zip(classifier.labels, result["confusion"], strict=True)]
    out.print(table(["true \\ predicted", *classifier.labels], rows))

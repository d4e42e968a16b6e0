"""`edgevision evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Run folder, .onnx, .mlpackage, .aimodel or export folder.")],
    data: Annotated[
        str | None, typer.Option(help="Data set; default: the one of the run, else mnist.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Accuracy and confusion matrix on the test pictures; of a language model, perplexity on held-out text.

    \b
    Examples:
      edgevision evaluate runs/lenet
      edgevision evaluate exported/lenet.onnx --data mnist --json
      edgevision evaluate runs/shakespeare
      edgevision evaluate runs/scenes
    """
    from json import dumps

    from edgevision.inference.captioner import is_any_captioner
    from edgevision.pretrained import is_language_model

    if is_any_captioner(model):
        _evaluate_captions(model, data, json)
        return
    if is_language_model(model):
        _evaluate_text(model, data, json)
        return
    from edgevision import runs
    from edgevision.console import out, table
    from edgevision.data import load, load_as_trained
    from edgevision.inference import open_classifier
    from edgevision.inference.evaluation import data_of, evaluate_classifier

    classifier = open_classifier(model)
    name = data or data_of(model) or "mnist"
    own = runs.is_run(model)
    test = load_as_trained(runs.read_config(model), "test", data) if own else load(name, "test")
    result = evaluate_classifier(classifier, test)
    if json:
        typer.echo(dumps({"data": name, **result}))
        return
    typer.echo(f"{name}: {result['errors']} of {result['count']} wrong, accuracy {result['accuracy']:.2%}")
    rows = [[label, *row] for label, row in zip(classifier.labels, result["confusion"], strict=True)]
    out.print(table(["true \\ predicted", *classifier.labels], rows))


def _evaluate_captions(model: Path, data: str | None, json: bool) -> None:
    from json import dumps

    from edgevision.inference.caption_evaluation import evaluate_captioner

    result = evaluate_captioner(model, data)
    if json:
        typer.echo(dumps(result))
        return
    for split, found in result["splits"].items():
        told = ", ".join(f"{name} {value:.1f}" for name, value in found.items() if name != "pictures")
        typer.echo(f"{result['data']}, {split}, {found['pictures']:,} pictures, percent: {told}")


def _evaluate_text(model: Path, data: str | None, json: bool) -> None:
    from json import dumps

    from edgevision.training.language_run import evaluate_language_model

    result = evaluate_language_model(model, data)
    told = f"loss {result['loss']:.4f}, perplexity {result['perplexity']:.3f}, "
    told += f"{result['bits_per_byte']:.4f} bits per byte on {result['tokens']:,} tokens"
    typer.echo(dumps(result) if json else f"{result['data']}: {told}")

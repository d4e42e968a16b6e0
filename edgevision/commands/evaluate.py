"""`edgevision evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Run folder, .onnx, .mlpackage, .aimodel or export folder.")],
    data: Annotated[
        str | None, typer.Option(help="Data set; default: the one of the run, else mnist.")
    ] = None,
    beams: Annotated[
        int | None, typer.Option(min=1, help="Captioners, translators: sentences followed at once.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Captioners: write 40 pictures with their sentences to this HTML file."),
    ] = None,
    meteor: Annotated[bool, typer.Option("--meteor", help="Captioners: METEOR too, by Java.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Accuracy and confusion matrix on the test pictures; of a language model, perplexity on held-out text;
    of a captioner, BLEU, ROUGE-L and CIDEr; of a translator, BLEU; of an encoder of text, how many classes or
    hidden words it tells.

    \b
    Examples:
      edgevision evaluate runs/lenet
      edgevision evaluate exported/lenet.onnx --data mnist --json
      edgevision evaluate runs/shakespeare
      edgevision evaluate runs/scenes
      edgevision evaluate runs/de-en --beams 4
      edgevision evaluate exported/sst2
      edgevision evaluate exported/flickr8k --data flickr8k --beams 4 --meteor --page sentences.html
    """
    from json import dumps

    from edgevision.errors import UsageError
    from edgevision.inference.captioner import is_any_captioner
    from edgevision.inference.encoding import is_encoder
    from edgevision.inference.translation import is_translator
    from edgevision.pretrained import is_language_model

    if is_translator(model):
        if page is not None or meteor:
            raise UsageError("--page and --meteor are for captioners")
        _evaluate_translations(model, data, beams or 1, json)
        return
    if is_any_captioner(model):
        _evaluate_captions(model, data, beams or 1, page, meteor, json)
        return
    if beams is not None or page is not None or meteor:
        raise UsageError("--beams is for captioners and translators, --page and --meteor are for captioners")
    if is_encoder(model):
        _evaluate_encoder(model, data, json)
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


def _evaluate_captions(
    model: Path, data: str | None, beams: int, page: Path | None, meteor: bool, json: bool
) -> None:
    from json import dumps

    from edgevision.inference import caption_metrics
    from edgevision.inference.caption_evaluation import evaluate_captioner
    from edgevision.inference.captioner import Style

    result = evaluate_captioner(model, data, Style(beams))
    judged = result.pop("judged")
    for one in judged.values() if meteor else ():
        one.found["meteor"] = caption_metrics.meteor(one.test.captions, one.written)
    if page is not None:
        from edgevision.report.captions import write_caption_page

        write_caption_page(page, f"{model.name} on {result['data']}", judged)
    if json:
        typer.echo(dumps(result))
        return
    for split, found in result["splits"].items():
        told = ", ".join(f"{name} {value:.1f}" for name, value in found.items() if name != "pictures")
        typer.echo(f"{result['data']}, {split}, {found['pictures']:,} pictures, percent: {told}")


def _evaluate_translations(model: Path, data: str | None, beams: int, json: bool) -> None:
    from json import dumps

    from edgevision.inference.translation import evaluate_translator

    result = evaluate_translator(model, data, beams)
    told = f"{result['data']}, {result['pairs']:,} sentences, {beams} {'beam' if beams == 1 else 'beams'}"
    typer.echo(dumps(result) if json else f"{told}: BLEU {result['bleu']:.1f}")


def _evaluate_encoder(model: Path, data: str | None, json: bool) -> None:
    from json import dumps

    from edgevision.inference.encoding import evaluate_encoder

    result = evaluate_encoder(model, data)
    of = f"{result['texts']:,} texts" if "texts" in result else f"{result['tokens']:,} hidden tokens"
    typer.echo(dumps(result) if json else f"{result['data']}, {of}: accuracy {result['accuracy']:.1%}")


def _evaluate_text(model: Path, data: str | None, json: bool) -> None:
    from json import dumps

    from edgevision.training.language_run import evaluate_language_model

    result = evaluate_language_model(model, data)
    told = f"loss {result['loss']:.4f}, perplexity {result['perplexity']:.3f}, "
    told += f"{result['bits_per_byte']:.4f} bits per byte on {result['tokens']:,} tokens"
    typer.echo(dumps(result) if json else f"{result['data']}: {told}")

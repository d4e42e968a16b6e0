"""`edgevision export`."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or the folder of a language model of mlx-lm.")],
    to: Annotated[list[str], typer.Option("--to", help="onnx, coreml or coreai; may be given again.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    precision: Annotated[
        str | None, typer.Option(help="float32 or float16; default float32, for Core ML float16.")
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(help="int8 or int4; for Core ML and Core AI palette4, palette6 or palette8 too."),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            help="Language models but for ONNX: tokens of the cache; default the model's, 2,048 at most. "
            "Encoders of text: tokens of every text; default any number."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace artefacts that are there.")] = False,
) -> None:
    """Write a trained model as ONNX, Core ML and Core AI, and compare each with MLX.

    \b
    Examples:
      edgevision export runs/lenet --to onnx --to coreml --out exported/lenet
      edgevision export runs/lenet --to coreai --out exported/lenet
      edgevision export runs/lenet --to onnx --precision float16 --out exported/lenet
      edgevision export runs/lenet --to onnx --quantize int8 --out exported/lenet
      edgevision export runs/shakespeare --to onnx --to coreml --out exported/shakespeare
      edgevision export runs/scenes --to onnx --to coreml --out exported/scenes
      edgevision export runs/de-en --to onnx --quantize int8 --out exported/de-en
      edgevision export runs/sst2 --to onnx --to coreml --context 64 --out exported/sst2
      edgevision export Qwen3-0.6B-4bit --to coreml --context 1024 --out exported/qwen3
    """
    from edgevision.inference.encoding import is_encoder
    from edgevision.inference.translation import is_translator
    from edgevision.jsonfiles import is_captioner

    if is_captioner(run):
        _export_captioner(run, to, out, precision, force, quantize)
        return
    if is_translator(run):
        _export_translator(run, to, out, precision, force, quantize)
        return
    if is_encoder(run):
        _export_encoder(run, to, out, precision, force, quantize, context)
        return
    if any(run.glob("model*.safetensors")):
        _export_text(run, to, out, precision, force, quantize, context)
        return
    from converters import load
    from edgevision import runs
    from edgevision.console import out as printer
    from edgevision.console import strip_escapes
    from edgevision.export import export_run
    from edgevision.inference.agreement import agreement

    loaded = runs.load(run)
    for path in export_run(loaded, to, out, precision, force, quantize):
        result = agreement(run, path, count=64)
        told = f"{result['verdict']}, max rel {result['max_rel']:.2g} on {result['runtime']}"
        printer.print(strip_escapes(f"{path}: {told}"), markup=False)
        if quantize is not None:
            printer.print(str(load(path).quantization), markup=False)
        if not result["ok"] and quantize is None:  # what quantizing costs is for the user to judge
            raise typer.Exit(1)


def _export_captioner(
    model: Path, to: list[str], out: Path, precision: str | None, force: bool, quantize: str | None
) -> None:
    from edgevision.export_captioner import export_captioner
    from edgevision.inference.caption_agreement import caption_agreement

    for path in export_captioner(model, to, out, precision, force, quantize):
        result = caption_agreement(model, path, precision)
        typer.echo(f"{path}: {result['told']}")
        if not result["ok"] and quantize is None:
            raise typer.Exit(1)


def _export_translator(
    model: Path, to: list[str], out: Path, precision: str | None, force: bool, quantize: str | None
) -> None:
    from edgevision.export_translator import export_translator
    from edgevision.inference.translation import translation_agreement

    for path in export_translator(model, to, out, precision, force, quantize):
        result = translation_agreement(model, path, precision)
        typer.echo(f"{path}: {result['told']}")
        if not result["ok"] and quantize is None:
            raise typer.Exit(1)


def _export_encoder(
    model: Path,
    to: list[str],
    out: Path,
    precision: str | None,
    force: bool,
    quantize: str | None,
    length: int | None,
) -> None:
    from edgevision.export_encoder import export_encoder
    from edgevision.inference.encoding import encoder_agreement

    for path in export_encoder(model, to, out, precision, force, quantize, length):
        result = encoder_agreement(model, path, precision)
        typer.echo(f"{path}: {result['told']}")
        if not result["ok"] and quantize is None:
            raise typer.Exit(1)


def _export_text(
    model: Path,
    to: list[str],
    out: Path,
    precision: str | None,
    force: bool,
    quantize: str | None,
    context: int | None,
) -> None:
    from converters import load
    from edgevision.export_language import export_language
    from edgevision.inference.language_agreement import language_agreement

    for path in export_language(model, to, out, precision, force, quantize, context):
        result = language_agreement(model, path)
        typer.echo(f"{path}: {result['told']}")
        if quantize is not None:
            typer.echo(str(load(path).quantization))
        if not result["ok"] and quantize is None:
            raise typer.Exit(1)

"""`edgevision generate`."""

from pathlib import Path
from typing import Annotated, Any

import typer


def generate(
    model: Annotated[
        Path,
        typer.Argument(
            help="Run, export folder, .onnx, .mlpackage, .aimodel, or a folder that mlx-lm loads."
        ),
    ],
    prompt: Annotated[
        list[str] | None, typer.Option(help="Text to go on from; several make a batch; - reads the input.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write, at most.")] = 256,
    temperature: Annotated[float, typer.Option(help="0: always the most probable token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Only that many most probable tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="The fewest tokens that are together so probable.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Tokens that probable beside the most probable one.")] = 0.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1: what was said becomes less probable.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="Ends the text; may be given several times.")] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Keep the end of a prompt that is too long.")
    ] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Write text with a language model; it appears as it is written.

    \b
    Examples:
      edgevision generate runs/shakespeare --prompt "ROMEO:" --top-p 0.9
      edgevision generate exported/shakespeare --prompt "ROMEO:" --temperature 0 --stop JULIET
      echo "To be" | edgevision generate exported/shakespeare/decoder_lm.mlpackage --prompt - --json
    """
    from edgevision.inference.generation import chat_prompt
    from edgevision.inference.generation import generate as begin
    from edgevision.inference.sampling import Sampling
    from edgevision.inference.writers import open_writer

    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed)
    prompts = [_text(given) for given in prompt or [""]]
    writer = open_writer(model)
    records = []
    for index, text in enumerate(prompts):
        full = chat_prompt(writer.tokenizer, text) if chat else text
        record, pieces = begin(writer, full, sampling, max_tokens, stop or (), truncate, index)
        records.append(record)
        if json:
            for _ in pieces:
                pass
        else:
            _stream(text, pieces)
            _tell(record, writer.runtime)
    if json:
        from json import dumps

        typer.echo(dumps({"runtime": writer.runtime, "texts": [record.as_dict() for record in records]}))


def _text(given: str) -> str:
    """A prompt as given, or the whole standard input for `-`."""
    import sys

    from edgevision.errors import UserError

    if given == "-":
        try:
            return sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"the input is not UTF-8 at byte {error.start:,}") from error
    if any(0xD800 <= ord(character) < 0xE000 for character in given):
        raise UserError("the prompt is not UTF-8")
    return given


def _stream(prompt: str, pieces: Any) -> None:
    """The prompt, then each piece of text when it comes; without terminal escapes."""
    from edgevision.console import strip_escapes

    typer.echo(strip_escapes(prompt), nl=False)
    try:
        for piece in pieces:
            typer.echo(strip_escapes(piece), nl=False)
    finally:
        typer.echo("")


def _tell(record: Any, runtime: str) -> None:
    from edgevision.console import console

    told = f"{record.prompt_tokens:,} tokens of prompt in {record.prompt_seconds:.3f} s"
    if record.tokens_per_second is not None:
        told += f", then {record.tokens_per_second:,.0f} tokens/s"
    console.print(
        f"[{len(record.tokens):,} tokens, ended by {record.stopped}; {told}; {runtime}]", markup=False
    )

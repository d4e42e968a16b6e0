"""`edgevision caption`."""

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[Path, typer.Argument(help="Run, export folder, .mlpackage or .aimodel of a captioner.")]
Pictures = Annotated[
    list[Path] | None, typer.Argument(help="Picture files, or folders of them.", show_default=False)
]
LengthPenalty = Annotated[
    float, typer.Option(help="With --beams: power of the length by which log-probabilities are divided.")
]
Distinct = Annotated[int, typer.Option(min=0, help="With --beams: no sequence of that many tokens twice.")]
Temperature = Annotated[
    float, typer.Option(min=0, help="Above 0: words are drawn, not the most probable ones.")
]
Explain = Annotated[
    Path | None, typer.Option(help="Draw where each word was looked at, of one picture, to this PNG.")
]
Dense = Annotated[Path | None, typer.Option(help="A sentence per region of one picture, drawn to this PNG.")]
Box = Annotated[
    list[str] | None,
    typer.Option(help="With --dense: a region, left,top,right,bottom in pixels; default: found by a grid."),
]
Watch = Annotated[
    Path | None, typer.Option(help="Caption each picture that comes into this folder, until Ctrl-C.")
]
Camera = Annotated[
    str | None, typer.Option(help="Caption what a camera sees: its number, from 0 on; or a video file.")
]
Show = Annotated[
    bool | None,
    typer.Option(
        "--show/--no-show", help="Show pictures in the terminal; default: those of --watch, --camera."
    ),
]


def caption(
    model: Model,
    pictures: Pictures = None,
    beams: Annotated[int, typer.Option(min=1, help="Sentences that are followed at once.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="Sentences for each picture.")] = 1,
    length_penalty: LengthPenalty = 1.0,
    distinct: Distinct = 0,
    temperature: Temperature = 0.0,
    top_p: Annotated[float, typer.Option(help="The fewest tokens that are together so probable.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same sentences.")] = 0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a sentence, at most.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write picture, caption and score to this file.")] = None,
    explain: Explain = None,
    dense: Dense = None,
    box: Box = None,
    watch: Watch = None,
    camera: Camera = None,
    show: Show = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Sentences about pictures.

    \b
    Examples:
      edgevision caption runs/scenes picture.png
      edgevision caption exported/flickr8k photos/ --beams 4 --csv captions.csv
      edgevision caption exported/scenes/captioner.mlpackage picture.png --json
      edgevision caption runs/scenes picture.png --explain words.png
      edgevision caption runs/scenes picture.png --dense regions.png
      edgevision caption runs/scenes --watch incoming/
      edgevision caption runs/flickr8k --camera 0
    """
    from edgevision.errors import UsageError
    from edgevision.inference.captioner import Style, open_captioner, pictures_in
    from edgevision.inference.sampling import Sampling

    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    style = Style(beams, length_penalty, distinct, sampling, count, max_tokens)
    if box and dense is None:
        raise UsageError("--box is for --dense")
    live = watch is not None or camera is not None
    if live == bool(pictures) or (watch and camera) or (live and (csv or explain or dense)):
        raise UsageError(
            "give pictures, or a folder with --watch, or --camera; --csv, --explain and --dense take files"
        )
    files = list(pictures_in(pictures or []))
    if (explain or dense) and len(files) != 1:
        raise UsageError("--explain and --dense take one picture")
    _check_new([path for path in (csv, explain, dense) if path is not None and not force])
    writer = open_captioner(model)
    if live:
        from edgevision.commands.caption_live import follow_camera, follow_folder

        kind = _shown(live, show, json)
        if camera is not None:
            follow_camera(writer, camera, style, json, kind)
        elif watch is not None:
            follow_folder(writer, watch, style, json, kind)
        return
    if explain or dense:
        _draw(writer, files[0], style, explain, dense, box or [], json)
        return
    from edgevision.commands.caption_live import caption_files

    kind = _shown(live, show, json)
    results, failed = caption_files(writer, files, style, quiet=json or csv is not None, shown=kind)
    if csv is not None:
        _write_csv(csv, results)
    if json:
        from json import dumps

        typer.echo(dumps({"model": str(model), "runtime": writer.runtime, "pictures": results}))
    if failed:
        raise typer.Exit(1)


def _check_new(paths: list[Path]) -> None:
    """Usage error for a file that is there already."""
    from edgevision.errors import UsageError

    for path in paths:
        if path.exists():
            raise UsageError(f"{path} is there already", hint="--force replaces it")


def _shown(live: bool, show: bool | None, json: bool) -> str | None:
    """How pictures are shown in this terminal; None for not at all.

    Raises:
        UsageError: --show was given, and the terminal shows none.
    """
    import os
    import sys

    from edgevision.errors import UsageError
    from edgevision.inline_pictures import protocol

    kind = protocol(os.environ) if sys.stdout.isatty() and not json else None
    if show and kind is None:
        raise UsageError("--show: this is no terminal that shows pictures", hint="leave it out")
    return kind if show or (live and show is None) else None


def _write_csv(path: Path, results: list[dict[str, Any]]) -> None:
    import csv
    import io

    from converters.storage import replacing_file

    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["picture", "caption", "score", "cut"])
    for result in results:
        for one in result["captions"]:
            rows.writerow([result["picture"], one["text"], one["score"], int(one["cut"])])
    with replacing_file(path) as new:
        new.write_text(text.getvalue(), encoding="utf-8", newline="")


def _draw(
    writer: Any,
    file: Path,
    style: Any,
    explain: Path | None,
    dense: Path | None,
    boxes: list[str],
    json: bool,
) -> None:
    from json import dumps

    from edgevision.inference.regions import explained, parse_box, regions

    found: list[dict[str, Any]] = []
    if explain is not None:
        found.append(explained(writer, file, style, explain))
    if dense is not None:
        found += regions(writer, file, style, [parse_box(given) for given in boxes], dense)
    for entry in found:
        where = f"{entry['box']}: " if "box" in entry else ""
        if not json:
            typer.echo(f"{where}{entry['text']}")
    if json:
        typer.echo(dumps({"picture": str(file), "found": found}))

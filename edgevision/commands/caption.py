"""`edgevision caption`."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer


def caption(
    model: Annotated[Path, typer.Argument(help="Run, export folder, .mlpackage or .aimodel of a captioner.")],
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="Picture files, or folders of them.", show_default=False)
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Sentences that are followed at once.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="Sentences for each picture.")] = 1,
    length_penalty: Annotated[
        float, typer.Option(help="With --beams: power of the length by which log-probabilities are divided.")
    ] = 1.0,
    distinct: Annotated[
        int, typer.Option(min=0, help="With --beams: no sequence of that many tokens twice.")
    ] = 0,
    temperature: Annotated[
        float, typer.Option(min=0, help="Above 0: words are drawn, not the most probable ones.")
    ] = 0.0,
    top_p: Annotated[float, typer.Option(help="The fewest tokens that are together so probable.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same sentences.")] = 0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a sentence, at most.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write picture, caption and score to this file.")] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Draw where each word was looked at, of one picture, to this PNG.")
    ] = None,
    dense: Annotated[
        Path | None, typer.Option(help="A sentence per region of one picture, drawn to this PNG.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            help="With --dense: a region, left,top,right,bottom in pixels; default: found by a grid."
        ),
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Caption each picture that comes into this folder, until Ctrl-C.")
    ] = None,
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
    """
    from edgevision.errors import UsageError
    from edgevision.inference.captioner import Style, open_captioner, pictures_in
    from edgevision.inference.sampling import Sampling

    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    style = Style(beams, length_penalty, distinct, sampling, count, max_tokens)
    if box and dense is None:
        raise UsageError("--box is for --dense")
    if (watch is None) == (not pictures) or (watch and (csv or explain or dense)):
        raise UsageError("give pictures, or a folder with --watch; --csv, --explain and --dense take files")
    files = list(pictures_in(pictures or []))
    if (explain or dense) and len(files) != 1:
        raise UsageError("--explain and --dense take one picture")
    _check_new([path for path in (csv, explain, dense) if path is not None and not force])
    writer = open_captioner(model)
    if watch is not None:
        _watch(writer, watch, style, json)
    if explain or dense:
        _draw(writer, files[0], style, explain, dense, box or [], json)
        return
    results, failed = _all(writer, files, style, quiet=json or csv is not None)
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


def _watch(writer: Any, folder: Path, style: Any, json: bool) -> NoReturn:
    """What comes into the folder, as text or as a line of JSON each; what is no picture is said."""
    from json import dumps

    from edgevision.console import console, strip_escapes
    from edgevision.inference.arrivals import arrivals

    coming = arrivals(folder)
    console.print(strip_escapes(f"watching {folder}; Ctrl-C ends"), markup=False, soft_wrap=True)
    for path in coming:
        results, _ = _all(writer, [path], style, quiet=json, named=True)
        for result in results if json else ():
            typer.echo(dumps(result))
    raise AssertionError("a folder is watched for ever")


def _all(
    writer: Any, files: list[Path], style: Any, quiet: bool, named: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """What JSON has of each picture, and how many could not be read, which is said."""
    from rich.progress import track

    from edgevision.console import console, out, strip_escapes
    from edgevision.errors import UserError
    from edgevision.inference.captioner import captions, described, picture_array

    results, failed = [], 0
    for path in track(files, "captions", console=console, transient=True, disable=len(files) < 10):
        try:
            array, note = picture_array(path, writer.side)
        except (UserError, OSError) as error:
            failed += 1
            console.print(f"edgevision: {strip_escapes(str(error))}", markup=False, soft_wrap=True)
            continue
        found = [described(writer, sentence) for sentence in captions(writer, array, style)]
        results.append({"picture": str(path), "note": note, "captions": found})
        for one in () if quiet else found:
            cut = " [cut: no end within the limit]" if one["cut"] else ""
            told = f"{path}: " if named or len(files) > 1 or len(found) > 1 else ""
            score = f" ({one['score']:.3f})" if len(found) > 1 else ""
            out.print(strip_escapes(f"{told}{one['text']}{cut}{score}"), markup=False, soft_wrap=True)
        if note and not quiet:
            console.print(strip_escapes(f"{path}: {note}"), markup=False, soft_wrap=True)
    return results, failed


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

"""`edgevision caption`: the sentences as they come, of files, of a folder that is watched, of a camera."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgevision.console import console, out, strip_escapes
from edgevision.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from edgevision.inference.captioner import Style, Writer


def follow_folder(writer: Writer, folder: Path, style: Style, json: bool, shown: str | None) -> None:
    """What comes into the folder, as text or as a line of JSON each; what is no picture is said."""
    from edgevision.inference.arrivals import arrivals

    coming = arrivals(folder)
    console.print(strip_escapes(f"watching {folder}; Ctrl-C ends"), markup=False, soft_wrap=True)
    for path in coming:
        results, _ = caption_files(writer, [path], style, quiet=json, named=True, shown=shown)
        for result in results if json else ():
            typer.echo(dumps(result))


def follow_camera(writer: Writer, source: str, style: Style, json: bool, shown: str | None) -> None:
    """What the camera sees: a sentence when it is another than before."""
    import numpy as np

    from edgevision.data.captioned_pictures import squeezed
    from edgevision.inference.camera import frames
    from edgevision.inference.captioner import captions, described

    said: list[dict[str, Any]] = []
    for picture in frames(source):
        array = squeezed(picture, writer.side).astype(np.float32)[None] / np.float32(255)
        found = [described(writer, sentence) for sentence in captions(writer, array, style)]
        if [one["text"] for one in found] == [one["text"] for one in said]:
            continue
        said = found
        if json:
            typer.echo(dumps({"camera": source, "captions": found}))
        else:
            _show(picture, shown)
            _say(None, found, many=len(found) > 1)


def caption_files(
    writer: Writer,
    files: list[Path],
    style: Style,
    quiet: bool,
    named: bool = False,
    shown: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """What JSON has of each picture, and how many could not be read, which is said.

    Args:
        quiet: nothing is printed but errors. named: each sentence with its file.
        shown: how the terminal shows pictures, as `inline_pictures.protocol` says.
    """
    from rich.progress import track

    from edgevision.inference.captioner import captions, described, picture_array
    from edgevision.pictures import open_picture

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
        if quiet:
            continue
        if shown is not None:
            _show(open_picture(path), shown)
        _say(path if named or len(files) > 1 or len(found) > 1 else None, found, many=len(found) > 1)
        if note:
            console.print(strip_escapes(f"{path}: {note}"), markup=False, soft_wrap=True)
    return results, failed


def _say(path: Path | None, found: list[dict[str, Any]], many: bool) -> None:
    for one in found:
        cut = " [cut: no end within the limit]" if one["cut"] else ""
        told = "" if path is None else f"{path}: "
        score = f" ({one['score']:.3f})" if many else ""
        out.print(strip_escapes(f"{told}{one['text']}{cut}{score}"), markup=False, soft_wrap=True)


def _show(picture: Image.Image, kind: str | None) -> None:
    """Where the terminal shows pictures."""
    import shutil

    from edgevision.inline_pictures import COLUMNS, drawn

    if kind is not None:
        typer.echo(drawn(picture, kind, min(COLUMNS, shutil.get_terminal_size().columns - 1)), nl=False)


__all__ = ["caption_files", "follow_camera", "follow_folder"]

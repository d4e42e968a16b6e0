"""`edgevision classify`."""

from pathlib import Path
from typing import Annotated

import typer


def classify(
    model: Annotated[Path, typer.Argument(help="Run folder, .onnx, .mlpackage, .aimodel or export folder.")],
    pictures: Annotated[list[Path], typer.Argument(help="Picture files of any size and mode.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """The most probable classes of pictures of any size. A digit may be white on black or black on white.

    \b
    Examples:
      edgevision classify runs/lenet digit.png
      edgevision classify exported/lenet/lenet.mlpackage *.png --json
      edgevision classify runs/vit photo.jpg
    """
    from json import dumps

    from edgevision.console import console, out, strip_escapes, table
    from edgevision.errors import UserError
    from edgevision.inference import open_classifier
    from edgevision.pictures import open_picture, seen_as

    classifier = open_classifier(model)
    results, failed = [], 0
    for path in pictures:
        try:
            array, note = seen_as(open_picture(path), classifier.shape)
        except UserError as error:
            failed += 1
            console.print(f"edgevision: {strip_escapes(str(error))}", markup=False, soft_wrap=True)
            continue
        found = classifier.top(array, top)
        results.append({"picture": str(path), "note": note, "top": found})
        if not json:
            rows = [[entry["label"], f"{entry['probability']:.2%}"] for entry in found]
            out.print(table(["class", "probability"], rows, title=f"{path} ({note})"))
    if json:
        typer.echo(dumps({"model": str(model), "runtime": classifier.runtime, "pictures": results}))
    if failed:
        raise typer.Exit(1)

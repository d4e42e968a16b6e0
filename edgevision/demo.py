"""The whole road: train, evaluate, export, prove, classify a picture, and report."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mlx.utils import tree_reduce

import converters as cv
from converters.storage import claim, replacing_file
from edgevision import runs
from edgevision.console import console, out, strip_escapes, table
from edgevision.data import ImageSet, find, load
from edgevision.errors import UsageError, UserError
from edgevision.export import to_coreml, to_plain
from edgevision.inference import open_classifier
from edgevision.inference.agreement import all_logits, compared
from edgevision.inference.evaluation import unit_range
from edgevision.pictures import digit_array, open_picture
from edgevision.training.recipe import Recipe, recipe_of
from edgevision.training.run import Plan, begun, train_run

FORMAT = 1  # of results.json
DATA = {"mnist": "MNIST", "digits": "drawn digits"}
# What is exported, as what, in which precision; None is the format's default.
ARTIFACTS = {
    "lenet.onnx": (to_plain, None),
    "lenet_fp16.onnx": (to_plain, "float16"),
    "lenet.mlpackage": (to_coreml, None),
    "lenet_fp32.mlpackage": (to_coreml, "float32"),
}
FILES = (*ARTIFACTS, "picture.png", "results.json", "report.html")


def run_demo(folder: Path, data: str | None, epochs: int | None, force: bool) -> dict[str, Any]:
    """Everything, into the run folder `folder`; gives what `results.json` holds.

    A finished demo in `folder` is shown again, not trained again; an interrupted one goes on.

    Raises:
        UsageError: `data` is neither mnist nor digits.
        UserError: the demo in `folder` is of other data, or damaged.
        OutputExists: `folder` is not ours.
    """
    if data is not None and data not in DATA:
        raise UsageError(f"the demo has no data set {data!r}", hint=f"choose from {', '.join(DATA)}")
    if not force and (folder / "results.json").is_file():
        results = _finished(folder, data)
        show(results, folder)
        console.print(f"This demo was made before; edgevision demo --out {folder} --force makes it anew.")
        return results
    began = time.monotonic()
    trained, recipe, chosen = _train(folder, data, epochs, force)
    claim(folder, FILES)
    run, test = runs.load(folder), load(chosen, "test")
    seconds = _export(run)
    picture, note = _draw_picture(folder / "picture.png")
    forms = {"MLX": _form(folder, test, picture)}
    expected = forms["MLX"].pop("logits")
    for name in ARTIFACTS:
        forms[name] = _form(folder / name, test, picture, expected)
        del forms[name]["logits"]
    results = {
        "format": FORMAT,
        "data": chosen,
        "title": DATA[chosen],
        "machine": run.config["machine"]["about"],
        "parameters": tree_reduce(lambda total, array: total + array.size, run.model.parameters(), 0),
        "training": {**trained, "epochs": recipe.epochs},
        "export_seconds": seconds,
        "forms": forms,
        "picture": {"file": "picture.png", "label": "3", "note": note},
        "seconds": round(time.monotonic() - began, 1),
    }
    from edgevision.report import write_report

    write_report(run, test, expected, results, folder / "report.html")
    with replacing_file(folder / "results.json") as new:
        new.write_text(json.dumps(results, indent=1))
    show(results, folder)
    return results


def _finished(folder: Path, data: str | None) -> dict[str, Any]:
    """The results of the demo in `folder`."""
    again = "--force makes it anew"
    try:
        results = json.loads((folder / "results.json").read_bytes())
        if results["format"] != FORMAT:
            raise ValueError(f"format {results['format']}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'results.json'} is damaged: {error}", hint=again) from error
    if data not in (None, results["data"]):
        raise UserError(f"{folder} holds a demo on {results['data']}", hint=f"{again}, --out another one")
    return results


def _train(folder: Path, data: str | None, epochs: int | None, force: bool) -> tuple[Any, Any, str]:
    """Train, or go on where a demo was interrupted: the results, the recipe, the data set."""
    before = None if force else begun(folder)
    if before is not None:
        console.print(f"{folder}: going on with what was begun", markup=False)
    recipe = Recipe(**before["recipe"]) if before else recipe_of("lenet", "modern")
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    chosen = data or (before["data"] if before else _available_data())
    trained = train_run(
        Plan("lenet", "modern", chosen, recipe), folder, resume=before is not None, force=force
    )
    return trained, recipe, chosen


def _available_data() -> str:
    """mnist, fetched if need be; drawn digits, with a word, where it cannot be had."""
    from edgevision.data.download import get

    try:
        get(find("mnist"))
    except (UserError, OSError) as error:
        console.print(
            f"MNIST cannot be had ({strip_escapes(str(error))}): using digits drawn by this package",
            markup=False,
        )
        return "digits"
    return "mnist"


def _export(run: runs.Run) -> dict[str, float]:
    """Write the artefacts; seconds of each, the first imports of the converters left out."""
    import onnx  # noqa: F401

    import converters.capture
    import converters.targets.coreml.write
    import converters.targets.onnx.write  # noqa: F401

    seconds = {}
    for name, (write, precision) in ARTIFACTS.items():
        began = time.monotonic()
        write(run, run.path / name, precision)
        seconds[name] = round(time.monotonic() - began, 3)
    return seconds


def _form(
    path: Path, test: ImageSet, picture: np.ndarray, expected: np.ndarray | None = None
) -> dict[str, Any]:
    """One form: its logits, errors, agreement with MLX's logits, size, and what it takes the picture for."""
    artifact = expected is not None
    console.print(f"{path.name if artifact else 'MLX'}: {len(test):,} test pictures", markup=False)
    classifier = open_classifier(path)
    logits = all_logits(classifier, unit_range(test.images))
    functions = cv.inspect(path)["functions"].values() if artifact else ()
    return {
        **compared(expected if expected is not None else logits, logits, classifier),
        "logits": logits,
        "errors": int((logits.argmax(axis=-1) != test.labels).sum()),
        "bytes": _size(path if artifact else path / "weights.safetensors"),
        "operations": sum(sum(function["operations"].values()) for function in functions),
        "top": classifier.top(picture),
    }


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(f.stat().st_size for f in (path, *path.rglob("*")) if f.is_file())


def _draw_picture(path: Path) -> tuple[np.ndarray, str]:
    """Write a 3, black on white and larger than the network takes; as an array, and what was done to it."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (200, 200), 255)
    draw = ImageDraw.Draw(picture)
    for box in ((55, 30, 145, 105), (50, 92, 150, 172)):
        draw.arc(box, 200, 450, fill=20, width=15)
    with replacing_file(path) as new:
        picture.save(new, format="PNG")
    return digit_array(open_picture(path))


def show(results: dict[str, Any], folder: Path) -> None:
    """Print the one table, and where the report is."""
    count = next(iter(results["forms"].values()))["pictures"]
    rows = [
        [
            name,
            form["precision"],
            f"{100 * form['errors'] / form['pictures']:.2f} %",
            f"{form['same_class']:,}",
            f"{form['max_rel']:.1e}",
            f"{form['bytes'] / 1000:,.0f} kB",
            f"{form['top'][0]['label']} {form['top'][0]['probability']:.1%}",
        ]
        for name, form in results["forms"].items()
    ]
    heads = ["form", "type", "error", "as MLX", "max rel", "size", "picture"]
    out.print(table(heads, rows, title=f"LeNet on {results['title']}, {count:,} test pictures"))
    training, seconds = results["training"], results["export_seconds"]
    out.print("as MLX: pictures with the same class; max rel: largest difference by the largest logit")
    out.print(f"training: {training['epochs']} epochs, {training['seconds']:.0f} s")
    told = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    out.print(f"export, imports not counted: {told}")
    out.print(f"all: {results['seconds']:.0f} s on {strip_escapes(results['machine'])}", markup=False)
    out.print(f"report: {folder / 'report.html'}", markup=False)

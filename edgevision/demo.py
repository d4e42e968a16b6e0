"""The whole road: train, evaluate, export, prove, classify a picture, and report."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.storage import claim, replacing_file
from edgevision import runs
from edgevision.console import console, out, strip_escapes, table
from edgevision.data import ImageSet, find, load
from edgevision.errors import UserError
from edgevision.export import to_coreml, to_onnx
from edgevision.inference import open_classifier
from edgevision.inference.agreement import all_logits, compared
from edgevision.inference.evaluation import unit_range
from edgevision.pictures import digit_array, open_picture
from edgevision.training.recipe import recipe_of
from edgevision.training.run import train_run

ARTIFACTS = ("lenet.onnx", "lenet.mlpackage", "lenet-float32.mlpackage")
FILES = (*ARTIFACTS, "picture.png", "results.json", "report.html")


def run_demo(folder: Path, data: str | None, epochs: int | None, force: bool) -> dict[str, Any]:
    """Everything, into the run folder `folder`; gives what `results.json` holds.

    A finished demo in `folder` is reported again, not trained again; an interrupted one goes on.
    """
    began = time.monotonic()
    if runs.is_run(folder) and (folder / "results.json").is_file() and not force:
        console.print(f"{folder} is there: this is its result (train it anew with --force)")
        results = json.loads((folder / "results.json").read_text())
        _print(results, folder)
        return results
    chosen = data or _available_data()
    recipe = recipe_of("lenet", "modern")
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    resume = not force and (runs.live_folder(folder) / "training.json").is_file()
    trained = train_run("lenet", "modern", chosen, recipe, folder, resume=resume, force=force)
    claim(folder, FILES)
    run, test = runs.load(folder), load(chosen, "test")
    seconds = _export(run, folder)
    picture = _draw_picture(test, folder / "picture.png")
    forms = {}
    forms["run"], expected = _form(folder, test, None, picture[0])
    for name in ARTIFACTS:
        forms[name], _ = _form(folder / name, test, expected, picture[0])
    results = {
        "data": chosen,
        "training": {**trained, "epochs": recipe.epochs},
        "machine": run.config["machine"]["about"],
        "export_seconds": seconds,
        "forms": forms,
        "picture": {"file": "picture.png", "label": picture[2], "note": picture[1]},
    }
    results["seconds"] = round(time.monotonic() - began, 1)
    with replacing_file(folder / "results.json") as new:
        new.write_text(json.dumps(results, indent=1))
    from edgevision.report import write_report

    write_report(run, test, results, folder / "report.html")
    _print(results, folder)
    return results


def _available_data() -> str:
    """mnist, fetched if need be; drawn digits, with a word, where it cannot be had."""
    from edgevision.data.download import get

    try:
        get(find("mnist"))
    except (UserError, OSError) as error:
        console.print(
            f"MNIST cannot be had ({strip_escapes(str(error))}): using digits drawn by this package"
        )
        return "digits"
    return "mnist"


def _export(run: runs.Run, folder: Path) -> dict[str, float]:
    """Write the three artefacts; seconds of each, the first imports of the converters left out."""
    import onnx  # noqa: F401

    import converters.capture
    import converters.targets.coreml.write
    import converters.targets.onnx.write  # noqa: F401

    seconds = {}
    writers = (
        lambda: to_onnx(run, folder / ARTIFACTS[0]),
        lambda: to_coreml(run, folder / ARTIFACTS[1]),
        lambda: to_coreml(run, folder / ARTIFACTS[2], precision="float32"),
    )
    for name, write in zip(ARTIFACTS, writers, strict=True):
        began = time.monotonic()
        write()
        seconds[name] = round(time.monotonic() - began, 3)
    return seconds


def _form(
    path: Path, test: ImageSet, expected: np.ndarray | None, picture: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Accuracy, agreement with MLX, size, what the picture is taken for; and the logits."""
    console.print(f"checking {path.name} on {len(test):,} pictures")
    classifier = open_classifier(path)
    logits = all_logits(classifier, unit_range(test.images))
    agreed = compared(logits if expected is None else expected, logits, classifier)
    probabilities = classifier.probabilities(picture)[0]
    best = int(probabilities.argmax())
    found = {
        **agreed,
        "errors": int((logits.argmax(axis=-1) != test.labels).sum()),
        "bytes": _size(path / "weights.safetensors" if expected is None else path),
        "classified": classifier.labels[best],
        "probability": float(probabilities[best]),
    }
    return found, logits


def _size(path: Path) -> int:
    return (
        sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        if path.is_dir()
        else path.stat().st_size
    )


def _draw_picture(test: ImageSet, path: Path) -> tuple[np.ndarray, str, str]:
    """A 3, black on white and larger than the model takes, drawn by us: (array, what was done to it,
    label)."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (200, 200), 255)
    draw = ImageDraw.Draw(picture)
    for box in ((55, 30, 145, 105), (50, 92, 150, 172)):
        draw.arc(box, 200, 450, fill=20, width=15)
    with replacing_file(path) as new:
        picture.save(new, format="PNG")
    array, note = digit_array(open_picture(path))
    return array, note, "3"


def _print(results: dict[str, Any], folder: Path) -> None:
    """The one table."""
    rows = [
        [
            name,
            form["precision"],
            f"{100 * form['errors'] / form['pictures']:.2f} %",
            f"{form['same_class']:,} of {form['pictures']:,}",
            f"{form['max_rel']:.1e}",
            f"{form['bytes'] / 1000:.0f} kB",
            f"{form['classified']} ({form['probability']:.1%})",
        ]
        for name, form in results["forms"].items()
    ]
    heads = ["form", "precision", "test error", "same class as MLX", "max rel", "size", "the picture"]
    training = results["training"]
    out.print(table(heads, rows, title=f"LeNet on {results['data']}"))
    out.print(
        f"{training['epochs']} epochs in {training['seconds']:.0f} s; export: "
        + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in results["export_seconds"].items())
        + f"; all in {results['seconds']:.0f} s on {results['machine']}"
    )
    out.print(f"report: {folder / 'report.html'}")

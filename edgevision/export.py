"""From a run to what clients load: an ONNX folder as transformers.js and others expect it, a Core ML
package as Xcode does.

DIR/onnx/model.onnx                 float32; model_fp16.onnx beside it
DIR/config.json, preprocessor_config.json
DIR/<model>.mlpackage               a picture in, label and probabilities out
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

import converters as cv
from converters.storage import claim, replacing_file
from edgevision.errors import UsageError
from edgevision.runs import Run

ONNX_NAMES = {"float32": "model.onnx", "float16": "model_fp16.onnx"}
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow and ITU-R 601 weigh them
TARGETS = ("onnx", "coreml")


def metadata_of(run: Run) -> dict[str, Any]:
    """What every format carries of a run."""
    model, variant = run.config["model"], run.config["variant"]
    return {
        "task": "image-classification",
        "source": f"edgevision {model} ({variant}), trained on {run.config['data']}",
        "description": f"{model} ({variant}) trained on {run.config['data']}",
        "preprocessing": {"size": run.config["input"]["shape"][:2], "color": "grey", "scale": 1 / 255},
    }


def to_onnx(run: Run, path: Path, precision: str | None = None, overwrite: bool = True) -> Path:
    """The model's own signature: `image` float32 (batch, H, W, C) in [0, 1] to `logits`."""
    graph = cv.capture(run.model, {"image": cv.Spec(("batch", *run.config["input"]["shape"]))}, ["logits"])
    options: dict[str, Any] = {"labels": run.labels, "metadata": metadata_of(run), "overwrite": overwrite}
    return cv.convert(graph, path, precision=precision, **options)


def to_coreml(run: Run, path: Path, precision: str | None = None, overwrite: bool = True) -> Path:
    """A classifier that takes a grey picture; Xcode previews it."""
    height, width, _ = run.config["input"]["shape"]
    image = cv.Image(size=(height, width), color="grey", scale=run.config["input"]["scale"])
    graph = cv.capture(run.model, {"image": image}, ["logits"])
    options: dict[str, Any] = {"labels": run.labels, "metadata": metadata_of(run), "overwrite": overwrite}
    return cv.convert(graph, path, precision=precision, **options)


def takes_pixel_values(run: Run) -> Callable[[mx.array], mx.array]:
    """The model as image-classification clients call it: RGB (B, 3, H, W) in [0, 1] to logits."""
    weights = mx.array(GREY).reshape(1, 3, 1, 1)

    def classify(pixel_values: mx.array) -> mx.array:
        grey = mx.sum(pixel_values * weights, axis=1)  # (B, H, W)
        return run.model(mx.expand_dims(grey, -1))

    return classify


def to_clients_onnx(run: Run, folder: Path, precision: str | None = None, overwrite: bool = True) -> Path:
    """`folder/onnx/model.onnx` and the JSON files beside it, in the layout that transformers.js loads."""
    name = ONNX_NAMES[precision or "float32"]
    height, width, _ = run.config["input"]["shape"]
    spec = cv.Spec(("batch_size", 3, height, width))
    graph = cv.capture(takes_pixel_values(run), {"pixel_values": spec}, ["logits"], module=run.model)
    claim(folder, [f"onnx/{name}", "config.json", "preprocessor_config.json"])
    options: dict[str, Any] = {"labels": run.labels, "metadata": metadata_of(run), "overwrite": overwrite}
    path = cv.convert(graph, folder / "onnx" / name, precision=precision, **options)
    for file, content in _client_files(run).items():
        with replacing_file(folder / file) as new:
            new.write_text(json.dumps(content, indent=1))
    return path


def _client_files(run: Run) -> dict[str, Any]:
    """`model_type` only chooses the pipeline; transformers.js takes a plain CNN as "resnet"."""
    height, width, _ = run.config["input"]["shape"]
    return {
        "config.json": {
            "model_type": "resnet",
            "architectures": [f"edgevision {run.config['model']}"],
            "id2label": {str(index): label for index, label in enumerate(run.labels)},
        },
        "preprocessor_config.json": {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": height, "width": width},
            "do_rescale": True,
            "rescale_factor": run.config["input"]["scale"],
            "do_normalize": False,
        },
    }


def export_run(run: Run, targets: list[str], out: Path, precision: str | None, force: bool) -> list[Path]:
    """Everything that `edgevision export` writes; gives the paths of the artefacts.

    Raises:
        UsageError: an unknown target or precision.
        OutputExists: an artefact is there and `force` was not given.
    """
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown or not targets:
        raise UsageError(
            f"--to {', '.join(unknown) or 'is missing'}", hint=f"choose from {', '.join(TARGETS)}"
        )
    if precision not in (None, *ONNX_NAMES):
        raise UsageError(f"precision {precision!r} is unknown", hint=f"choose from {', '.join(ONNX_NAMES)}")
    package = f"{run.config['model']}.mlpackage"
    claim(out, [package])
    paths = []
    if "onnx" in targets:
        paths.append(to_clients_onnx(run, out, precision, overwrite=force))
    if "coreml" in targets:
        paths.append(to_coreml(run, out / package, precision, overwrite=force))
    return paths

"""From a run to what clients load: an ONNX folder as transformers.js and others expect it, a Core ML
package as Xcode does.

DIR/onnx/model.onnx                 float32; beside it model_fp16.onnx, model_quantized.onnx, model_q4.onnx
DIR/config.json, preprocessor_config.json
DIR/<model>.mlpackage               a picture in, label and probabilities out
DIR/<model>.aimodel                 Core AI, `image` float32 (batch, H, W, C) in [0, 1] to `logits`
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np

import converters as cv
from converters.storage import claim, replacing_file
from edgevision.data import load_as_trained
from edgevision.errors import UsageError
from edgevision.inference.classifier import as_pixel_values
from edgevision.inference.evaluation import unit_range
from edgevision.runs import Run

PRECISIONS = ("float32", "float16")
ONNX_NAMES = {
    "float32": "model.onnx",
    "float16": "model_fp16.onnx",
    "int8": "model_quantized.onnx",
    "int4": "model_q4.onnx",
}
CALIBRATION = 2000  # pictures of the training set: rare ones show how far activations reach
BATCH = 100
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow and ITU-R 601 weigh them
TARGETS = ("onnx", "coreml", "coreai")


def metadata_of(run: Run) -> dict[str, Any]:
    """What every format carries of a run."""
    model, variant = run.config["model"], run.config["variant"]
    height, width, _ = run.config["input"]["shape"]
    return {
        "task": "image-classification",
        "source": f"edgevision {model} ({variant}), trained on {run.config['data']}",
        "description": f"{model} ({variant}) trained on {run.config['data']}",
        "preprocessing": {"size": [height, width], "color": color_of(run), "scale": 1 / 255},
    }


def color_of(run: Run) -> Literal["grey", "rgb"]:
    """What pictures the model takes."""
    return "grey" if run.config["input"]["shape"][2] == 1 else "rgb"


def calibration_pictures(run: Run) -> list[np.ndarray]:
    """Training pictures of the run's data set, (100, H, W, C) each, in [0, 1].

    Raises:
        UserError: the data set is not there.
    """
    images = load_as_trained(run.config, "train", count=CALIBRATION).images
    return [unit_range(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]


def to_plain(
    run: Run, path: Path, precision: str | None = None, overwrite: bool = True, quantize: str | None = None
) -> Path:
    """The model's own signature, `image` float32 (batch, H, W, C) in [0, 1] to `logits`, as `.onnx` or
    `.aimodel`."""
    graph = cv.capture(run.model, {"image": cv.Spec(("batch", *run.config["input"]["shape"]))}, ["logits"])
    options: dict[str, Any] = {"labels": run.labels, "metadata": metadata_of(run), "overwrite": overwrite}
    return cv.convert(graph, path, precision=precision, quantize=quantize, **options)


def to_coreml(
    run: Run, path: Path, precision: str | None = None, overwrite: bool = True, quantize: str | None = None
) -> Path:
    """A classifier that takes a picture; Xcode previews it."""
    height, width, _ = run.config["input"]["shape"]
    image = cv.Image(size=(height, width), color=color_of(run), scale=run.config["input"]["scale"])
    graph = cv.capture(run.model, {"image": image}, ["logits"])
    options: dict[str, Any] = {"labels": run.labels, "metadata": metadata_of(run), "overwrite": overwrite}
    return cv.convert(graph, path, precision=precision, quantize=quantize, **options)


def takes_pixel_values(run: Run) -> Callable[[mx.array], mx.array]:
    """The model as image-classification clients call it: RGB (B, 3, H, W) in [0, 1] to logits."""
    weights = mx.array(GREY).reshape(1, 3, 1, 1)
    if color_of(run) == "rgb":
        return lambda pixel_values: run.model(pixel_values.transpose(0, 2, 3, 1))

    def classify(pixel_values: mx.array) -> mx.array:
        grey = mx.sum(pixel_values * weights, axis=1)  # (B, H, W)
        return run.model(mx.expand_dims(grey, -1))

    return classify


def to_clients_onnx(
    run: Run, folder: Path, precision: str | None = None, overwrite: bool = True, quantize: str | None = None
) -> Path:
    """`folder/onnx/model.onnx` and the JSON files beside it, in the layout that transformers.js loads; 8 bits
    are calibrated with pictures that the run was trained on."""
    name = ONNX_NAMES[quantize or precision or "float32"]
    height, width, _ = run.config["input"]["shape"]
    spec = cv.Spec(("batch_size", 3, height, width))
    graph = cv.capture(takes_pixel_values(run), {"pixel_values": spec}, ["logits"], module=run.model)
    claim(folder, [f"onnx/{name}", "config.json", "preprocessor_config.json"])
    options: dict[str, Any] = {"labels": run.labels, "metadata": metadata_of(run), "overwrite": overwrite}
    if quantize == "int8":
        options["calibration"] = [as_pixel_values(pictures) for pictures in calibration_pictures(run)]
    options |= {"precision": precision, "quantize": quantize}
    path = cv.convert(graph, folder / "onnx" / name, **options)
    for file, content in _client_files(run).items():
        with replacing_file(folder / file) as new:
            new.write_text(json.dumps(content, indent=1))
    return path


def _client_files(run: Run) -> dict[str, Any]:
    """`model_type` only chooses the pipeline; transformers.js takes a plain CNN as "resnet". What the model
    does to pixels beside the scale is in the graph."""
    height, width, _ = run.config["input"]["shape"]
    return {
        "config.json": {
            "model_type": "vit" if run.config["model"] == "vit" else "resnet",
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


def export_run(
    run: Run, targets: list[str], out: Path, precision: str | None, force: bool, quantize: str | None = None
) -> list[Path]:
    """Everything that `edgevision export` writes; gives the paths of the artefacts.

    Raises:
        UsageError: an unknown target or precision, or a quantization that a target has not.
        OutputExists: an artefact is there and `force` was not given.
    """
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown or not targets:
        raise UsageError(
            f"--to {', '.join(unknown) or 'is missing'}", hint=f"choose from {', '.join(TARGETS)}"
        )
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"precision {precision!r} is unknown", hint=f"choose from {', '.join(PRECISIONS)}")
    schemes = ("int8", "int4") if "onnx" in targets else ("int8", "int4", "palette4", "palette6", "palette8")
    if quantize not in (None, *schemes):
        raise UsageError(
            f"--quantize {quantize} is unknown for {' and '.join(targets)}",
            hint=f"choose from {', '.join(schemes)}",
        )
    suffix = f"_{quantize}" if quantize else ""
    package, asset = (f"{run.config['model']}{suffix}.{ending}" for ending in ("mlpackage", "aimodel"))
    claim(out, [package, asset])
    paths = []
    if "onnx" in targets:
        paths.append(to_clients_onnx(run, out, precision, force, quantize))
    if "coreml" in targets:
        paths.append(to_coreml(run, out / package, precision, force, quantize))
    if "coreai" in targets:
        paths.append(to_plain(run, out / asset, precision, force, quantize))
    return paths

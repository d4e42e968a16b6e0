"""Classifiers of every form behind one call. A run folder computes in MLX; artefacts need no MLX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.compare import TOLERANCES
from edgevision.errors import UserError

KINDS = {".onnx": "onnx", ".mlpackage": "coreml", ".aimodel": "coreai"}


@dataclass(frozen=True)
class Classifier:
    """An opened model.

    Attributes:
        logits: float32 pictures (N, H, W, C) in [0, 1] to logits (N, classes).
        labels: class names.
        kind: "run", "onnx", "coreml" or "coreai".
        runtime: what computes, for reports.
        precision: of weights and arithmetic; "quantized" where they are codes.
        shape: (H, W, C) of its pictures; one channel is grey, three are RGB.
        note: what is computed in place of the artefact itself here, and why.
    """

    logits: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...]
    kind: str
    runtime: str
    precision: str = "float32"
    shape: tuple[int, int, int] = (28, 28, 1)
    note: str | None = None

    def top(self, image: np.ndarray, count: int = 5) -> list[dict[str, Any]]:
        """The most probable classes of one picture (1, H, W, C): `label` and `probability`, best first."""
        probabilities = softmax(self.logits(image))[0]
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [{"label": self.labels[i], "probability": float(probabilities[i])} for i in order]

    def predict(self, images: np.ndarray, batch: int = 1000) -> np.ndarray:
        """The most probable class of each picture; int64 (N,)."""
        parts = [self.logits(images[i : i + batch]).argmax(axis=-1) for i in range(0, len(images), batch)]
        return np.concatenate(parts)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 (N, classes)."""
    scores = logits.astype(np.float64)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def open_classifier(path: Path) -> Classifier:
    """A run folder, an `.onnx`, an `.mlpackage`, an `.aimodel`, or a folder that `edgevision export` wrote.

    Raises:
        UserError: nothing of these is there, or it is no classifier.
        LoadError: the artefact is damaged.
    """
    if not path.exists():
        raise UserError(f"{path} is not there", hint="train a model: edgevision train lenet --out runs/lenet")
    if path.is_dir() and path.suffix not in KINDS:
        if (path / "training.json").is_file() or (path / "weights.safetensors").is_file():
            return _open_run(path)
        return _open_artifact(find_artifact(path))
    return _open_artifact(path)


def find_artifact(folder: Path) -> Path:
    """The artefact in an export folder: the ONNX file of the highest precision, else the Core ML package.

    Raises:
        UserError: there is none.
    """
    for pattern in ("onnx/model.onnx", "onnx/*.onnx", "*.onnx", "*.mlpackage", "*.aimodel"):
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    raise UserError(
        f"{folder} holds neither a run nor an artefact",
        hint="give a run folder, .onnx, .mlpackage or .aimodel",
    )


def _open_run(path: Path) -> Classifier:
    import mlx.core as mx

    from edgevision import runs

    run = runs.load(path)
    device = "Metal" if mx.default_device() == mx.Device(mx.gpu) else "CPU"
    runtime = f"MLX {version('mlx')} ({device})"
    height, width, channels = run.config["input"]["shape"]
    shape = (int(height), int(width), int(channels))
    return Classifier(lambda x: np.array(run.model(mx.array(x))), run.labels, "run", runtime, shape=shape)


def _open_artifact(path: Path) -> Classifier:
    from converters import Image, load

    model = load(path)
    labels, precision = model.metadata.get("labels"), model.metadata.get("precision", "float32")
    precision = "quantized" if model.quantization is not None else precision
    if len(model.inputs) != 1 or len(model.outputs) != 1 or not isinstance(labels, list):
        raise UserError(f"{path} is no classifier: it needs one input, one output and labels")
    ((name, _),), ((output, spec),) = model.inputs.items(), model.outputs.items()
    if isinstance(spec, Image) or spec.shape[-1:] != (len(labels),) or precision not in TOLERANCES:
        raise UserError(
            f"{path} is damaged: its metadata does not fit what it computes", hint="export it anew"
        )

    def logits(images: np.ndarray) -> np.ndarray:
        return model(**{name: as_pixel_values(images) if name == "pixel_values" else images})[output]

    shape, kind = _shape(model.metadata.get("preprocessing")), KINDS[path.suffix]
    return Classifier(logits, tuple(map(str, labels)), kind, model.runtime, precision, shape, model.note)


def as_pixel_values(images: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 1 or 3) as clients of image classifiers give them, RGB (N, 3, H, W)."""
    return np.repeat(images, 3 // images.shape[-1], axis=-1).transpose(0, 3, 1, 2)


def _shape(preprocessing: Any) -> tuple[int, int, int]:
    """Of the pictures that an artefact takes, from what its metadata says."""
    match preprocessing:
        case {"size": [int(height), int(width)], "color": "grey" | "rgb" as color}:
            return height, width, 1 if color == "grey" else 3
    return 28, 28, 1

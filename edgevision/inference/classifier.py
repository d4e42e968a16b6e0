"""Classifiers of every form behind one call. A run folder computes in MLX; artefacts need no MLX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.errors import UserError


@dataclass(frozen=True)
class Classifier:
    """An opened model.

    Attributes:
        logits: float32 pictures (N, 28, 28, 1) in [0, 1] to logits (N, classes).
        labels: class names.
        kind: "run", "onnx" or "coreml".
        runtime: what computes, for reports.
        precision: of weights and arithmetic.
    """

    logits: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...]
    kind: str
    runtime: str
    precision: str = "float32"

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Softmax of the logits, float64 (N, classes)."""
        scores = self.logits(images).astype(np.float64)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return scores / scores.sum(axis=-1, keepdims=True)

    def predict(self, images: np.ndarray, batch: int = 1000) -> np.ndarray:
        """The most probable class of each picture; int64 (N,)."""
        parts = [self.logits(images[i : i + batch]).argmax(axis=-1) for i in range(0, len(images), batch)]
        return np.concatenate(parts)


def open_classifier(path: Path) -> Classifier:
    """A run folder, an `.onnx`, an `.mlpackage`, or a folder that `edgevision export` wrote.

    Raises:
        UserError: nothing of these is there, or it is no classifier.
        LoadError: the artefact is damaged.
    """
    if not path.exists():
        raise UserError(f"{path} is not there", hint="train a model: edgevision train lenet --out runs/lenet")
    if path.is_dir() and path.suffix != ".mlpackage":
        if (path / "config.json").is_file() and (path / "weights.safetensors").is_file():
            return _open_run(path)
        inside = sorted([*path.glob("onnx/model.onnx"), *path.glob("*.onnx"), *path.glob("*.mlpackage")])
        if not inside:
            raise UserError(
                f"{path} holds neither a run nor an artefact", hint="give a run folder, .onnx or .mlpackage"
            )
        return open_classifier(inside[0])
    return _open_artifact(path)


def _open_run(path: Path) -> Classifier:
    import mlx.core as mx

    from edgevision import runs

    run = runs.load(path)
    device = "Metal" if mx.default_device() == mx.Device(mx.gpu) else "CPU"
    return Classifier(lambda x: np.array(run.model(mx.array(x))), run.labels, "run", f"MLX ({device})")


def _open_artifact(path: Path) -> Classifier:
    from converters import load

    model = load(path)
    labels = model.metadata.get("labels")
    if len(model.inputs) != 1 or len(model.outputs) != 1 or not isinstance(labels, list):
        raise UserError(f"{path} is no classifier: it needs one input, one output and labels")
    (name,), (output,) = model.inputs, model.outputs
    kind = "onnx" if path.suffix == ".onnx" else "coreml"

    def logits(images: np.ndarray) -> np.ndarray:
        fed = np.repeat(images, 3, axis=-1).transpose(0, 3, 1, 2) if name == "pixel_values" else images
        return model(**{name: fed})[output]

    return Classifier(
        logits, tuple(map(str, labels)), kind, model.runtime, model.metadata.get("precision", "float32")
    )

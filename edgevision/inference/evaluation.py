"""How good a classifier is on a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data import ImageSet
from edgevision.errors import UserError
from edgevision.inference.classifier import Classifier


def unit_range(images: np.ndarray) -> np.ndarray:
    """uint8 pictures as float32 in [0, 1], as every form of a model takes them."""
    return images.astype(np.float32) / np.float32(255)


def evaluate_classifier(classifier: Classifier, test: ImageSet) -> dict[str, Any]:
    """count, errors, accuracy, and the confusion matrix (rows: true classes).

    Raises:
        UserError: the classifier's classes are not those of the data set.
    """
    if classifier.labels != test.classes:
        raise UserError(
            f"the model's classes ({', '.join(classifier.labels)}) are not the data set's "
            f"({', '.join(test.classes)})",
            hint="choose the data set that it was trained on with --data",
        )
    predicted = classifier.predict(unit_range(test.images))
    wrong = int((predicted != test.labels).sum())
    return {
        "count": len(test),
        "errors": wrong,
        "accuracy": 1 - wrong / len(test),
        "confusion": confusion(test.labels, predicted, len(test.classes)).tolist(),
    }


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): how often class i was taken for class j."""
    return np.bincount(true.astype(np.int64) * classes + predicted, minlength=classes**2).reshape(
        classes, classes
    )


def data_of(path: Path) -> str | None:
    """The data set that a run was trained on, None for artefacts."""
    from edgevision import runs

    return runs.read_config(path).get("data") if runs.is_run(path) else None

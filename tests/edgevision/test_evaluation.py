"""Counting what a classifier gets right."""

import numpy as np
import pytest

from edgevision.data import ImageSet
from edgevision.errors import UserError
from edgevision.inference.classifier import Classifier
from edgevision.inference.evaluation import confusion, evaluate_classifier

CLASSES = ("dark", "bright")


def by_brightness(images: np.ndarray) -> np.ndarray:
    mean = images.mean(axis=(1, 2, 3))
    return np.stack([0.5 - mean, mean - 0.5], axis=1)


def test_confusion_has_a_row_per_true_class() -> None:
    true, predicted = np.array([0, 0, 1, 2, 2, 2], np.int32), np.array([0, 1, 1, 0, 0, 2])
    assert confusion(true, predicted, 3).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]


def test_errors_are_counted() -> None:
    images = np.zeros((4, 2, 2, 1), np.uint8)
    images[2:] = 255
    data = ImageSet(images, np.array([0, 1, 1, 1], np.int32), CLASSES)
    result = evaluate_classifier(Classifier(by_brightness, CLASSES, "run", "NumPy"), data)
    assert result == {"count": 4, "errors": 1, "accuracy": 0.75, "confusion": [[1, 0], [1, 2]]}


def test_other_classes_are_refused() -> None:
    data = ImageSet(np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32), ("shirt", "boot"))
    with pytest.raises(UserError, match=r"dark, bright.*shirt, boot"):
        evaluate_classifier(Classifier(by_brightness, CLASSES, "run", "NumPy"), data)

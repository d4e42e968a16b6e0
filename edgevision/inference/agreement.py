"""A run and its artefact on the same pictures: do they compute the same thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.compare import report
from edgevision.data import ImageSet, load
from edgevision.errors import UserError
from edgevision.inference.classifier import Classifier, open_classifier
from edgevision.inference.evaluation import data_of, unit_range


def agreement(
    run: Path, artifact: Path, count: int | None = 256, rtol: float | None = None
) -> dict[str, Any]:
    """ok, verdict, max_abs, max_rel, tolerance, runtime, and how often both give the same class.

    The pictures are the first test pictures of the run's data set, or drawn digits where it is not there.

    Raises:
        UserError: the two have different classes.
    """
    one, other = open_classifier(run), open_classifier(artifact)
    if len(one.labels) != len(other.labels):
        raise UserError(f"{run} has {len(one.labels)} classes, {artifact} has {len(other.labels)}")
    images = unit_range(pictures(run, count).images)
    return compared(all_logits(one, images), all_logits(other, images), other, rtol)


def all_logits(classifier: Classifier, images: np.ndarray, batch: int = 1000) -> np.ndarray:
    """The logits (N, classes) of many pictures, `batch` at a time."""
    return np.concatenate([classifier.logits(images[i : i + batch]) for i in range(0, len(images), batch)])


def compared(
    expected: np.ndarray, got: np.ndarray, classifier: Classifier, rtol: float | None = None
) -> dict[str, Any]:
    """What `agreement` gives, from the logits of both."""
    result = report({"logits": expected}, {"logits": got}, classifier.precision, classifier.runtime, rtol)
    return {
        "ok": result.ok,
        "verdict": "agrees with MLX" if result.ok else "DIFFERS from MLX",
        "max_abs": result.max_abs,
        "max_rel": result.max_rel,
        "tolerance": result.tolerance,
        "precision": classifier.precision,
        "runtime": classifier.runtime,
        "same_class": int((expected.argmax(axis=-1) == got.argmax(axis=-1)).sum()),
        "pictures": len(expected),
    }


def pictures(run: Path, count: int | None) -> ImageSet:
    """Test pictures for a run."""
    try:
        return load(data_of(run) or "digits", "test", count)
    except UserError:
        return load("digits", "test", count)

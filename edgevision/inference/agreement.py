"""A run and its artefact on the same pictures: do they compute the same thing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from converters.compare import report
from edgevision import runs
from edgevision.data import ImageSet, load, load_as_trained
from edgevision.errors import UserError
from edgevision.inference.classifier import Classifier, open_classifier
from edgevision.inference.evaluation import unit_range

NOISE = 256  # pictures of it


def agreement(
    run: Path, artifact: Path, count: int | None = 256, rtol: float | None = None
) -> dict[str, Any]:
    """Both on the same test pictures.

    Gives `ok`, `verdict`, `max_abs`, `max_rel`, `tolerance`, `precision`, `runtime`, `note`, the data set's
    name as `data`, how many `pictures` there were, and for how many of them both give the `same_class`.

    Raises:
        UserError: `run` is no run folder, or the two have different classes.
    """
    one, other = open_classifier(run), open_classifier(artifact)
    if one.kind != "run":
        raise UserError(f"{run} is no run folder", hint="edgevision compare RUN ARTEFACT")
    if one.labels != other.labels:
        raise UserError(f"{artifact} has other classes than {run}", hint="export the run anew")
    data, test = pictures(run, count)
    images = unit_range(test.images)
    return {"data": data, **compared(all_logits(one, images), all_logits(other, images), other, rtol)}


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
        "note": classifier.note,
        "same_class": int((expected.argmax(axis=-1) == got.argmax(axis=-1)).sum()),
        "pictures": len(expected),
    }


def pictures(run: Path, count: int | None) -> tuple[str, ImageSet]:
    """The first test pictures of the run's data, and its name; where it is not there drawn digits, or noise
    for models of other pictures."""
    if not runs.is_run(run):
        return "digits", load("digits", "test", count)
    config = runs.read_config(run)
    wanted = tuple(config["input"]["shape"])
    for name in (config["data"], "digits"):
        with suppress(UserError):
            test = load_as_trained(config, "test", name, count)
            if test.images.shape[1:] == wanted:
                return name, test
    noise = np.random.default_rng(0).integers(0, 256, (count or NOISE, *wanted)).astype(np.uint8)
    return "noise", ImageSet(noise, np.zeros(len(noise), np.int32), ("noise",))

"""Selecting boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import FLOATS, Meaning, limited

Array = np.ndarray


def overlap(boxes: Array, box: Array) -> Array:
    """Intersection over union of (N, 4) boxes with one, each (centre x, centre y, width, height)."""
    low = np.maximum(boxes[:, :2] - boxes[:, 2:] / 2, box[:2] - box[2:] / 2)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:] / 2, box[:2] + box[2:] / 2)
    shared = np.prod(np.maximum(0, high - low), 1)
    union = np.prod(boxes[:, 2:], 1) + np.prod(box[2:]) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def _selected(boxes: Array, scores: Array, iou: float, least: float, per_class: bool) -> list[int]:
    """Boxes in the order of their best score, without those that overlap a better one (of the same class)."""
    best, classes = scores.max(1), scores.argmax(1)
    waiting = [int(i) for i in np.argsort(-best, kind="stable") if best[i] >= least]
    kept: list[int] = []
    while waiting:
        first, *waiting = waiting
        kept.append(first)
        shared = overlap(boxes[waiting], boxes[first]) > iou
        if per_class:
            shared &= classes[waiting] == classes[first]
        waiting = [index for index, drop in zip(waiting, shared, strict=True) if not drop]
    return kept


def _non_maximum_suppression(
    boxes: Array,
    scores: Array,
    iou_threshold: Any,
    max_boxes: Any,
    score_threshold: Any = None,
    per_class_suppression: Any = False,
    ios: int = 15,
) -> tuple[Array, ...]:
    """Boxes, their scores and indices, filled up with 0 and -1; before iOS 17 also their number.

    (n, B, 4) and (n, B, K); from iOS 17 on (n, 4, B) and (n, K, B), and no threshold of scores. Before iOS 17
    at least the best box is kept.
    """
    if ios >= 17:
        boxes, scores = boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1)
    if boxes.shape[2] != 4 or boxes.shape[:2] != scores.shape[:2]:
        raise ValueError(f"boxes {boxes.shape} with scores {scores.shape}")
    count = int(max_boxes)
    least = -np.inf if score_threshold is None else float(score_threshold)
    chosen_boxes = np.zeros(limited((len(boxes), count, 4)), np.float32)
    chosen_scores = np.zeros(limited((len(boxes), count, scores.shape[2])), np.float32)
    indices, numbers = np.full((len(boxes), count), -1, np.int32), np.zeros(len(boxes), np.int32)
    for batch in range(len(boxes)):
        kept = _selected(
            boxes[batch], scores[batch], float(iou_threshold), least, bool(per_class_suppression)
        )
        kept = (kept or [int(scores[batch].max(1).argmax())])[:count]
        chosen_boxes[batch, : len(kept)], chosen_scores[batch, : len(kept)] = (
            boxes[batch, kept],
            scores[batch, kept],
        )
        indices[batch, : len(kept)], numbers[batch] = kept, len(kept)
    if ios >= 17:
        return chosen_boxes.transpose(0, 2, 1), chosen_scores.transpose(0, 2, 1), indices
    return chosen_boxes, chosen_scores, indices, numbers


def _dtypes(boxes: Array, scores: Array, score_threshold: Any = None, **_: Any) -> tuple[str, ...]:
    last = ("int32", "int32") if score_threshold is not None else ("int32",)
    return (boxes.dtype.name, scores.dtype.name, *last)


MEANINGS = {
    "non_maximum_suppression": Meaning(_non_maximum_suppression, _dtypes, allowed=FLOATS, versioned=True),
}

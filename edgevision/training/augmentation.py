"""Changed pictures of the same things, on the loader's threads: uint8 batches (N, H, W, C) in and out."""

from __future__ import annotations

import numpy as np

from edgevision.training.recipe import Recipe


def changed(images: np.ndarray, random: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Cropped and flipped as the recipe says."""
    if recipe.crop:
        images = cropped(images, random, recipe.crop)
    if recipe.flip:
        images = flipped(images, random)
    return images


def cropped(images: np.ndarray, random: np.random.Generator, margin: int) -> np.ndarray:
    """Each picture moved by up to `margin` pixels in both directions; what comes in mirrors its edge."""
    n, h, w, _ = images.shape
    sides = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    wide = np.pad(images, sides, mode="reflect" if margin < min(h, w) else "edge")
    result = np.empty_like(images)
    for index, (top, left) in enumerate(random.integers(0, 2 * margin + 1, (n, 2))):
        result[index] = wide[index, top : top + h, left : left + w]
    return result


def flipped(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every second picture, on average, with left and right exchanged."""
    turned = random.random(len(images)) < 0.5
    return np.where(turned[:, None, None, None], images[:, :, ::-1], images)

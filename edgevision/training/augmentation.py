"""Changed pictures of the same things, on the loader's threads: uint8 batches (N, H, W, C).

    crop, flip              moved and mirrored
    RandAugment             Cubuk et al., 2019: a few of 14 changes, all as strong as one number says
    mixup                   Zhang et al., 2017: two pictures shine through each other
    cutmix                  Yun et al., 2019: a rectangle of one in the other

Every random number comes from the generator that is given, one per step: a resumed training sees the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgevision.data.batches import Batch
from edgevision.training.recipe import Recipe

if TYPE_CHECKING:
    from PIL import Image

STRONGEST = 30  # of RandAugment's scale
GREY = (128,)  # what comes in where a picture is turned


def changes_pictures(recipe: Recipe) -> bool:
    """Whether `changed` would do anything."""
    return bool(recipe.crop or recipe.flip or recipe.randaugment or recipe.mixup or recipe.cutmix)


def changed(batch: Batch, random: np.random.Generator, recipe: Recipe) -> Batch:
    """(images, labels) as the recipe says; with mixup or cutmix (images, labels, the labels of what was mixed
    in, float32 shares of the first)."""
    images, labels = batch
    if recipe.randaugment:
        images = randomly_augmented(images, random, *recipe.randaugment)
    if recipe.crop:
        images = cropped(images, random, recipe.crop)
    if recipe.flip:
        images = flipped(images, random)
    kinds = [(mix, value) for mix, value in ((mixed_up, recipe.mixup), (cut_in, recipe.cutmix)) if value]
    if not kinds:
        return images, labels
    mix, value = kinds[random.integers(len(kinds))]
    others = random.permutation(len(images))
    images, shares = mix(images, images[others], random, value)
    return images, labels, labels[others], shares


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


def mixed_up(
    images: np.ndarray, others: np.ndarray, random: np.random.Generator, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means, and the weights of `images`, drawn from Beta(alpha, alpha)."""
    shares = random.beta(alpha, alpha, len(images)).astype(np.float32)
    weights = shares[:, None, None, None]
    return np.round(images * weights + others * (1 - weights)).astype(np.uint8), shares


def cut_in(
    images: np.ndarray, others: np.ndarray, random: np.random.Generator, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """`images` with a rectangle of `others`, and the shares that are left of `images`."""
    n, h, w, _ = images.shape
    side = np.sqrt(1 - random.beta(alpha, alpha, n))[:, None]
    middle = random.random((n, 2)) * (h, w)
    low = np.clip(np.round(middle - side * (h, w) / 2), 0, (h, w)).astype(int)
    high = np.clip(np.round(middle + side * (h, w) / 2), 0, (h, w)).astype(int)
    rows, columns = np.arange(h), np.arange(w)
    inside = ((rows >= low[:, :1]) & (rows < high[:, :1]))[:, :, None]
    inside = inside & ((columns >= low[:, 1:]) & (columns < high[:, 1:]))[:, None, :]  # (N, H, W)
    shares = (1 - inside.mean(axis=(1, 2))).astype(np.float32)
    return np.where(inside[..., None], others, images), shares


def randomly_augmented(
    images: np.ndarray, random: np.random.Generator, count: int, strength: float
) -> np.ndarray:
    """`count` random changes of each picture; `strength` is between 0 and 30."""
    from PIL import Image

    grey = images.shape[-1] == 1
    result = np.empty_like(images)
    names = list(_CHANGES)
    for index, pixels in enumerate(images):
        picture = Image.fromarray(pixels[..., 0] if grey else pixels)
        for name in random.choice(names, count):
            signed = strength / STRONGEST * (1 if random.random() < 0.5 else -1)
            picture = _CHANGES[name](picture, signed)
        result[index] = np.asarray(picture).reshape(pixels.shape)
    return result


def _moved(picture: Image.Image, *rows: float) -> Image.Image:
    from PIL import Image

    fill = GREY * len(picture.getbands())
    return picture.transform(picture.size, Image.Transform.AFFINE, rows, fillcolor=fill)


def _turned(picture: Image.Image, by: float) -> Image.Image:
    return picture.rotate(30 * by, fillcolor=GREY * len(picture.getbands()))


def _enhanced(kind: str, picture: Image.Image, by: float) -> Image.Image:
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(picture).enhance(1 + 0.9 * by)


def _remapped(kind: str, picture: Image.Image, *value: int) -> Image.Image:
    from PIL import ImageOps

    return getattr(ImageOps, kind)(picture, *value)


# Of a picture and a strength in [-1, 1].
_CHANGES = {
    "nothing": lambda picture, by: picture,
    "turn": _turned,
    "shear x": lambda picture, by: _moved(picture, 1, 0.3 * by, 0, 0, 1, 0),
    "shear y": lambda picture, by: _moved(picture, 1, 0, 0, 0.3 * by, 1, 0),
    "move x": lambda picture, by: _moved(picture, 1, 0, 0.3 * by * picture.width, 0, 1, 0),
    "move y": lambda picture, by: _moved(picture, 1, 0, 0, 0, 1, 0.3 * by * picture.height),
    "brightness": lambda picture, by: _enhanced("Brightness", picture, by),
    "contrast": lambda picture, by: _enhanced("Contrast", picture, by),
    "colour": lambda picture, by: _enhanced("Color", picture, by),
    "sharpness": lambda picture, by: _enhanced("Sharpness", picture, by),
    "posterize": lambda picture, by: _remapped("posterize", picture, 8 - round(4 * abs(by))),
    "solarize": lambda picture, by: _remapped("solarize", picture, 256 - round(256 * abs(by))),
    "equalize": lambda picture, by: _remapped("equalize", picture),
    "stretch contrast": lambda picture, by: _remapped("autocontrast", picture),
}


__all__ = [
    "changed",
    "changes_pictures",
    "cropped",
    "cut_in",
    "flipped",
    "mixed_up",
    "randomly_augmented",
]

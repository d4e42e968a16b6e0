"""Drawn scenes: one or two coloured shapes on grey, and the sentence that describes them, by seed.

"a large red circle left of a small blue square": the larger shape is named first, of two equal ones the left
or the upper one, so that a picture has one sentence. Some pairs of colour and shape are held out: no picture
of the training has them, every picture of `unseen` has one. Who names those has understood colour and shape.

Letters: N pictures, H height, W width; objects are numbered in the order in which they are named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevision.data.captions import CaptionSet
from edgevision.errors import UsageError

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (205, 45, 45),
    "green": (50, 160, 65),
    "blue": (45, 80, 200),
    "yellow": (228, 205, 50),
    "purple": (135, 55, 165),
    "orange": (236, 132, 35),
    "pink": (240, 140, 185),
    "cyan": (60, 195, 205),
    "white": (243, 243, 243),
    "black": (18, 18, 18),
}
SIZES = {"small": (0.105, 0.135), "large": (0.2, 0.25)}  # half the side of the box, of the picture's side
RELATIONS = ("left of", "right of", "above", "below")
HELD_OUT = frozenset(
    {("red", "star"), ("green", "triangle"), ("blue", "circle"), ("yellow", "cross"), ("purple", "square")}
)
COUNTS = {"train": 6000, "test": 1000, "unseen": 1000}
SINGLE = 0.2  # share of the pictures with one object
CLEARER = 1.5  # how many times farther apart the objects are in the direction that is named


@dataclass(frozen=True)
class Scenes:
    """Pictures and what is known of them.

    Attributes:
        images: uint8 (N, H, W, 3).
        captions: the sentence of each picture. phrases: of each object, such as "a large red circle".
        classes: int32 (N, 2), numbers of SHAPES; -1 where there is no second object.
        boxes: float32 (N, 2, 4), left, top, right, bottom in pixels; zeros where there is no second object.
        masks: uint8 (N, H, W), 0 for the background, else the number of the shape and 1.
    """

    images: np.ndarray
    captions: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    classes: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.captions)

    def caption_set(self) -> CaptionSet:
        """Pictures and sentences alone."""
        names = tuple(f"scene-{index:05d}.png" for index in range(len(self)))
        return CaptionSet(self.images, tuple((caption,) for caption in self.captions), names)


@dataclass(frozen=True)
class Thing:
    """An object: centre and half a side in pixels."""

    size: str
    colour: str
    shape: str
    x: float
    y: float
    radius: float

    @property
    def phrase(self) -> str:
        """Such as "a large red circle"."""
        return f"{'an' if self.size[0] in 'aeiou' else 'a'} {self.size} {self.colour} {self.shape}"


def draw(split: str = "train", count: int | None = None, side: int = 64, seed: int = 0) -> Scenes:
    """`count` scenes of `side` x `side` pixels; the same numbers give the same pictures, and more of them the
    same ones first.

    Raises:
        UsageError: the split is none of train, test and unseen.
    """
    if split not in COUNTS:
        raise UsageError(f"split {split!r} is unknown", hint=f"choose from {', '.join(COUNTS)}")
    count = COUNTS[split] if count is None else count
    images, masks = np.empty((count, side, side, 3), np.uint8), np.zeros((count, side, side), np.uint8)
    classes, boxes = np.full((count, 2), -1, np.int32), np.zeros((count, 2, 4), np.float32)
    captions, phrases = [], []
    for index in range(count):
        random = np.random.default_rng((seed, tuple(COUNTS).index(split), index))
        things = _things(random, split == "unseen", side)
        images[index], masks[index] = _picture(random, things, side)
        for number, thing in enumerate(things):
            classes[index, number] = SHAPES.index(thing.shape)
            x, y, r = thing.x, thing.y, thing.radius
            boxes[index, number] = (x - r, y - r, x + r, y + r)
        phrases.append(tuple(thing.phrase for thing in things))
        captions.append(sentence(things))
    return Scenes(images, tuple(captions), tuple(phrases), classes, boxes, masks)


def sentence(things: list[Thing]) -> str:
    """The sentence of objects in the order in which they are named."""
    if len(things) == 1:
        return things[0].phrase
    first, second = things
    across, down = second.x - first.x, second.y - first.y
    if abs(across) > abs(down):
        relation = "left of" if across > 0 else "right of"
    else:
        relation = "above" if down > 0 else "below"
    return f"{first.phrase} {relation} {second.phrase}"


def _things(random: np.random.Generator, unseen: bool, side: int) -> list[Thing]:
    """One or two objects that do not touch, in the order in which they are named."""
    number = 1 if random.random() < SINGLE else 2
    while True:
        things = [_thing(random, side) for _ in range(number)]
        held_out = any((thing.colour, thing.shape) in HELD_OUT for thing in things)
        if held_out == unseen and _apart(things, side):
            break
    if number == 2 and things[0].size == things[1].size:
        a, b = things
        beside = abs(a.x - b.x) > abs(a.y - b.y)
        return sorted(things, key=lambda thing: thing.x if beside else thing.y)
    return sorted(things, key=lambda thing: thing.size != "large")


def _thing(random: np.random.Generator, side: int) -> Thing:
    size, colour, shape = (
        kinds[random.integers(len(kinds))] for kinds in (tuple(SIZES), tuple(COLOURS), SHAPES)
    )
    radius = random.uniform(*SIZES[size]) * side
    x, y = random.uniform(radius + 1, side - radius - 1, 2)
    return Thing(size, colour, shape, x, y, radius)


def _apart(things: list[Thing], side: int) -> bool:
    """Whether the objects do not touch, and which is where is clear."""
    if len(things) == 1:
        return True
    a, b = things
    far, near = sorted((abs(a.x - b.x), abs(a.y - b.y)), reverse=True)
    return far > a.radius + b.radius + side / 32 and far > CLEARER * near


def _picture(random: np.random.Generator, things: list[Thing], side: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 picture (H, W, 3) and mask (H, W); edges are smooth, the grey is noisy."""
    y, x = np.mgrid[0.5:side, 0.5:side]
    picture = np.full((side, side, 3), random.uniform(95, 160)) + random.normal(0, 4, (side, side, 1))
    mask = np.zeros((side, side), np.uint8)
    for thing in things:
        inside = _distance(thing.shape, (x - thing.x) / thing.radius, (y - thing.y) / thing.radius)
        cover = np.clip(0.5 - inside * thing.radius, 0, 1)[..., None]
        colour = np.array(COLOURS[thing.colour]) + random.uniform(-14, 14, 3)
        picture = picture * (1 - cover) + colour * cover
        mask[cover[..., 0] >= 0.5] = SHAPES.index(thing.shape) + 1
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), mask


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """About how far outside (inside: below 0) of a shape in the box from -1 to 1 a place is."""
    match shape:
        case "circle":
            return np.hypot(x, y) - 1
        case "square":
            return np.maximum(abs(x), abs(y)) - 1
        case "triangle":  # upright: the apex in the middle of the upper side
            return np.maximum(y - 1, (2 * abs(x) - y - 1) / np.sqrt(5))
        case "cross":
            broad, thin = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
            return np.maximum(broad - 1, thin - 0.33)
        case "star":  # five points: the innermost but one of five lines
            angles = -np.pi / 2 + np.arange(5) * 2 * np.pi / 5
            lines = np.stack([x * np.cos(a) + y * np.sin(a) for a in angles]) - np.cos(2 * np.pi / 5)
            return np.sort(lines, axis=0)[-2]
    raise ValueError(f"shape {shape!r} is unknown")


__all__ = ["COLOURS", "HELD_OUT", "RELATIONS", "SHAPES", "SIZES", "Scenes", "Thing", "draw", "sentence"]

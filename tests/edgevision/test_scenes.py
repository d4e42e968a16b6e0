"""Drawn scenes: what is said of them is what is drawn, and what is held out stays out."""

import numpy as np
import pytest

from edgevision.data import scenes
from edgevision.errors import UsageError

# Of the box that a shape touches; a star's by its ten corners.
AREAS = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5, "star": 1.1226 / 4, "cross": 2.2044 / 4}


@pytest.fixture(scope="module")
def drawn():
    return {split: scenes.draw(split, 120) for split in scenes.COUNTS}


def test_the_same_seed_draws_the_same_and_more_begins_with_it(drawn):
    again = scenes.draw("train", 30)
    assert np.array_equal(again.images, drawn["train"].images[:30])
    assert again.captions == drawn["train"].captions[:30]
    assert not np.array_equal(scenes.draw("train", 30, seed=1).images, again.images)
    assert len({image.tobytes() for split in drawn.values() for image in split.images}) == 360


def test_held_out_pairs_are_in_every_unseen_picture_and_in_no_other(drawn):
    for split, found in drawn.items():
        for phrases in found.phrases:
            pairs = {tuple(phrase.split()[-2:]) for phrase in phrases}
            assert bool(pairs & scenes.HELD_OUT) == (split == "unseen"), phrases


def test_boxes_and_masks_enclose_what_is_drawn(drawn):
    found = drawn["test"]
    for index in range(len(found)):
        image = found.images[index].astype(float)
        grey = image.mean(axis=-1)  # the background is grey of 95 to 160, nothing else is
        coloured = (np.ptp(image, axis=-1) > 40) | (grey < 80) | (grey > 185)
        assert np.mean(coloured == (found.masks[index] > 0)) > 0.97
        enclosed = np.zeros_like(coloured)
        for shape, (left, top, right, bottom) in zip(found.classes[index], found.boxes[index], strict=True):
            if shape < 0:
                continue
            place = slice(int(top), int(np.ceil(bottom))), slice(int(left), int(np.ceil(right)))
            enclosed[place] = True
            area = np.sum(found.masks[index][place] == shape + 1) / ((right - left) * (bottom - top))
            assert abs(area / AREAS[scenes.SHAPES[shape]] - 1) < 0.13  # edges are cut to whole pixels
        assert not found.masks[index][~enclosed].any()


def test_the_sentence_is_what_the_boxes_say(drawn):
    seen = set()
    for split in drawn.values():
        for caption, phrases, boxes in zip(split.captions, split.phrases, split.boxes, strict=True):
            if len(phrases) == 1:
                assert caption == phrases[0]
                continue
            (x, y), (u, v) = ((b[:2] + b[2:]) / 2 for b in boxes)
            holds = {"left of": x < u, "right of": x > u, "above": y < v, "below": y > v}
            (relation,) = (r for r in holds if caption == f"{phrases[0]} {r} {phrases[1]}")
            assert holds[relation]
            seen.add(relation)
            assert not (phrases[0].startswith("a small") and phrases[1].startswith("a large"))
    assert seen == set(scenes.RELATIONS)


def test_colours_are_those_that_are_said(drawn):
    found = drawn["train"]
    for image, phrases, boxes in zip(found.images, found.phrases, found.boxes, strict=True):
        left, top, right, bottom = boxes[0]
        middle = image[round((top + bottom) / 2), round((left + right) / 2)].astype(int)
        nearest = min(scenes.COLOURS, key=lambda name: np.abs(middle - scenes.COLOURS[name]).sum())
        assert nearest == phrases[0].split()[2]


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match="unseen"):
        scenes.draw("validation")

"""Where a captioner looks: a picture of its attention per word, and a sentence per region of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.storage import replacing_file
from edgevision.errors import UsageError
from edgevision.inference.captioner import Style, Writer, captions, described, picture_array
from edgevision.pictures import on_background, open_picture

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
GRID = (0.3, 0.5)  # sides of the proposed regions, of the picture's shorter side
STEP = 0.5  # of a region's side between two of them
OVERLAP = 0.3  # of the union, from which two regions are about the same thing
COLUMNS = 4
TILE = 160  # pixels of a picture of one word


def explained(writer: Writer, file: Path, style: Style, out: Path) -> dict[str, Any]:
    """Draw where each token of the sentence was looked at, brighter where more; gives the sentence.

    Raises:
        UserError: the model does not tell: one of the prefix form, or an older export.
    """
    array, _ = picture_array(file, writer.side)
    found = captions(writer, array, style)[0]
    maps = attention_maps(writer, array, [writer.start, *found.tokens])
    words = [writer.tokenizer.decode([token]).strip() or "·" for token in found.tokens]
    _draw_maps(array[0], words, maps, out)
    return described(writer, found)


def attention_maps(writer: Writer, array: np.ndarray, tokens: list[int]) -> np.ndarray:
    """(L, side, side): where the last block looked while it wrote each token after the first; mean of its
    heads, each map sums to 1 (the class token of a ViT left out)."""
    maps = writer.looked(array, tokens[:-1]).mean(axis=0)  # (L, S)
    side = int(maps.shape[1] ** 0.5)
    maps = maps[:, maps.shape[1] - side * side :]
    return (maps / maps.sum(axis=1, keepdims=True)).reshape(-1, side, side)


def regions(writer: Writer, file: Path, style: Style, boxes: list[Box], out: Path) -> list[dict[str, Any]]:
    """A sentence for each region, drawn into a copy of the picture; best first.

    Without boxes, regions are proposed by a grid of windows; those whose sentence is likelier than that of
    the regions around them stay. What is outside a region is made as the picture's edge, so that the model
    sees it alone and at its size.
    """
    picture = on_background(open_picture(file), 255).convert("RGB")
    pixels = np.asarray(picture)
    proposed = boxes or _proposals(*picture.size, pixels)
    entries = []
    for box in proposed:
        _check_box(box, picture.size)
        array = _alone(pixels, box, writer.side)
        found = described(writer, captions(writer, array, style)[0])
        entries.append({"box": list(box), **found})
    entries.sort(key=lambda entry: -entry["score"])
    if not boxes:
        entries = _distinct(entries)
    _draw_boxes(picture, entries, out)
    return entries


def parse_box(given: str) -> Box:
    """From "left,top,right,bottom" in pixels.

    Raises:
        UsageError: it is something else.
    """
    try:
        left, top, right, bottom = (int(part) for part in given.split(","))
    except ValueError:
        raise UsageError(f"--box {given!r}: expected left,top,right,bottom in pixels") from None
    return left, top, right, bottom


def _check_box(box: Box, size: tuple[int, int]) -> None:
    left, top, right, bottom = box
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise UsageError(f"the box {box} is not inside the picture of {size[0]} x {size[1]}")


def _proposals(width: int, height: int, pixels: np.ndarray) -> list[Box]:
    """Windows on a grid that hold something unlike the picture's edge, drawn close around it; of several that
    lie in each other the innermost."""
    background = np.median(_edge(pixels), axis=0)
    differs = np.abs(pixels.astype(int) - background).max(axis=-1) > 40
    found = []
    for share in GRID:
        side = round(share * min(width, height))
        step = max(1, round(side * STEP))
        for top in range(0, max(1, height - side + 1), step):
            for left in range(0, max(1, width - side + 1), step):
                window = differs[top : top + side, left : left + side]
                if window.mean() < 0.08:
                    continue
                rows, columns = np.nonzero(window)
                first, last = (int(columns.min()), int(rows.min())), (int(columns.max()), int(rows.max()))
                box = (left + first[0], top + first[1], left + last[0] + 1, top + last[1] + 1)
                found.append(_grown(box, differs))
    found = list(dict.fromkeys(found))
    return [box for box in found if not any(other != box and _inside(other, box) for other in found)]


def _inside(box: Box, other: Box) -> bool:
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


def _grown(box: Box, differs: np.ndarray) -> Box:
    """The box made larger until nothing that differs crosses its sides."""
    left, top, right, bottom = box
    height, width = differs.shape
    while True:
        before = left, top, right, bottom
        left -= int(left > 0 and differs[top:bottom, left - 1].any())
        right += int(right < width and differs[top:bottom, right].any())
        top -= int(top > 0 and differs[top - 1, left:right].any())
        bottom += int(bottom < height and differs[bottom, left:right].any())
        if before == (left, top, right, bottom):
            return before


def _edge(pixels: np.ndarray) -> np.ndarray:
    """(K, 3): the outermost pixels."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _alone(pixels: np.ndarray, box: Box, side: int) -> np.ndarray:
    """float32 (1, side, side, 3): the region where it is, all else in the colour of the picture's edge."""
    from PIL import Image

    left, top, right, bottom = box
    canvas = np.empty_like(pixels)
    canvas[:] = np.median(_edge(pixels), axis=0)
    canvas[top:bottom, left:right] = pixels[top:bottom, left:right]
    squeezed = Image.fromarray(canvas).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(squeezed, np.float32)[None] / np.float32(255)


def _distinct(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that lie over a likelier one."""
    kept: list[dict[str, Any]] = []
    for entry in entries:
        if all(_overlap(entry["box"], other["box"]) < OVERLAP for other in kept):
            kept.append(entry)
    return kept


def _overlap(a: list[int], b: list[int]) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _draw_boxes(picture: Any, entries: list[dict[str, Any]], out: Path) -> None:
    from PIL import ImageDraw, ImageFont

    scale = max(1, round(640 / max(picture.size)))
    large = picture.resize((picture.width * scale, picture.height * scale))
    draw, font = ImageDraw.Draw(large), ImageFont.load_default(14)
    for entry in entries:
        box = [value * scale for value in entry["box"]]
        draw.rectangle(box, outline=(255, 255, 255), width=2)
        place = (box[0] + 3, max(0, box[1] - 18))
        draw.rectangle(draw.textbbox(place, entry["text"], font=font), fill=(0, 0, 0))
        draw.text(place, entry["text"], fill=(255, 255, 255), font=font)
    with replacing_file(out) as new:
        large.save(new, format="PNG")


def _draw_maps(pixels: np.ndarray, words: list[str], maps: np.ndarray, out: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(words) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, max(1, rows) * (TILE + 24)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    picture = Image.fromarray((pixels * 255).astype(np.uint8)).resize((TILE, TILE))
    for index, (word, weights) in enumerate(zip(words, maps, strict=True)):
        shown = Image.fromarray((weights / weights.max()).astype(np.float32)).resize((TILE, TILE))
        light = 0.25 + 0.75 * np.clip(np.asarray(shown), 0, 1)[..., None]
        tile = Image.fromarray((np.asarray(picture) * light).astype(np.uint8))
        left, top = index % COLUMNS * TILE, index // COLUMNS * (TILE + 24)
        sheet.paste(tile, (left, top + 24))
        draw.text((left + 4, top + 4), word, fill="black", font=font)
    with replacing_file(out) as new:
        sheet.save(new, format="PNG")


__all__ = ["Box", "attention_maps", "explained", "parse_box", "regions"]

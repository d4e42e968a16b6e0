"""`edgevision explain` for networks of pictures: PNG files, and a section in the run's `report.html`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.storage import claim, foreign_files, replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.inference import picture_maps
from edgevision.inference.evaluation import unit_range
from edgevision.models import vit
from edgevision.pictures import open_picture, seen_as
from edgevision.report import drawings
from edgevision.report.charts import text
from edgevision.runs import Run

GAP, WHITE = 2, 255  # between pictures of a sheet
SIDE = 448  # pixels of an enlarged picture, about
MAPS = 32  # of a layer
BEGIN, END = "<!-- explained -->", "<!-- /explained -->"
CAPTIONS = {
    "positions.png": "How alike the position embeddings are. Each small square belongs to one patch and "
    "shows the cosine of its embedding with that of every other patch: orange alike, blue opposed. The "
    "embeddings have one index; rows and columns were learnt.",
    "filters.png": "What the first layer looks for.",
    "rollout.png": "The picture, and how much each patch counts for the answer (attention rollout).",
}


def explain_picture_run(path: Path, picture: Path | None = None, out: Path | None = None) -> dict[str, Any]:
    """Draw what a run of a ViT, CNN or LeNet has learnt, into `out` (default: the folder `explained` of the
    run), and show it in the run's report.

    Args:
        picture: what it looks at; default: the first test picture of the run's data set.

    Raises:
        UserError: there is no run, or no picture.
    """
    run, inside = runs.load(path), out is None and foreign_files(path) is not None
    out = out or path / "explained"
    image, source = _picture(run, picture)
    sheets = _vit_sheets(run, image) if isinstance(run.model, vit.Model) else _cnn_sheets(run, image)
    out.mkdir(parents=True, exist_ok=True)
    if inside:  # so that a training may replace the run, and these with it
        claim(path, ["report.html", *(f"explained/{name}" for name in sheets)])
    else:
        claim(out, list(sheets))
    files = {name: drawings.png(pixels) for name, pixels in sheets.items()}
    for name, content in files.items():
        with replacing_file(out / name) as new:
            new.write_bytes(content)
    show(run, files, source)
    return {
        "pictures": [str(out / name) for name in files],
        "picture": source,
        "report": str(path / "report.html"),
    }


def show(run: Run, files: Mapping[str, bytes], source: str) -> None:
    """Put the pictures into the run's `report.html`, in place of those that were there; a page of their own
    where there is no report."""
    path = run.path / "report.html"
    figures = "".join(
        f'<figure style="margin:1rem 0"><img alt="" style="max-width:100%;image-rendering:pixelated" '
        f'src="data:image/png;base64,{base64.b64encode(content).decode()}">'
        f"<figcaption>{text(CAPTIONS.get(name, f'What {Path(name).stem} finds.'))}</figcaption></figure>"
        for name, content in files.items()
    )
    section = f"{BEGIN}<section><h2>What was learnt</h2><p>{text(source)}</p>{figures}</section>{END}"
    title = f"{run.config['model']} {run.config['variant']}"
    page = path.read_text(encoding="utf-8") if path.is_file() else _empty_page(title)
    if BEGIN in page and END in page:
        page = page[: page.index(BEGIN)] + page[page.index(END) + len(END) :]
    head, body, tail = page.rpartition("</body>")
    with replacing_file(path) as new:
        new.write_text(f"{head}{section}{body}{tail}" if body else f"{page}{section}", encoding="utf-8")


def _empty_page(title: str) -> str:
    style = "body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f"<style>{style}</style></head><body><h1>{text(title)}</h1></body></html>"
    )


def _picture(run: Run, picture: Path | None) -> tuple[np.ndarray, str]:
    """float32 (1, H, W, C) in [0, 1], and where it is from."""
    height, width, channels = run.config["input"]["shape"]
    if picture is not None:
        array, note = seen_as(open_picture(picture), (height, width, channels))
        return array, f"{picture} ({note})"
    from edgevision.data import load_as_trained

    try:
        test = load_as_trained(run.config, "test", count=1)
    except UserError as error:
        raise UserError(
            f"the pictures of {run.config['data']} are not there: {error.message}", hint="give one, --picture"
        ) from error
    return unit_range(test.images[:1]), f"the first test picture of {run.config['data']}"


def _vit_sheets(run: Run, image: np.ndarray) -> dict[str, np.ndarray]:
    model: Any = run.model
    similar = picture_maps.position_similarity(model)
    grid = len(similar)
    squares = np.stack([drawings.signed(similar[i, j]) for i in range(grid) for j in range(grid)])
    filters = np.stack([_filter(one) for one in picture_maps.patch_filters(model)])
    counted = picture_maps.rollout(model, image)[0]
    seen = _rgb(image[0])
    scale = max(1, SIDE // seen.shape[0])
    low, high = float(counted.min()), float(counted.max())
    shares = (
        ((counted - low) / max(high - low, 1e-12))
        .repeat(model.config.patch_size, 0)
        .repeat(model.config.patch_size, 1)
    )
    lit = (seen * (0.15 + 0.85 * shares[..., None])).astype(np.uint8)
    return {
        "positions.png": sheet(squares, grid, max(1, 896 // (grid * grid + GAP * grid))),
        "filters.png": sheet(filters, 7, max(1, 64 // filters.shape[1])),
        "rollout.png": sheet(np.stack([seen, lit]), 2, scale),
    }


def _cnn_sheets(run: Run, image: np.ndarray) -> dict[str, np.ndarray]:
    kernels = picture_maps.first_kernels(run.model)
    seen = _rgb(image[0])
    sheets = {
        "filters.png": sheet(np.stack([_filter(one) for one in kernels]), 12, 8),
        "picture.png": sheet(seen[None], 1, max(1, SIDE // 2 // len(seen))),
    }
    for name, found in picture_maps.feature_maps(run.model, image).items():
        count = min(found.shape[-1], MAPS)
        maps = np.stack([_rgb(drawings.grey(found[:, :, i])[..., None] / 255) for i in range(count)])
        sheets[f"{name.replace(' ', '-')}.png"] = sheet(maps, 8, max(1, 84 // len(found)))
    return sheets


def sheet(pictures: np.ndarray, columns: int, scale: int = 1) -> np.ndarray:
    """Pictures uint8 (N, H, W, 3), each enlarged, in rows of `columns` on white."""
    large = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = large.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    result = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), WHITE, np.uint8)
    for index, picture in enumerate(large):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        result[top : top + height, left : left + width] = picture
    return result


def _filter(kernel: np.ndarray) -> np.ndarray:
    """A kernel (H, W, C) as uint8 (H, W, 3): one channel by its sign, three as colours around grey."""
    if kernel.shape[-1] != 3:
        return drawings.signed(kernel.mean(axis=-1))
    return (127.5 + 127.5 * kernel / max(float(np.abs(kernel).max()), 1e-12)).astype(np.uint8)


def _rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) in [0, 1] as uint8 (H, W, 3)."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels, 3 // pixels.shape[-1], axis=-1)


__all__ = ["explain_picture_run", "sheet", "show"]

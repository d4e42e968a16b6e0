"""The pictures of a report, as PNG bytes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from edgevision.console import strip_escapes
from edgevision.data import ImageSet
from edgevision.inference.evaluation import confusion


def png(picture: Image.Image) -> bytes:
    """A PIL picture as a PNG file."""
    file = BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


def figure_png(figure: Any) -> bytes:
    """A matplotlib figure as a PNG file."""
    file = BytesIO()
    figure.savefig(file, dpi=110, format="png")
    return file.getvalue()


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> bytes:
    """Counts of mistakes by true and predicted class; the diagonal is left white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = confusion(true, predicted, len(classes))
    mistakes = counts - np.diag(np.diag(counts))
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow(mistakes, cmap="Reds", vmin=0, vmax=max(1, mistakes.max()))
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column]:
            dark = mistakes[row, column] > 0.6 * mistakes.max()
            ink = "white" if dark else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=ink)
    ticks = range(len(classes))
    axis.set_xticks(ticks, [_literal(c) for c in classes], rotation=45 if max(map(len, classes)) > 2 else 0)
    axis.set_yticks(ticks, [_literal(c) for c in classes])
    axis.set(xlabel="predicted", ylabel="true")
    return figure_png(figure)


def _literal(text: str) -> str:
    """Text without terminal escapes that matplotlib does not read as mathematics."""
    return strip_escapes(text).replace("$", r"\$")


def mosaic(tiles: list[np.ndarray], columns: int, zoom: int, gap: int = 2) -> Image.Image:
    """Grey tiles (H, W), uint8 and of one size, enlarged, side by side on white."""
    height, width = (zoom * size for size in tiles[0].shape)
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    sheet = Image.new("L", (columns * (width + gap) - gap, rows * (height + gap) - gap), 255)
    for index, tile in enumerate(tiles):
        picture = Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(picture, (index % columns * (width + gap), index // columns * (height + gap)))
    return sheet


def stretched(array: np.ndarray) -> np.ndarray:
    """Any numbers as grey: the smallest black, the largest white."""
    low, high = float(array.min()), float(array.max())
    return ((array - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def filters(weights: np.ndarray) -> bytes:
    """The kernels (O, H, W, 1) of a first layer."""
    return png(mosaic([stretched(kernel[:, :, 0]) for kernel in weights], columns=8, zoom=16, gap=6))


def feature_maps(maps: np.ndarray) -> bytes:
    """The maps (H, W, C) of one picture."""
    return png(mosaic([stretched(maps[:, :, c]) for c in range(maps.shape[-1])], columns=8, zoom=4, gap=6))


def digit(pixels: np.ndarray) -> bytes:
    """One picture (H, W, 1), enlarged."""
    return png(mosaic([pixels[:, :, 0]], columns=1, zoom=2))


def mistakes(test: ImageSet, predicted: np.ndarray, limit: int = 120) -> list[tuple[bytes, str, str]]:
    """(PNG, true class, predicted class) of the wrongly classified pictures."""
    wrong = np.flatnonzero(predicted != test.labels)[:limit]
    return [(digit(test.images[i]), test.classes[test.labels[i]], test.classes[predicted[i]]) for i in wrong]

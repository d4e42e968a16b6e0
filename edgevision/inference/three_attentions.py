"""The three kinds of attention of a translator on one pair of sentences, and what each mask lets through.

encoder: softmax(Q K^T / sqrt(D) + M) where all tokens of the source see each other; decoder: each word sees
those before it; cross: each word sees all of the source. In no place is padding seen.

H: heads, S: tokens of the source, P: places of padding behind them, L: tokens of the translation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from edgevision.inference.attention_maps import (
    SHOWN,
    causal,
    label_tokens,
    listening,
    new_figure,
    save_figure,
)
from edgevision.models.post_norm import seen
from edgevision.models.translator import Model

PADDING = 3  # places behind the source in the drawing of a mask: as if beside a longer sentence
PAD = "[pad]"
SIDE = 0.17  # inches of a token


@dataclass(frozen=True)
class Attention:
    """One kind of attention: a row looks at the columns.

    Attributes:
        maps: of each layer the weights (H, rows, columns). mask: True where a row may look, with padding.
        padded_rows, padded_columns: the tokens of the mask's sides; those of the maps are their beginnings.
    """

    title: str
    maps: list[np.ndarray]
    mask: np.ndarray
    padded_rows: list[str]
    padded_columns: list[str]

    @property
    def rows(self) -> list[str]:
        """The tokens that look."""
        return self.padded_rows[: self.maps[0].shape[1]]

    @property
    def columns(self) -> list[str]:
        """The tokens that are looked at."""
        return self.padded_columns[: self.maps[0].shape[2]]


def three_masks(
    source: int, target: int, padding: int = PADDING
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each row may look: encoder (S + P, S + P), decoder (L, L), cross (L, S + P)."""
    there = seen(mx.arange(source + padding)[None] < source)  # (1, 1, 1, S + P)
    assert there is not None
    whole = np.array(there)[0, 0]
    wide = whole.shape[1]
    return np.repeat(whole, wide, axis=0), np.array(causal(target)), np.repeat(whole, target, axis=0)


def three_attentions(
    model: Model, source: Sequence[int], target: Sequence[int], words: Sequence[Sequence[str]]
) -> tuple[Attention, Attention, Attention]:
    """Encoder, decoder and cross-attention of a pair.

    Args:
        source: (S,) tokens. target: (L,), the start token and the translation.
        words: of the source (S,), that are read (L,), that are written after each of them (L,).
    """
    encoder, decoder = [], []
    with listening(encoder):
        features = model.encode(mx.array([list(source)]))
        mx.eval(features)
    with listening(decoder):  # a layer of the decoder attends to itself, then to the source
        mx.eval(model.decode(mx.array([list(target)]), model.remember(features)))
    masks = three_masks(len(source), len(target))
    there, read, written = (list(part) for part in words)
    there += [PAD] * PADDING
    return (
        Attention("encoder: all see all", encoder, masks[0], there, there),
        Attention("decoder: causal", decoder[::2], masks[1], read, read),
        Attention("cross: all of the source", decoder[1::2], masks[2], written, there),
    )


def furthest_looks(cross: Attention) -> list[dict[str, Any]]:
    """For each word that is written, the token of the source with the largest weight: of which layer and
    head, from 1."""
    found, stacked = [], np.stack(cross.maps)  # (layers, H, L, S)
    for row, token in enumerate(cross.rows):
        part = stacked[:, :, row]
        layer, head, column = (int(i) for i in np.unravel_index(part.argmax(), part.shape))
        weight = float(part.max())
        look = {"token": token, "at": cross.columns[column], "weight": weight}
        found.append(look | {"layer": layer + 1, "head": head + 1})
    return found


def draw_three(kinds: Sequence[Attention], path: Path) -> None:
    """A picture: a column for each kind; a row for each layer, its heads averaged; the masks beneath."""
    layers = max(len(kind.maps) for kind in kinds)
    wide = [1.0 + SIDE * max(len(kind.padded_columns), 10) for kind in kinds]
    high = 1.0 + SIDE * max(len(kind.padded_rows) for kind in kinds)
    figure = new_figure(sum(wide), high * (layers + 1), most=200)
    grid = figure.add_gridspec(layers + 1, 3, width_ratios=wide)
    for column, kind in enumerate(kinds):
        for layer, weights in enumerate(kind.maps):
            axes = figure.add_subplot(grid[layer, column])
            axes.imshow(weights.mean(axis=0), cmap="Blues", vmin=0)
            axes.set_title(
                f"{kind.title}\nlayer {layer + 1}" if not layer else f"layer {layer + 1}", fontsize=8
            )
            label_tokens(axes, kind.rows, kind.columns)
        _draw_mask(figure.add_subplot(grid[layers, column]), kind.mask, "its mask")
        label_tokens(figure.axes[-1], kind.padded_rows, kind.padded_columns)
    save_figure(figure, path, 140, tight=True)


def draw_masks(source: Sequence[str], target: Sequence[str], path: Path) -> None:
    """The three masks of a pair of sentences side by side: of the source, as if it were padded, and of the
    start token and the translation."""
    there, written = [*source, *[PAD] * PADDING], [*target[1:], "[end]"]
    sides = ((there, there), (target, target), (written, there))
    wide = [len(columns) for _, columns in sides]
    figure = new_figure(4.5 + SIDE * sum(wide), 2.2 + SIDE * max(wide))
    grid = figure.add_gridspec(1, 3, width_ratios=wide)
    titles = ("encoder: all see all", "decoder: causal", "cross: all of the source")
    for index, mask in enumerate(three_masks(len(source), len(target))):
        axes = figure.add_subplot(grid[0, index])
        _draw_mask(axes, mask, titles[index])
        label_tokens(axes, *sides[index])
    save_figure(figure, path, 140)


def _draw_mask(axes: Any, mask: np.ndarray, title: str) -> None:
    axes.imshow(mask, cmap="Blues", vmin=0, vmax=1.4)
    axes.set_xticks(np.arange(mask.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(mask.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.set_title(title, fontsize=8)


__all__ = [
    "PAD",
    "PADDING",
    "SHOWN",
    "Attention",
    "draw_masks",
    "draw_three",
    "furthest_looks",
    "three_attentions",
    "three_masks",
]

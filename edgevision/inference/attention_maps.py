"""What a language model looks at: the attention of each head on a text, and the mask that hides the future.

softmax(Q K^T / sqrt(D) + M): row i says how much token i looks at each token before it.

B: batch, L: tokens, H: heads, D: size of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from converters.storage import replacing_file
from edgevision.errors import UserError

CAUSAL = "the causal mask: a token (row) sees itself and those before it"
SHOWN = 48  # tokens of a text: more are too small to read


def attention_maps(model: nn.Module, ids: Sequence[int]) -> list[np.ndarray]:
    """For each layer (H, L, L): the weights with which a token (row) looks at those before it (column).

    The model is ours or one of mlx-lm: whatever calls `mx.fast.scaled_dot_product_attention`.

    Raises:
        UserError: the model does not attend in that way, such as a recurrent one.
    """
    found: list[np.ndarray] = []
    with listening(found):
        mx.eval(model(mx.array([list(ids)])))
    if not found:
        raise UserError("the model has no attention to show")
    return found


@contextmanager
def listening(found: list[np.ndarray]) -> Iterator[None]:
    """Within it, MLX's attention also leaves its weights in `found`."""
    original = mx.fast.scaled_dot_product_attention

    def attend(q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **rest: Any) -> Any:
        groups = q.shape[1] // k.shape[1]
        scores = scale * q.astype(mx.float32) @ mx.repeat(k, groups, axis=1).swapaxes(-1, -2)  # (B, H, L, L)
        if isinstance(mask, str):
            mask = causal(q.shape[2])
        if mask is not None:
            scores = mx.where(mask, scores, -mx.inf) if mask.dtype == mx.bool_ else scores + mask
        found.append(np.array(mx.softmax(scores, axis=-1)[0]))
        return original(q, k, v, scale=scale, mask=mask, **rest)

    mx.fast.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        mx.fast.scaled_dot_product_attention = original


def causal(length: int) -> mx.array:
    """(L, L), True where the token of a row may look at that of a column: itself and earlier ones."""
    return mx.arange(length)[:, None] >= mx.arange(length)[None]


def draw_mask(tokens: Sequence[str], path: Path, full: bool = False) -> None:
    """The causal mask over the tokens of a text as a picture, or one in which all see all."""
    figure = new_figure(3 + 0.16 * len(tokens), 3 + 0.16 * len(tokens))
    axes = figure.add_subplot()
    mask = np.ones((len(tokens), len(tokens)), bool) if full else np.array(causal(len(tokens)))
    axes.imshow(mask, cmap="Blues", vmin=0, vmax=1)
    seen = "the full mask: a token (row) sees all" if full else CAUSAL
    axes.set_title(seen, fontsize=8)
    label_tokens(axes, tokens)
    save_figure(figure, path)


def draw_maps(tokens: Sequence[str], maps: Sequence[np.ndarray], path: Path) -> None:
    """A picture with a row for each layer and a column for each head; dark is much attention."""
    heads = max(len(one) for one in maps)
    figure = new_figure(1 + 2.1 * heads, 1 + 2.1 * len(maps))
    for layer, weights in enumerate(maps):
        for head, one in enumerate(weights):
            axes = figure.add_subplot(len(maps), heads, layer * heads + head + 1)
            axes.imshow(one, cmap="Blues", vmin=0)
            axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7)
            label_tokens(axes, tokens if len(tokens) <= SHOWN // 2 else ())
    save_figure(figure, path)


def strongest(maps: Sequence[np.ndarray], full: bool = False) -> list[tuple[int, int, int, float]]:
    """For each token but the first: layer, head and column of the largest weight on another token, from 0;
    on an earlier one, where they do not all see all (`full`)."""
    stacked = np.stack(maps)  # (layers, H, L, L)
    result = []
    for row in range(1, stacked.shape[-1]):
        part = stacked[:, :, row].copy()
        part[..., row if full else slice(row, None)] = -1  # not itself
        layer, head, column = np.unravel_index(part.argmax(), part.shape)
        result.append((int(layer), int(head), int(column), float(part.max())))
    return result


def new_figure(width: float, height: float, most: float = 30) -> Any:
    """An empty figure of matplotlib, in inches, at most `most` of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(width, most), min(height, most)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label_tokens(axes: Any, rows: Sequence[str], columns: Sequence[str] | None = None) -> None:
    """The tokens at both sides, those of the rows below too where no others are given."""
    below, beside = (
        [repr(token)[1:-1].replace("$", r"\$") for token in side]  # `$` would begin a formula
        for side in (rows if columns is None else columns, rows)
    )
    axes.set_xticks(range(len(below)), below, fontsize=6, rotation=90)
    axes.set_yticks(range(len(beside)), beside, fontsize=6)


def save_figure(figure: Any, path: Path, dots: int = 100, tight: bool = False) -> None:
    """A figure as a PNG file with so many dots per inch; `tight`: as large as what is on it."""
    with replacing_file(path) as new:
        figure.savefig(new, dpi=dots, format="png", bbox_inches="tight" if tight else None)


__all__ = [
    "SHOWN",
    "attention_maps",
    "causal",
    "draw_maps",
    "draw_mask",
    "label_tokens",
    "listening",
    "new_figure",
    "save_figure",
    "strongest",
]

"""What a network of pictures has learnt, as arrays to look at.

position_similarity   how alike the position embeddings of a Vision Transformer are: with one index,
                      they learn where a patch lies in two dimensions (Dosovitskiy et al., 2020, figure 7)
patch_filters         the directions in which patches are told apart (the same figure)
rollout               which patches the answer was made of ("Quantifying Attention Flow in Transformers",
                      Abnar & Zuidema, 2020)
feature_maps          what the layers of a convolutional network find

Letters: B batch, G patches along a side, P side of a patch, C channels, E width of the embedding, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.models import vit

FILTERS = 28  # as the paper shows


def position_similarity(model: vit.Model) -> np.ndarray:
    """(G, G, G, G): the cosine between the position embedding of a patch (row, column) and each other's."""
    grid = model.config.grid
    table = np.array(model.positions[0])[-grid * grid :]  # (G * G, E); the class token has no place
    table = table / np.maximum(np.linalg.norm(table, axis=-1, keepdims=True), 1e-12)
    return (table @ table.T).reshape(grid, grid, grid, grid)


def patch_filters(model: vit.Model, count: int = FILTERS) -> np.ndarray:
    """(N, P, P, C): the principal components of the patches' kernels, the strongest first."""
    kernels = np.array(model.patches.weight)  # (E, P, P, C)
    _, _, directions = np.linalg.svd(kernels.reshape(len(kernels), -1), full_matrices=False)
    return directions[:count].reshape(-1, *kernels.shape[1:])


def rollout(model: vit.Model, images: np.ndarray) -> np.ndarray:
    """(B, G, G): how much each patch counts for the class token, or for the mean, over all layers; sums to 1.

    The heads of a layer are averaged, and half of each token stays itself by the residual connection.

    Args:
        images: float32 (B, H, W, C) in [0, 1].
    """
    config = model.config
    x = model.embed(mx.array(images))
    flow = mx.eye(x.shape[1])  # (L, L), then (B, L, L)
    for layer in model.layers:
        normed = layer.norm1(x)
        keys, _ = layer.attention.remember(normed)
        weights = mx.mean(layer.attention.weights(normed, keys), axis=1)  # (B, L, L)
        flow = (0.5 * weights + 0.5 * mx.eye(x.shape[1])) @ flow
        x = layer(x)
    patches = flow[:, 0, 1:] if config.pool == "token" else mx.mean(flow, axis=1)  # (B, G * G)
    shares = np.array(patches).reshape(-1, config.grid, config.grid)
    return shares / shares.sum(axis=(1, 2), keepdims=True)


def first_kernels(model: nn.Module) -> np.ndarray:
    """(O, H, W, C): the kernels of a convolutional network's first layer."""
    for _, module in sorted(model.named_modules(), key=lambda pair: _order(pair[0])):
        weight: Any = module.get("weight")
        if isinstance(weight, mx.array) and weight.ndim == 4:
            return np.array(weight)
    raise ValueError("the model has no convolution")


def feature_maps(model: nn.Module, image: np.ndarray) -> dict[str, np.ndarray]:
    """What each convolution, or block of them, gives for one picture (1, H, W, C) in [0, 1]: by name
    (H, W, C), in the order of computation."""
    blocks = model.get("stages")
    watched: Mapping[str, nn.Module] = (
        {f"stage {number}": stage for number, stage in enumerate(blocks, 1)}
        if isinstance(blocks, list)
        else {
            name: child
            for name, child in model.children().items()
            if name in ("conv1", "conv2", "c1", "s2", "c3", "s4")
        }
    )
    with _listening(watched) as found:
        mx.eval(model(mx.array(image)))
    return {name: np.maximum(np.array(array[0]), 0) for name, array in found.items()}


def _order(name: str) -> tuple[Any, ...]:
    return tuple(((part.isdecimal() and int(part)) or 0, part) for part in name.split("."))


@contextmanager
def _listening(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, mx.array]]:
    """Within it, what these modules give is also put into the dictionary."""
    names, found = {id(module): name for name, module in modules.items()}, {}
    before = {kind: kind.__call__ for kind in {type(module) for module in modules.values()}}

    def heard(call: Any) -> Any:
        def computed(module: nn.Module, *given: Any) -> Any:
            result = call(module, *given)
            if id(module) in names:
                found[names[id(module)]] = result
            return result

        return computed

    for kind, call in before.items():
        kind.__call__ = heard(call)  # type: ignore[method-assign]
    try:
        yield found
    finally:
        for kind, call in before.items():
            kind.__call__ = call  # type: ignore[method-assign]


__all__ = ["feature_maps", "first_kernels", "patch_filters", "position_similarity", "rollout"]

"""The passes, one idea per file, and `PIPELINE`, the order in which every graph goes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from converters.graph import Graph
from converters.passes import (
    activations,
    algebra,
    attention,
    broadcasts,
    caches,
    constants,
    empties,
    folding,
    group_norm,
    layout,
    linear,
    means,
    normalizations,
    pooling,
    products,
    repeats,
    reshapes,
    rope,
    sharing,
    slices,
    units,
    unstacking,
)
from converters.pattern import Rule, rewrite

Pass = tuple[Rule, ...] | Callable[[Graph], Graph]

PIPELINE: tuple[tuple[str, Pass], ...] = (
    ("empties", empties.make_constant),  # first: no rule below thinks of them
    ("sharing", sharing.share),  # before any rule: the weights as the user has them
    ("broadcasts", broadcasts.RULES),  # every later pattern is written without broadcasts
    ("algebra", algebra.RULES),  # and with one spelling of arithmetic
    ("reshapes", reshapes.RULES),  # before pooling, which expects reductions without unit axes
    ("pooling", pooling.RULES),
    ("means", means.RULES),  # after pooling, which knows sums; before what is made of means
    ("normalizations", normalizations.RULES),
    ("group-norm", group_norm.RULES),  # made of LayerNorms
    ("activations", activations.RULES),
    ("linear", linear.RULES),  # before layout, which permutes the weights of a linear layer
    ("folding", folding.RULES),  # after the layers have their biases
    (
        "unstacking",
        unstacking.RULES,
    ),  # after the linear layers, whose results are stacked; before rope, attention
    ("rope", rope.RULES),
    ("attention", attention.RULES),  # after the linear layers, whose biases would be taken for masks
    ("packing", attention.PACKING),  # after rope, which attention may take along
    ("caches", caches.RULES),  # after packing, of which what has a cache is left
    ("slices", slices.RULES),  # after packing: a slice goes through attention; before layers are joined
    ("products", products.RULES),  # after packing, when the layers' inputs are no longer reshaped
    ("repeats", repeats.RULES),  # after attention, which knows repeated keys as broadcasts
    ("layout", layout.RULES),
    ("units", units.RULES),  # after layout: as reshapes these transposes would no longer cancel
    ("constants", constants.RULES),  # last: until now a broadcast may turn out to be superfluous
)


def stages(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """The graph after each pass of the pipeline."""
    for name, step in PIPELINE:
        graph = rewrite(graph, step) if isinstance(step, tuple) else step(graph)
        yield name, graph


def optimize(graph: Graph) -> Graph:
    """The graph after the whole pipeline."""
    for _, result in stages(graph):
        graph = result
    return graph


__all__ = ["PIPELINE", "optimize", "stages"]

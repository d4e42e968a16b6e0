"""Arrays that are empty at the lowest sizes of a dimension: few operations of the runtime take such.

    y = Add(x[1:], c)      of shape (n - 1,)        n begins at 2 in the asset, and 1 is refused by name

Joining, cutting, moving, converting and summing work on arrays without elements; a cache of length 0 needs no
more. Broadcasting gives such an array one element, or ends the process.
"""

from __future__ import annotations

from converters.graph import Dim, Graph
from converters.sizes import AnySize, at, names_in

TAKING = frozenset({"Concatenate", "Transpose", "Slice", "AsType", "Reduce", "Matmul", "Pad", "Dimension"})
FARTHEST = 64  # how far from its lowest size a dimension is moved


def above_empty(graph: Graph) -> Graph:
    """The graph with dimensions that begin where nothing is empty that may not be."""
    dims = dict(graph.dims)
    for node in graph.nodes:
        if node.op in TAKING:
            continue
        for size in {size for value in (*node.inputs, *node.outputs) for size in value.shape}:
            if not isinstance(size, int) and names_in(size) <= dims.keys() and _lowest(size, dims) < 1:
                _raise(size, dims)
    return graph if dims == graph.dims else graph.replace(dims=dims)


def _lowest(size: AnySize, dims: dict[str, Dim]) -> int:
    return at(size, {name: _first(dim) for name, dim in dims.items()})


def _first(dim: Dim) -> int:
    """The lowest size that may occur."""
    return dim.low if dim.sizes is not None else -(-dim.low // dim.multiple) * dim.multiple


def _raise(size: AnySize, dims: dict[str, Dim]) -> None:
    """Move the dimensions of a size, one after another, until it has an element."""
    for name in sorted(names_in(size)):
        dim = dims[name]
        first = _first(dim)
        for low in range(first + dim.multiple, first + FARTHEST * dim.multiple, dim.multiple):
            if dim.sizes is not None or (dim.high is not None and low > dim.high):
                break
            dims[name] = Dim(low, dim.high, dim.multiple)
            if _lowest(size, dims) >= 1:
                return
        dims[name] = dim


__all__ = ["above_empty"]

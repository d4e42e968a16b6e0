"""64-bit integers where Core ML has 32: what is known to leave them is refused, not computed wrongly.

A range is followed from where it is known (constants, positions, sizes, booleans, integers of 8 and 16 bits)
through arithmetic. Inputs of 32 and 64 bits may hold anything: what is made of them is taken to fit, as token
ids and positions do, and `converters.compare` tells where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from converters.errors import UnsupportedOp
from converters.graph import Graph, Node, Value
from converters.sizes import AnySize, names_in, substitute
from converters.targets.coreml.runtime_types import PICKING

Range = tuple[int, int]  # lowest and highest element
WIDE = frozenset({"int64", "uint64"})
NARROW = frozenset({"int8", "uint8", "int16", "uint16"})
LIMITS = (np.iinfo(np.int32).min, np.iinfo(np.int32).max)
MOVED = PICKING | {"Gather", "GatherAxis", "GatherND", "DynamicSlice"}
JOINED = frozenset({"Concatenate", "Pad", "DynamicSliceUpdate"})
POSITIONS = frozenset({"ArgReduce", "ArgSort", "ArgPartition"})
FACTORS_MAX = 64  # of a product over an axis; longer ones are not followed
CORNERS: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Subtract": lambda a, b: a - b,
    "Multiply": lambda a, b: a * b,
    "Maximum": max,
    "Minimum": min,
}


def refuse_overflow(graph: Graph) -> None:
    """Raises:
    UnsupportedOp: an element of 64 bits is known to be able to pass 32.
    """
    ranges: dict[Value, Range | None] = {value: _of_type(value.dtype) for value in graph.inputs}
    for value, array in graph.constants.items():
        if array.dtype.kind in "iub" and array.size:
            ranges[value] = _end(int(array.min())), _end(int(array.max()))
    for node in graph.nodes:
        for value in node.outputs:
            found = _range(node, ranges, _highest(graph)) if value.dtype[0] in "iub" else None
            if value.dtype in WIDE and found is not None and not _fits(found):
                far = max(found, key=abs)
                raise UnsupportedOp(
                    f"Core ML has no integers beyond 32 bits; {node.op} of {value.dtype} can reach {far:,}",
                    hint="compute it in float32, or bring the numbers into range before",
                )
            ranges[value] = found if value.dtype in WIDE else _wrapped(found, value.dtype)


def _end(number: int) -> int:
    """The limits of 64 bits stand for those of 32."""
    return (
        max(number, LIMITS[0])
        if number == -(2**63)
        else min(number, LIMITS[1])
        if number >= 2**63 - 1
        else number
    )


def _fits(found: Range) -> bool:
    return LIMITS[0] <= found[0] and found[1] <= LIMITS[1]


def _of_type(dtype: str) -> Range | None:
    """What a type says about its elements; None of 32 bits and more, and of floats."""
    if dtype == "bool":
        return 0, 1
    return (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) if dtype in NARROW else None


def _wrapped(found: Range | None, dtype: str) -> Range | None:
    """Of elements that wrap around at the type's own limits."""
    limits = _of_type(dtype) or (LIMITS if dtype == "int32" else (0, 2**32 - 1))
    fits = found is not None and limits[0] <= found[0] and found[1] <= limits[1]
    return found if fits else _of_type(dtype)


def _highest(graph: Graph) -> Mapping[str, int | None]:
    return {name: dim.high for name, dim in graph.dims.items()}


def _size(size: AnySize, highest: Mapping[str, int | None]) -> int | None:
    """The largest that a size can be, where its formula only grows."""
    if isinstance(size, int):
        return size
    known = {name: high for name in size.names() if (high := highest.get(name)) is not None}
    if len(known) < len(size.names()) or any(factor < 0 for _, factor in size.terms):
        return None
    return substitute(size, known)


def _range(
    node: Node, ranges: Mapping[Value, Range | None], highest: Mapping[str, int | None]
) -> Range | None:
    given = [ranges.get(value) for value in node.inputs]
    known = [one for one in given if one is not None]
    first = given[0] if given else None
    if node.op in MOVED or (node.op == "AsType" and node.inputs[0].dtype[0] in "iub"):
        return first
    if node.op in POSITIONS or node.op == "Dimension" or node.op == "Arange":
        return _counted(node, highest)
    if node.op == "Select":
        return _union(given[1:])
    if node.op in JOINED:
        return _union(given[:2] if node.op != "Concatenate" else given)
    if node.op in ("Reduce", "Scan"):
        return _accumulated(node, first, highest)
    if len(known) < len(given) or first is None:
        return None
    if node.op in CORNERS:
        corners = [CORNERS[node.op](a, b) for a in known[0] for b in known[1]]
        return min(corners), max(corners)
    if node.op == "Negative":
        return -first[1], -first[0]
    if node.op in ("Abs", "Square"):
        far = max(abs(first[0]), abs(first[1]))
        return 0, far if node.op == "Abs" else far * far
    if node.op in ("LeftShift", "Power") and known[1][0] >= 0 and known[1][1] < FACTORS_MAX:
        power = (lambda a, b: a << b) if node.op == "LeftShift" else (lambda a, b: a**b)
        corners = [power(a, b) for a in known[0] for b in known[1]]
        return min(0, *corners), max(1, *corners)
    if node.op == "Remainder" and known[1][0] > 0:
        return 0, known[1][1] - 1
    if node.op == "FloorDivide" and known[1][0] > 0:
        return min(first[0], 0), max(first[1], 0)
    return None


def _union(given: list[Range | None]) -> Range | None:
    known = [one for one in given if one is not None]
    if len(known) < len(given):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _counted(node: Node, highest: Mapping[str, int | None]) -> Range | None:
    """Of positions, sizes and sequences."""
    if node.op == "Dimension":
        size = _size(node.attrs["size"], highest)
        return None if size is None else (0, size)
    if node.op in POSITIONS:
        size = _size(node.inputs[0].shape[node.attrs["axis"]], highest)
        return None if size is None else (0, size)
    start, step, size = (node.attrs[name] for name in ("start", "step", "size"))
    count = _size(size, highest)
    if count is None or names_in(start) or not float(start).is_integer() or not float(step).is_integer():
        return None
    first, last = int(start), int(start + step * max(count - 1, 0))
    return min(first, last), max(first, last)


def _accumulated(node: Node, first: Range | None, highest: Mapping[str, int | None]) -> Range | None:
    """Of sums, products and extremes over axes."""
    kind, shape = node.attrs["kind"], node.inputs[0].shape
    if first is None or kind in ("max", "min"):
        return first
    if kind in ("and", "or"):
        return 0, 1
    axes = node.attrs["axes"] if node.op == "Reduce" else (node.attrs["axis"],)
    sizes = [_size(shape[axis], highest) for axis in axes]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    count = prod(known)
    if kind == "sum":
        return min(first[0], first[0] * count), max(first[1], first[1] * count)
    if kind == "prod" and first[0] >= 0 and (count <= FACTORS_MAX or first[1] <= 1):
        return 0, max(1, first[1]) ** count
    return None


__all__ = ["refuse_overflow"]

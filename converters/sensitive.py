"""What float16 and bfloat16 would spoil, and is computed in float32 in a file of either.

- Positions and what is made of them alone, such as rotary angles or the weights of an interpolation: float16
  has no odd numbers beyond 2,048, and an angle of that size is off by a radian.
- Sums of squares, with the root and the division that follow: 256 squared is beyond float16's range.
- Sums, means and running sums over more than `LONG_SUM` elements, softmaxes over rows longer than `LONG_ROW`.
- Arithmetic with a number that float16 does not hold, such as an epsilon of 1e-12, up to the division by it.
  Numbers that hide scores (-1e9) become the lowest instead.

Fused norms and attention accumulate in float32 by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from converters.dtypes import is_float
from converters.graph import Graph, Node, Value
from converters.ops.elementwise import ELEMENTWISE
from converters.ops.integer import STORED
from converters.sizes import AnySize, product

LONG_SUM, LONG_ROW = 1024, 4096
HIDES = -1e4  # what is below is a mask
TABLES = STORED | {"Gather", "GatherND", "GatherAxis", "RandomBits"}  # weights, rows of weights, noise
ROWS = {"Scan": LONG_SUM, "Softmax": LONG_ROW, "LogSoftmax": LONG_ROW, "LogSumExp": LONG_ROW}
ROOTS = {"Sqrt", "Rsqrt", "Reshape", "Broadcast", "Transpose", "Log", "Reduce"}


def sensitive(graph: Graph, dtype: str) -> set[Value]:
    """The values that are computed in float32 where the rest is computed in `dtype`."""
    if dtype not in ("float16", "bfloat16"):
        return set()
    return _positions(graph) | _sums(graph) | (_numbers(graph) if dtype == "float16" else set())


def _positions(graph: Graph) -> set[Value]:
    """What is made of integers and sizes alone: positions, angles, the weights of an interpolation, and what
    is compared with them or rounded to integers."""
    signals = {value for value in graph.inputs if is_float(value.dtype)}
    places = set(graph.inputs) - signals
    wide: set[Value] = set()
    for node in graph.nodes:
        if node.op in TABLES or any(value in signals for value in node.inputs):
            signals.update(node.outputs)
        elif not node.inputs or any(value in places for value in node.inputs):
            places.update(node.outputs)
            floats = [value for value in node.inputs if is_float(value.dtype)]
            if node.op == "Select" and all(value in graph.constants for value in floats):
                continue  # a mask
            if floats or is_float(node.outputs[0].dtype):
                wide.update(node.outputs)
    return wide


def _sums(graph: Graph) -> set[Value]:
    wide: set[Value] = set()
    for node in graph.nodes:
        if not is_float(node.outputs[0].dtype) or not node.inputs:
            continue
        x = node.inputs[0]
        if node.op == "Reduce" and node.attrs["kind"] in ("sum", "mean", "prod"):
            squares = graph.producers.get(x)
            if squares is not None and _is_square(squares):
                wide.update((x, node.output), _until_divided(graph, node.output))
            elif _exceeds(product(x.shape[axis] for axis in node.attrs["axes"]), LONG_SUM):
                wide.add(node.output)
        elif node.op in ROWS and _exceeds(x.shape[node.attrs["axis"]], ROWS[node.op]):
            wide.add(node.output)
    return wide


def _numbers(graph: Graph) -> set[Value]:
    wide: set[Value] = set()
    for node in graph.nodes:
        if node.op not in ELEMENTWISE or len(node.inputs) != 2 or not is_float(node.outputs[0].dtype):
            continue
        if any(_is_lost(graph.constants, value) for value in node.inputs):
            wide.update((node.output,), _until_divided(graph, node.output))
    return wide


def _is_lost(constants: Mapping[Value, np.ndarray], value: Value) -> bool:
    """Whether it is one number that float16 rounds by more than its own precision."""
    if value not in constants or constants[value].size != 1 or not is_float(value.dtype):
        return False
    number = float(constants[value].reshape(())[()])
    if number == 0 or not np.isfinite(number) or number <= HIDES:
        return False
    with np.errstate(over="ignore"):
        return abs(float(np.float16(number)) - number) > 2e-3 * abs(number)


def _is_square(node: Node) -> bool:
    return node.op == "Square" or (node.op == "Multiply" and node.inputs[0] is node.inputs[1])


def _exceeds(size: AnySize, limit: int) -> bool:
    return isinstance(size, int) and size > limit


def _until_divided(graph: Graph, value: Value) -> set[Value]:
    """Roots of the value, arithmetic of them with constants, and the first that joins them to an array."""
    found: set[Value] = set()
    waiting = [value]
    while waiting:
        for reader in graph.users.get(waiting.pop(), ()):
            alone = all(v in graph.constants or v in found or v is value for v in reader.inputs)
            if reader.op not in ROOTS | ELEMENTWISE or not is_float(reader.output.dtype):
                continue
            if reader.output in found or (alone and reader.op == "Multiply" and len(set(reader.inputs)) == 1):
                continue
            if alone and reader.op != "Divide":
                waiting.append(reader.output)
                found.add(reader.output)
            elif reader.op in ("Divide", "Multiply", "Maximum"):
                found.add(reader.output)
    return found


__all__ = ["sensitive"]

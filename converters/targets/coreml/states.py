"""States are float16 in Core ML: what is computed from them is cast, and cast back before it is kept."""

from __future__ import annotations

from converters.dtypes import is_float
from converters.errors import ConversionError, UnsupportedOp
from converters.graph import Builder, Graph, Node, Value
from converters.sizes import is_static

DTYPE = "float16"


def with_half_states(graph: Graph, ios: int) -> Graph:
    """The graph with its states, as inputs and outputs, in float16.

    Raises:
        ConversionError: an older system, a state without a fixed size, or one that is no float array.
    """
    if not graph.states:
        return graph
    if ios < 18:
        raise ConversionError("states came with iOS 18", hint="minimum_ios=18")
    b = Builder()
    values: dict[Value, Value] = {}
    inputs = []
    for old in graph.inputs:
        new = old
        if old.name in graph.states:
            _check(old)
            new = Value(old.name, old.shape, DTYPE)
            values[old] = new if old.dtype == DTYPE else b("AsType", new, dtype=old.dtype)
        inputs.append(new)
    for node in graph.nodes:
        operands = tuple(values.get(value, value) for value in node.inputs)
        b.nodes.append(Node(node.op, operands, node.outputs, node.attrs))
    kept = set(graph.states.values())
    outputs = {}
    for name, old in graph.outputs.items():
        value = values.get(old, old)
        outputs[name] = b("AsType", value, dtype=DTYPE) if name in kept and value.dtype != DTYPE else value
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes))


def _check(value: Value) -> None:
    if not is_float(value.dtype):
        raise UnsupportedOp(
            f"the state {value.name} is {value.dtype}, Core ML keeps float16 only",
            hint="pass positions and counters as inputs",
        )
    if not is_static(value.shape):
        raise ConversionError(
            f"the state {value.name} has the shape {value.shape}, in Core ML its size is fixed",
            hint="give the cache a fixed length, and write into it at a position",
        )


__all__ = ["DTYPE", "with_half_states"]

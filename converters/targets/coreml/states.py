"""States are float16 in Core ML: what is computed from them is cast, and cast back before it is kept.

    x = state, int32 (2, 3)     ->     x = (d[0] * 2048 + d[1]) * 2048 + d[2] of d = state, float16 (3, 2, 3)

Integers are kept as three digits, each of which float16 holds exactly.
"""

from __future__ import annotations

from converters.dtypes import is_float
from converters.errors import ConversionError, UnsupportedOp
from converters.graph import Builder, Graph, Node, Value
from converters.sizes import is_static

DTYPE = "float16"
BASE = 2048  # of the digits of an integer: float16 holds every whole number up to it
DIGITS = 3


def with_half_states(graph: Graph, ios: int) -> Graph:
    """The graph with its states, as inputs and outputs, in float16.

    Raises:
        ConversionError: an older system, a state without a fixed size, or one of complex numbers.
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
            new = Value(old.name, old.shape if is_float(old.dtype) else (DIGITS, *old.shape), DTYPE)
            values[old] = _read(b, new, old)
        inputs.append(new)
    for node in graph.nodes:
        operands = tuple(values.get(value, value) for value in node.inputs)
        b.nodes.append(Node(node.op, operands, node.outputs, node.attrs))
    kept = set(graph.states.values())
    outputs = {}
    for name, old in graph.outputs.items():
        value = values.get(old, old)
        outputs[name] = _written(b, value) if name in kept and value.dtype != DTYPE else value
    constants = {**graph.constants, **b.constants}
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes), constants=constants)


def _read(b: Builder, held: Value, old: Value) -> Value:
    if is_float(old.dtype):
        return held if old.dtype == DTYPE else b("AsType", held, dtype=old.dtype)
    numbers = b("AsType", held, dtype="int32")
    digits = [b("Reshape", d, shape=old.shape) for d in b.outputs("Split", numbers, sizes=(1, 1, 1), axis=0)]
    base = b.constant(BASE, dtype="int32")
    whole = digits[0]
    for digit in digits[1:]:
        whole = b("Add", b("Multiply", whole, base), digit)
    return b("AsType", whole, dtype=old.dtype) if old.dtype != "int32" else whole


def _written(b: Builder, value: Value) -> Value:
    if is_float(value.dtype):
        return b("AsType", value, dtype=DTYPE)
    rest = b("AsType", value, dtype="int32") if value.dtype != "int32" else value
    base, digits = b.constant(BASE, dtype="int32"), []
    for _ in range(DIGITS - 1):
        digits.append(b("Remainder", rest, base))
        rest = b("FloorDivide", rest, base)
    rows = [b("Reshape", digit, shape=(1, *digit.shape)) for digit in (rest, *reversed(digits))]
    return b("AsType", b("Concatenate", *rows, axis=0), dtype=DTYPE)


def _check(value: Value) -> None:
    if value.dtype.startswith("complex"):
        raise UnsupportedOp(f"the state {value.name} is {value.dtype}, which Core ML has not")
    if not is_static(value.shape):
        raise ConversionError(
            f"the state {value.name} has the shape {value.shape}, in Core ML its size is fixed",
            hint="give the cache a fixed length, and write into it at a position",
        )


__all__ = ["DTYPE", "with_half_states"]

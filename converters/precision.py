"""The same graph in another floating-point type: weights and arithmetic change, inputs and outputs keep
theirs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ConversionError
from converters.graph import Builder, Graph, Value
from converters.ops.integer import STORED

CHANGEABLE = ("float16", "bfloat16", "float32")


def with_precision(graph: Graph, dtype: str) -> Graph:
    """Every float16, bfloat16 and float32 value as `dtype`; inputs and outputs are cast at the edges,
    states are not.

    An input or output of bfloat16 becomes float32, which every runtime takes.
    """
    return retyped(graph, dict.fromkeys(CHANGEABLE, dtype), {"bfloat16": "float32"})


def with_dtypes(graph: Graph, mapping: Mapping[str, str]) -> Graph:
    """Every value of a type in `mapping` as the type it maps to, inputs and outputs included.

    Raises:
        ConversionError: a constant does not fit its new type.
    """
    return retyped(graph, mapping, mapping)


def retyped(graph: Graph, mapping: Mapping[str, str], edges: Mapping[str, str]) -> Graph:
    """The graph computing in the types of `mapping`; inputs and outputs change by `edges` only, states by
    `mapping`, codes of weights not at all."""
    values_of = [*graph.inputs, *graph.constants, *(o for n in graph.nodes for o in n.outputs)]
    if all(mapping.get(v.dtype, v.dtype) == v.dtype for v in values_of):
        return graph
    b = Builder()
    states = set(graph.states) | set(graph.states.values())
    values: dict[Value, Value] = {}
    inputs = []
    for old in graph.inputs:
        chosen = mapping if old.name in states else edges
        new = Value(old.name, old.shape, chosen.get(old.dtype, old.dtype))
        inputs.append(new)
        inside = mapping.get(old.dtype, old.dtype)
        values[old] = new if new.dtype == inside else b("AsType", new, dtype=inside)
    codes = {node.inputs[0] for node in graph.nodes if node.op in STORED}
    for old, array in graph.constants.items():
        dtype = old.dtype if old in codes else mapping.get(old.dtype, old.dtype)
        values[old] = b.constant(narrowed(array, dtype), old.name)
    for node in graph.nodes:
        attrs = {n: mapping.get(a, a) if isinstance(a, str) else a for n, a in node.attrs.items()}
        operands = tuple(values[value] for value in node.inputs)
        if node.op == "AsType" and operands[0].dtype == attrs["dtype"]:
            values[node.output] = operands[0]
            continue
        values.update(zip(node.outputs, b.outputs(node.op, *operands, **attrs), strict=True))
    outputs = {}
    for name, old in graph.outputs.items():
        edge = values[old].dtype if name in states else edges.get(old.dtype, old.dtype)
        outputs[name] = values[old] if values[old].dtype == edge else b("AsType", values[old], dtype=edge)
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes), constants=b.constants)


def narrowed(array: np.ndarray, dtype: str) -> np.ndarray:
    """The array as `dtype`; finite floats beyond its range become its largest, integers that do not fit are
    refused."""
    target = numpy_dtype(dtype)
    if array.dtype == target:
        return array
    if target.kind in "iu":
        changed = array.astype(target)
        if not np.array_equal(changed.astype(array.dtype), array):
            raise ConversionError(f"a constant of {array.dtype.name} does not fit {dtype}")
        return changed
    if dtype != "float16":
        return array.astype(target)
    limit = np.float32(np.finfo(np.float16).max)
    wide = array.astype(np.float32)
    return np.where(np.isfinite(wide), np.clip(wide, -limit, limit), wide).astype(np.float16)

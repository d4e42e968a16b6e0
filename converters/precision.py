"""The same graph in another floating-point type: weights and arithmetic change, inputs and outputs keep
theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Builder, Graph, Value

CHANGEABLE = ("float16", "bfloat16", "float32")


def with_precision(graph: Graph, dtype: str) -> Graph:
    """Every float16, bfloat16 and float32 value as `dtype`; inputs and outputs are cast at the edges,
    states are not.

    An input or output of bfloat16 becomes float32, which every runtime takes.
    """
    floats = {
        v.dtype for v in [*graph.inputs, *graph.constants, *(o for n in graph.nodes for o in n.outputs)]
    }
    if floats & set(CHANGEABLE) <= {dtype}:
        return graph
    b = Builder()
    states = set(graph.states) | set(graph.states.values())
    values: dict[Value, Value] = {}
    inputs = []
    for old in graph.inputs:
        edge = dtype if old.name in states and old.dtype in CHANGEABLE else _edge(old.dtype)
        new = Value(old.name, old.shape, edge)
        inputs.append(new)
        values[old] = b("AsType", new, dtype=dtype) if edge in CHANGEABLE and edge != dtype else new
    for old, array in graph.constants.items():
        changed = narrowed(array, dtype) if old.dtype in CHANGEABLE else array
        values[old] = b.constant(changed, old.name)
    for node in graph.nodes:
        attrs = {name: _changed(attr, dtype) for name, attr in node.attrs.items()}
        operands = tuple(values[value] for value in node.inputs)
        if node.op == "AsType" and operands[0].dtype == attrs["dtype"]:
            values[node.output] = operands[0]
            continue
        results = b.outputs(node.op, *operands, **attrs)
        values.update(zip(node.outputs, results, strict=True))
    outputs = {}
    for name, old in graph.outputs.items():
        new, edge = values[old], _edge(old.dtype)
        outputs[name] = new if name in states or new.dtype == edge else b("AsType", new, dtype=edge)
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes), constants=b.constants)


def _edge(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype


def _changed(attribute: Any, dtype: str) -> Any:
    return dtype if isinstance(attribute, str) and attribute in CHANGEABLE else attribute


def narrowed(array: np.ndarray, dtype: str) -> np.ndarray:
    """The array as `dtype`; finite values beyond its range become its largest, not infinite."""
    if dtype != "float16" or array.dtype == np.float16:
        return array.astype(numpy_dtype(dtype))
    limit = np.float32(np.finfo(np.float16).max)
    wide = array.astype(np.float32)
    return np.where(np.isfinite(wide), np.clip(wide, -limit, limit), wide).astype(np.float16)

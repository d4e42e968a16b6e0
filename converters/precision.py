"""The same graph in another floating-point type: weights and arithmetic change, inputs and outputs keep
theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ConversionError
from converters.graph import Builder, Graph, Node, Value
from converters.ops.integer import STORED
from converters.sensitive import sensitive

CHANGEABLE = ("float16", "bfloat16", "float32")
FLOAT32: dict[str, str] = dict.fromkeys(CHANGEABLE, "float32")


def with_precision(graph: Graph, dtype: str) -> Graph:
    """Every float16, bfloat16 and float32 value as `dtype`, but for what that would spoil
    (`converters.sensitive`); inputs and outputs are cast at the edges, states are not.

    An input or output of bfloat16 becomes float32, which every runtime takes.
    """
    edges = {"bfloat16": "float32"}
    return retyped(graph, dict.fromkeys(CHANGEABLE, dtype), edges, sensitive(graph, dtype))


def with_dtypes(graph: Graph, mapping: Mapping[str, str]) -> Graph:
    """Every value of a type in `mapping` as the type it maps to, inputs and outputs included.

    Raises:
        ConversionError: a constant does not fit its new type.
    """
    return retyped(graph, mapping, mapping)


def retyped(
    graph: Graph, mapping: Mapping[str, str], edges: Mapping[str, str], wide: Collection[Value] = ()
) -> Graph:
    """The graph computing in the types of `mapping`; inputs and outputs change by `edges` only, states by
    `mapping`, codes of weights not at all. Nodes that compute a value of `wide` do it in float32."""
    values_of = [*graph.inputs, *graph.constants, *(o for n in graph.nodes for o in n.outputs)]
    if all(mapping.get(v.dtype, v.dtype) == v.dtype for v in values_of):
        return graph
    b = _Retyping(graph.constants)
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
        if node.outputs[0] in wide:
            b.in_float32(node, values, mapping)
            continue
        attrs = {n: mapping.get(a, a) if isinstance(a, str) else a for n, a in node.attrs.items()}
        operands = tuple(b.read(value, values) for value in node.inputs)
        if node.op == "AsType" and operands[0].dtype == attrs["dtype"]:
            values[node.output] = operands[0]
            continue
        values.update(zip(node.outputs, b.outputs(node.op, *operands, **attrs), strict=True))
    outputs = {}
    for name, old in graph.outputs.items():
        b.read(old, values)
        edge = values[old].dtype if name in states else edges.get(old.dtype, old.dtype)
        outputs[name] = values[old] if values[old].dtype == edge else b("AsType", values[old], dtype=edge)
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes), constants=b.constants)


class _Retyping(Builder):
    def __init__(self, originals: Mapping[Value, np.ndarray]):
        super().__init__()
        self.originals = originals
        self.wide: dict[Value, Value] = {}  # old value to what it is in float32
        self.narrow: dict[Value, str] = {}  # the type in which the others read it

    def in_float32(self, node: Node, values: dict[Value, Value], mapping: Mapping[str, str]) -> None:
        """Add the node with operands and results of float32."""
        operands = tuple(self._widened(value, values) for value in node.inputs)
        attrs = {n: FLOAT32.get(a, a) if isinstance(a, str) else a for n, a in node.attrs.items()}
        same = node.op == "AsType" and operands[0].dtype == attrs["dtype"]
        results = operands if same else self.outputs(node.op, *operands, **attrs)
        for old, new in zip(node.outputs, results, strict=True):
            if old.dtype in CHANGEABLE:
                self.wide[old], self.narrow[old] = new, mapping.get(old.dtype, old.dtype)
            else:
                values[old] = new

    def _widened(self, value: Value, values: Mapping[Value, Value]) -> Value:
        if value.dtype not in CHANGEABLE:
            return values[value]
        if value not in self.wide and value in self.originals:
            self.wide[value] = self.constant(self.originals[value], value.name, dtype="float32")
        elif value not in self.wide:
            self.wide[value] = self("AsType", values[value], dtype="float32")
        return self.wide[value]

    def read(self, value: Value, values: dict[Value, Value]) -> Value:
        """What an old value is for those that compute in the narrow type."""
        if value not in values:
            values[value] = self("AsType", self.wide[value], dtype=self.narrow[value])
        return values[value]


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

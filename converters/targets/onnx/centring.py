"""LayerNorms of a residual stream become RMSNorms, which cost two thirds of it in onnxruntime.

    x = Add(x, Linear(h, w, b))                 x = Add(x, Linear(h, w - mean(w), b - mean(b)))
    y = Linear(LayerNorm(x, g, s), v, c)   ->   y = Linear(RMSNorm(x, g), v, c + v·s)

Where all that is added to the stream has a mean of zero, so has the stream, and nothing is left to subtract.
The means are taken out of the weights that write to it, once; exact but for rounding. Nothing but norms may
read the stream. As in Ashkboos et al. 2024 ("SliceGPT", section 3.1).
"""

from __future__ import annotations

import numpy as np

from converters.graph import Builder, Graph, Node, Value

LARGEST = 1 << 22  # elements of a weight that may be copied

PASSING = ("Add", "Slice", "Reshape")  # may carry the stream on

Axis = tuple[Value, int]


def with_centred_streams(graph: Graph) -> Graph:
    """The graph with RMSNorms where every LayerNorm over constants and layers allows it; else as it is."""
    norms = [node for node in graph.nodes if node.op == "LayerNorm" and _feeds_layers(graph, node)]
    seeds = [node.inputs[0] for node in norms]
    while True:
        stream = _stream(graph, seeds)
        readers = _readers(graph, stream)
        if not stream or not _is_private(graph, stream) or any(node.op not in PASSING for node in readers):
            return graph
        if not readers:
            return _Centring(graph, stream, {node.output for node in norms}).graph()
        seeds += [node.output for node in readers]  # the stream goes on to norms that nothing is gained from


def _feeds_layers(graph: Graph, norm: Node) -> bool:
    """Whether the shift of a norm can move into the biases of what reads it."""
    users = graph.users.get(norm.output, [])
    constant = norm.output.dtype == "float32" and all(value in graph.constants for value in norm.inputs[1:])
    layers = all(u.op == "Linear" and u.inputs[0] is norm.output and _is_small(graph, u) for u in users)
    return (
        constant
        and len(norm.inputs) == 3
        and bool(users)
        and layers
        and norm.output not in graph.outputs.values()
    )


def _is_small(graph: Graph, node: Node) -> bool:
    arrays = [graph.constants.get(value) for value in node.inputs[1:]]
    return all(array is not None and array.size <= LARGEST for array in arrays)


def _stream(graph: Graph, seeds: list[Value]) -> dict[Value, int]:
    """The seeds and all that they are made of, through sums and movements up to constants and layers: value
    to the axis whose mean must vanish. Empty where one of them is something else."""
    front: list[Axis] = [(value, len(value.shape) - 1) for value in seeds]
    stream: dict[Value, int] = {}
    while front:
        value, axis = front.pop()
        if stream.setdefault(value, axis) != axis:
            return {}
        sources = _sources(graph, value, axis)
        if sources is None:
            return {}
        front += [source for source in sources if source[0] not in stream or stream[source[0]] != source[1]]
    return stream


def _sources(graph: Graph, value: Value, axis: int) -> list[Axis] | None:
    """What must have no mean along which axis, so that `value` has none along `axis`."""
    if value in graph.constants:
        array = graph.constants[value]
        return [] if array.shape[axis] > 1 and array.size <= LARGEST else None
    node = graph.producers.get(value)
    if node is None or len(node.outputs) > 1:
        return None
    last, rank = axis == len(value.shape) - 1, len(value.shape)
    if node.op == "Linear":
        return [] if last and _is_small(graph, node) else None
    if node.op == "Convolution":
        return [] if axis == 1 and node.attrs["channels_first"] and _is_small(graph, node) else None
    if node.op == "Gather":
        table = node.inputs[0]
        sound = last and node.attrs["axis"] == 0 and table in graph.constants and len(table.shape) == 2
        return [(table, 1)] if sound else None
    if node.op == "Add":
        shifted = [(operand, axis - rank + len(operand.shape)) for operand in node.inputs]
        wide = all(a >= 0 and v.shape[a] == value.shape[axis] for v, a in shifted)
        return shifted if wide else None
    if node.op == "Transpose":
        return [(node.inputs[0], node.attrs["axes"][axis])]
    if node.op == "Reshape" and node.inputs[0].shape[: axis + 1] == value.shape[: axis + 1]:
        return [(node.inputs[0], axis)]
    kept = {"Concatenate": node.attrs.get("axis") != axis, "Slice": True}
    if node.op in ("Reshape", "Broadcast") and last:
        whole = all(len(v.shape) > 0 and v.shape[-1] == value.shape[-1] for v in node.inputs)
        return [(v, len(v.shape) - 1) for v in node.inputs] if whole else None
    same = (
        all(operand.shape[axis] == value.shape[axis] for operand in node.inputs)
        if kept.get(node.op)
        else False
    )
    return [(operand, axis) for operand in node.inputs] if same else None


def _readers(graph: Graph, stream: dict[Value, int]) -> list[Node]:
    """What reads the stream, is no norm, and does not belong to it."""
    users = [(value, user) for value in stream for user in graph.users.get(value, [])]
    return [
        user
        for value, user in users
        if not (user.op == "LayerNorm" and user.inputs[0] is value)
        and not (len(user.outputs) == 1 and user.output in stream)
    ]


def _is_private(graph: Graph, stream: dict[Value, int]) -> bool:
    """Whether the stream is no output, and the weights that write to it have no other use."""
    nodes = [graph.producers[value] for value in stream if value in graph.producers]
    weights = [w for node in nodes if node.op in ("Linear", "Convolution") for w in node.inputs[1:]]
    alone = all(len(graph.users[weight]) == 1 for weight in weights)
    return alone and not any(value in stream for value in graph.outputs.values())


class _Centring(Builder):
    """The graph being written anew."""

    def __init__(self, graph: Graph, stream: dict[Value, int], norms: set[Value]):
        super().__init__()
        self.source, self.stream, self.norms = graph, stream, norms
        self.constants = dict(graph.constants)
        self.shifts: dict[Value, np.ndarray] = {}

    def graph(self) -> Graph:
        for value, axis in self.stream.items():
            if value in self.source.constants:
                self.constants[value] = self._centred(value, axis)
        for node in self.source.nodes:
            self.nodes.append(self._changed(node))
        used = {value for node in self.nodes for value in node.inputs} | set(self.source.outputs.values())
        constants = {value: array for value, array in self.constants.items() if value in used}
        return self.source.replace(nodes=tuple(self.nodes), constants=constants)

    def _centred(self, value: Value, axis: int) -> np.ndarray:
        array = self.source.constants[value]
        wide = array.astype(np.float64)
        return (wide - wide.mean(axis=axis, keepdims=True)).astype(array.dtype)

    def _changed(self, node: Node) -> Node:
        if node.op == "LayerNorm" and node.output in self.norms:
            self.shifts[node.output] = self.source.constants[node.inputs[2]]
            return Node("RMSNorm", node.inputs[:2], node.outputs, node.attrs)
        if node.op not in ("Linear", "Convolution"):
            return node
        x, weight, *bias = node.inputs
        if node.output in self.stream:
            for value in (weight, *bias):
                self.constants[value] = self._centred(value, 0)
        if x not in self.shifts:
            return node
        array = self.constants[weight].astype(np.float64)
        shift = array @ self.shifts[x].astype(np.float64)
        whole = shift + self.constants[bias[0]] if bias else shift
        name = bias[0].name if bias else f"{weight.name.removesuffix('weight')}bias"
        added = self.constant(whole, name, weight.dtype)
        return Node("Linear", (x, weight, added), node.outputs, node.attrs)


__all__ = ["with_centred_streams"]

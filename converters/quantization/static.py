"""Convolutional networks in 8-bit integers from end to end, ranges known from calibration.

y = ReLU(Convolution(x, w, b))   ->   y = InSteps(ReLU(Convolution(InSteps(x), ScaleCodes(w), ScaleCodes(b))))

Weights are symmetric with a scale for each output, activations have one scale and a zero, biases the
product of both scales in 32 bits (Jacob et al. 2018, sections 2.3 and 2.4; Krishnamoorthi 2018, "Quantizing
deep convolutional networks for efficient inference"). What lies between two such layers and only pools or
adds up values is rounded as well, so that a runtime need not leave the integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from converters.dtypes import is_float
from converters.graph import Builder, Graph, Node, Value
from converters.ops.integer import range_code
from converters.quantization.codes import channel_codes
from converters.quantization.store import named
from converters.sizes import substitute

LAYERS = {"Convolution", "Linear"}
MOVING = {"MaxPool", "Reshape", "Transpose", "Slice"}  # give values that they were given
JOINING = {"Add", "AvgPool", "Concatenate", "Reduce"}  # are integer kernels themselves
BOUNDING = {"ReLU", "Clip"}  # belong to the layer before
SMOOTH = {"LayerNorm", "RMSNorm", "ScaledDotProductAttention", "Softmax"}  # where static ranges lose too much

Range = tuple[float, float]


def is_convolutional(graph: Graph) -> bool:
    """Whether static ranges suit the whole graph: convolutions, and neither attention nor norms over
    channels."""
    ops = {node.op for node in graph.nodes}
    return "Convolution" in ops and not ops & SMOOTH


def layers_of(graph: Graph) -> list[Node]:
    """The layers that can be computed in integers; without convolutions' linear layers where the graph is no
    plain network of convolutions."""
    chosen = LAYERS if is_convolutional(graph) else {"Convolution"}
    return [
        node
        for node in graph.nodes
        if node.op in chosen
        and node.output.dtype in ("float32", "float16")
        and all(value in graph.constants for value in node.inputs[1:])
        and (node.op == "Linear" or _is_plain(node))
        and (node.op != "Linear" or len(node.inputs[0].shape) == 2)
    ]


def _is_plain(node: Node) -> bool:
    spread = any(step != 1 for step in node.attrs["input_dilation"])
    return node.attrs["channels_first"] and not spread and not node.attrs["flip"]


def convolution_share(graph: Graph) -> float:
    """The convolutions' share of all multiplications with weights, named dimensions at 16 or near it."""
    sizes = {name: max(dim.low, dim.multiple, min(16, dim.high or 16)) for name, dim in graph.dims.items()}
    work = {"Convolution": 0.0, "Linear": 0.0, "Matmul": 0.0}
    for node in graph.nodes:
        if node.op in work:
            weight = substitute(node.inputs[1].shape, sizes)
            outputs = prod(substitute(node.output.shape, sizes))
            work[node.op] += outputs * (weight[-2] if node.op == "Matmul" else prod(weight[1:]))
    return work["Convolution"] / max(1.0, sum(work.values()))


def rounded_values(graph: Graph) -> list[Value]:
    """The values that are rounded: what layers read and convolutions give, and what is pooled or added up of
    such values."""
    origin: dict[Value, Value] = {}
    rounded: dict[Value, None] = {}
    layers = {node.output for node in layers_of(graph)}
    results = set(graph.outputs.values())
    for node in graph.nodes:
        operands = [origin.get(value, value) for value in node.inputs if value not in graph.constants]
        if len(node.outputs) != 1 or not operands or not is_float(node.output.dtype):
            continue
        if node.op in MOVING:
            origin[node.output] = operands[0]
        elif node.output in layers:
            rounded[operands[0]] = None
        joins = node.op in JOINING and all(value in rounded for value in operands)
        if joins or (node.output in layers and node.op == "Convolution"):
            result = _bounded(graph, node.output)
            if result not in results:
                rounded[result] = None
    return list(rounded)


def _bounded(graph: Graph, value: Value) -> Value:
    """The value after the activation that follows at once, if nothing else reads it."""
    users = graph.users.get(value, [])
    sole = len(users) == 1 and users[0].op in BOUNDING and value not in graph.outputs.values()
    return users[0].output if sole else value


def with_static_layers(graph: Graph, ranges: Mapping[Value, Range]) -> Graph:
    """The graph with rounded values and integer weights.

    Args:
        ranges: lowest and highest of each of `rounded_values`.
    """
    b = Builder()
    b.constants = dict(graph.constants)
    now: dict[Value, Value] = {}
    steps = {value: range_code(*bounds) for value, bounds in ranges.items()}
    layers = {node.output for node in layers_of(graph)}
    origin = {value: value for value in steps}

    def rounded(value: Value) -> Value:
        """In the steps of the value that it was moved from; runtimes look for them next to a layer."""
        if value in origin and value not in now:
            scale, zero = steps[origin[value]]
            now[value] = b("InSteps", value, scale=scale, zero=zero)
        return now.get(value, value)

    for node in graph.nodes:
        inputs = [rounded(value) for value in node.inputs]
        if node.op in MOVING and node.inputs[0] in origin:
            origin[node.output] = origin[node.inputs[0]]
        if len(node.outputs) == 1 and node.output in layers:
            inputs[1:] = _integer_weights(b, node, steps[origin[node.inputs[0]]][0])
        b.nodes.append(Node(node.op, tuple(inputs), node.outputs, node.attrs))
    return graph.replace(nodes=tuple(b.nodes), constants=b.constants)


def _integer_weights(b: Builder, node: Node, scale: float) -> list[Value]:
    """Weight and bias as codes; the bias in steps of the product of the input's and the weight's."""
    weight, *bias = node.inputs[1:]
    array = b.constants[weight]
    last = np.moveaxis(array, 1, -1) if node.op == "Convolution" else array  # as runtimes lay it out
    codes, scales = channel_codes(last)
    codes = np.ascontiguousarray(np.moveaxis(codes, -1, 1)) if node.op == "Convolution" else codes
    factors = np.where(scales > 0, scales, 1)
    column = b.constant(factors.reshape(-1, *(1,) * (array.ndim - 1)), named(weight, "scales"), weight.dtype)
    values = [b("ScaleCodes", b.constant(codes, weight.name), column)]
    for value in bias:
        step = factors.astype(np.float64) * scale
        limit = np.iinfo(np.int32).max
        whole = np.clip(np.rint(b.constants[value] / step), -limit, limit).astype(np.int32)
        steps = b.constant(step, f"{value.name}.scales", value.dtype)
        values.append(b("ScaleCodes", b.constant(whole, value.name), steps))
    return values

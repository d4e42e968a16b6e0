"""Pictures at the edges of a package: 8-bit pixels outside, what the function takes and gives inside.

Core ML hands a picture over as (1, C, H, W) from 0 to 255, and makes one of such an array. How it treats
other numbers is not documented, so the program clips and rounds: every reader finds the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.graph import Builder, Graph, Node, Value
from converters.ops.convolution import to_first, to_last
from converters.specs import Image
from converters.targets.coreml.schema import feature_schema

SPACES = {"grey": "GRAYSCALE", "rgb": "RGB", "bgr": "BGR"}


def prepare(graph: Graph) -> Graph:
    """Pixels in front of what the function expects, and behind what it gives.

    Done before the passes, so that the transposes cancel against a convolution's.
    """
    if not graph.images:
        return graph
    b = Builder()
    values: dict[Value, Value] = {}
    inputs = []
    for old in graph.inputs:
        spec = graph.images.get(old.name)
        if spec is None:
            inputs.append(old)
            continue
        new = Value(old.name, (1, spec.channels, *spec.size), "float32")
        inputs.append(new)
        values[old] = b("Transpose", _normalized(b, new, spec), axes=to_last(4))
    for node in graph.nodes:
        operands = tuple(values.get(value, value) for value in node.inputs)
        b.nodes.append(Node(node.op, operands, node.outputs, node.attrs))
    outputs = {name: values.get(value, value) for name, value in graph.outputs.items()}
    for name in outputs.keys() & graph.images.keys():
        outputs[name] = _pixels(b, outputs[name], graph.images[name])
    constants = {**graph.constants, **b.constants}
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes), constants=constants)


def _normalized(b: Builder, x: Value, spec: Image) -> Value:
    """(pixel * scale - mean) / std."""
    std = np.array(spec.std if spec.std is not None else (1.0,) * spec.channels)
    bias = None if spec.mean is None else -np.array(spec.mean) / std
    return _scaled(b, x, spec.scale / std, bias)


def _pixels(b: Builder, x: Value, spec: Image) -> Value:
    """The reverse, (1, C, H, W) whole numbers from 0 to 255."""
    std = np.array(spec.std if spec.std is not None else (1.0,) * spec.channels)
    bias = None if spec.mean is None else np.array(spec.mean) / spec.scale
    x = x if x.dtype == "float32" else b("AsType", x, dtype="float32")
    y = _scaled(b, b("Transpose", x, axes=to_first(4)), std / spec.scale, bias)
    return b("Round", b("Clip", y, low=0.0, high=255.0))


def _scaled(b: Builder, x: Value, scale: np.ndarray, bias: np.ndarray | None) -> Value:
    """(1, C, H, W) as one product and at most one sum."""
    scale = scale.astype(np.float32).reshape(1, -1, 1, 1)
    same = bool(np.all(scale == scale.ravel()[0]))
    y = b("Multiply", x, b.constant(scale.ravel()[0] if same else scale, "image_scale"))
    if bias is None:
        return y
    return b("Add", y, b.constant(bias.astype(np.float32).reshape(1, -1, 1, 1), "image_bias"))


def describe_picture(proto: Any, spec: Image) -> None:
    """An `ImageFeatureType` for an input or output."""
    proto.height, proto.width = spec.size
    proto.colorSpace = feature_schema().ImageFeatureType.ColorSpace.Value(SPACES[spec.color])


__all__ = ["describe_picture", "prepare"]

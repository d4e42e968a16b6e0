"""Writing `.onnx` files: one function a file, weights inside, or beside it where they pass 2 GiB."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, StringStringEntryProto, TensorProto

from converters.convert import Options
from converters.errors import ConversionError
from converters.graph import Graph, Node
from converters.lower import legalize
from converters.metadata import KEY, describe
from converters.precision import with_precision
from converters.storage import replacing_file
from converters.targets.onnx.rules import RULES
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer

IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
INLINE_LIMIT = 2**31 - 2**20  # bytes; protobuf's own limit is 2 GiB


def write(graphs: Mapping[str, Graph], path: Path, options: Options) -> Path:
    """Write one graph to `path`, or several as `<function>.onnx` in the folder `path`."""
    if options.opset not in IR_VERSIONS:
        raise ConversionError(f"opset {options.opset} is not supported", hint="use 17 to 23")
    if len(graphs) > 1:
        raise ConversionError("several functions in ONNX are not supported yet")
    ((name, graph),) = graphs.items()
    if options.precision is not None:
        graph = with_precision(graph, options.precision)
    model, tensors = build(graph, options, name)
    size = sum(array.nbytes for array in tensors.values())
    if size > INLINE_LIMIT:
        raise ConversionError(f"weights of {size} bytes need external data, which is not supported yet")
    model.graph.initializer.extend(_tensor(key, array) for key, array in tensors.items())
    onnx.checker.check_model(model, full_check=True)
    with replacing_file(path, overwrite=options.overwrite) as new:
        new.write_bytes(model.SerializeToString())
    return path


def build(graph: Graph, options: Options, name: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """The model without weights, and the weights by name."""

    def refusal(node: Node) -> str | None:
        rule = RULES.get(node.op)
        if rule is None:
            return "no such op in ONNX"
        return rule.refusal(options.opset, node) if rule.refusal else None

    graph = legalize(graph, refusal)
    writer = Writer(graph, options.opset, options.runtime)
    for node in graph.nodes:
        RULES[node.op].emit(writer, node)
    labels = None if options.labels is None else list(options.labels)
    used = {key for node in writer.nodes for key in node.input}
    proto = writer.finish(name)
    used |= {key for node in proto.node for key in node.input}
    weights = {key: array for key, array in writer.initializers.items() if key in used}
    metadata = describe({name: graph}, labels, options.metadata, weights.values())
    if options.precision is not None:
        metadata["precision"] = options.precision
    model = ModelProto(ir_version=IR_VERSIONS[options.opset], producer_name="edgevision", graph=proto)
    model.opset_import.add(domain="", version=options.opset)
    for domain in sorted(writer.domains - {""}):
        model.opset_import.add(domain=domain, version=1)
    model.metadata_props.append(StringStringEntryProto(key=KEY, value=json.dumps(metadata)))
    return model, weights


def _tensor(name: str, array: np.ndarray) -> TensorProto:
    data_type = ELEMENT_TYPES[array.dtype.name]
    return TensorProto(
        name=name, dims=array.shape, data_type=data_type, raw_data=np.ascontiguousarray(array).tobytes()
    )

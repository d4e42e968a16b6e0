"""Writing `.onnx` files: one function a file, weights inside, or beside it where they pass 2 GiB."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
from onnx import GraphProto, ModelProto, StringStringEntryProto

from converters.convert import Options
from converters.errors import ConversionError
from converters.graph import Graph, Node, Value
from converters.lower import legalize
from converters.metadata import KEY, describe
from converters.precision import with_precision
from converters.storage import replacing_file, replacing_folder
from converters.targets.onnx import residuals
from converters.targets.onnx.kernels import with_kernels
from converters.targets.onnx.protobuf import stored, tensor_header, write_external, write_inline
from converters.targets.onnx.rotations import needed
from converters.targets.onnx.rows import in_rows
from converters.targets.onnx.rules import RULES
from converters.targets.onnx.writer import Writer

IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
INLINE_LIMIT = 2**31 - 2**24  # bytes of weights; protobuf ends at 2 GiB
CHECKED_INLINE = 1024  # bytes; larger weights are checked by shape only


def write(graphs: Mapping[str, Graph], path: Path, options: Options) -> Path:
    """Write one graph to `path`, or several as `<function>.onnx` in the folder `path`."""
    if options.opset not in IR_VERSIONS:
        raise ConversionError(f"opset {options.opset} is not supported", hint="use 17 to 23")
    models = {name: build(_cast(graph, options), options, name) for name, graph in graphs.items()}
    for model, tensors in models.values():
        check(model, tensors)
    if len(models) > 1:
        with replacing_folder(path, overwrite=options.overwrite) as folder:
            folder.mkdir(exist_ok=True)
            for name, (model, tensors) in models.items():
                _write_one(model, tensors, folder / f"{name}.onnx", overwrite=True)
    else:
        ((model, tensors),) = models.values()
        _write_one(model, tensors, path, options.overwrite)
    return path


def _cast(graph: Graph, options: Options) -> Graph:
    return graph if options.precision is None else with_precision(graph, options.precision)


def _write_one(model: ModelProto, tensors: Mapping[str, np.ndarray], path: Path, overwrite: bool) -> None:
    if sum(array.nbytes for array in tensors.values()) <= INLINE_LIMIT:
        with replacing_file(path, overwrite=overwrite) as new:
            write_inline(model, tensors, new)
        return
    data = path.with_name(f"{path.name}_data")
    with (
        replacing_file(path, overwrite=overwrite) as new,
        replacing_file(data, overwrite=overwrite) as new_data,
    ):
        write_external(model, tensors, new, new_data)
        path.unlink(missing_ok=True)  # the old graph must never be found with the new weights


def build(graph: Graph, options: Options, name: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """The model without weights, and the weights by name."""

    def refusal(node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
        rule = RULES.get(node.op)
        if rule is None:
            return "no such op in ONNX"
        return rule.why_not(options.opset, node, constants)

    graph = with_kernels(legalize(in_rows(graph), refusal), options.opset)
    writer = Writer(graph, options.opset, options.runtime, exact=options.quantize is None)
    norms = residuals.joined(graph) if options.runtime == "onnxruntime" else {}
    together = set(norms.values())
    wanted = needed(graph, {node: (*given.values, *node.inputs[3:]) for node, given in writer.read.items()})
    for node in graph.nodes:
        if writer.read and node not in wanted:
            continue
        if node in norms:
            residuals.emit(writer, node, norms[node])
        elif node not in together:
            RULES[node.op].emit(writer, node)
    proto = writer.finish(name)
    used = _read(proto)
    weights = {key: array for key, array in writer.initializers.items() if key in used}
    labels = None if options.labels is None else list(options.labels)
    metadata = describe({name: graph}, labels, options.metadata, weights.values())
    if options.precision is not None:
        metadata["precision"] = options.precision
    if writer.roomy:
        metadata["roomy_states"] = sorted(writer.roomy)
    if options.quantization is not None:
        metadata["quantize"] = options.quantization.to_json()
    model = ModelProto(ir_version=IR_VERSIONS[options.opset], producer_name="edgevision", graph=proto)
    model.opset_import.add(domain="", version=options.opset)
    for domain in sorted(writer.domains - {""}):
        model.opset_import.add(domain=domain, version=1)
    model.metadata_props.append(StringStringEntryProto(key=KEY, value=json.dumps(metadata)))
    return model, weights


def _read(proto: GraphProto) -> set[str]:
    """The names that nodes read, those of branches and loops too."""
    inner = (attr.g for node in proto.node for attr in node.attribute if attr.HasField("g"))
    return {key for node in proto.node for key in node.input}.union(*map(_read, inner))


def check(model: ModelProto, tensors: Mapping[str, np.ndarray]) -> None:
    """ONNX's own full check with strict shape inference; large weights stand as inputs, so that nothing is
    copied.

    Raises:
        ConversionError: the checker's complaint, which is a mistake of this compiler.
    """
    shell = ModelProto()
    shell.CopyFrom(model)
    for name, array in tensors.items():
        tensor = tensor_header(name, array)
        if array.nbytes <= CHECKED_INLINE:
            tensor.raw_data = np.ascontiguousarray(stored(array)).tobytes()
            shell.graph.initializer.append(tensor)
        else:
            shell.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, array.shape))
    try:
        onnx.checker.check_model(shell, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"the model that was made is no valid ONNX: {error}") from error

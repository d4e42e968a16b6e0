"""Writing `.mlpackage` folders: model description, program, weights, and the package around them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from converters.convert import Options
from converters.errors import ConversionError, UnsupportedOp
from converters.graph import Graph, Node, Value
from converters.layouts.neural_engine import for_neural_engine
from converters.lower import legalize
from converters.metadata import KEY, describe
from converters.precision import with_precision
from converters.sizes import is_static, names_in, sizes_in, substitute
from converters.storage import replacing_folder
from converters.targets.coreml.blob import BlobFile
from converters.targets.coreml.overflow import refuse_overflow
from converters.targets.coreml.pictures import describe_picture
from converters.targets.coreml.ranks import folded
from converters.targets.coreml.rules import RULES
from converters.targets.coreml.runtime_types import in_runtime_types
from converters.targets.coreml.schema import feature_schema, mil_schema, model_schema
from converters.targets.coreml.spelling import spelled
from converters.targets.coreml.states import with_half_states
from converters.targets.coreml.writer import Ref, Writer, identifiers

VERSIONS = {15: (6, "CoreML5"), 16: (7, "CoreML6"), 17: (8, "CoreML7"), 18: (9, "CoreML8")}
SHAPES_MAX = 128  # that Core ML takes for an input
OPEN_END = 4096  # the upper bound of a dimension that was captured without one: Core ML wants a bound


def write(graphs: Mapping[str, Graph], path: Path, options: Options) -> Path:
    """Write one function, or several that share their weights, as a package."""
    if options.minimum_ios not in VERSIONS:
        raise ConversionError(f"minimum_ios={options.minimum_ios} is not supported", hint="use 15 to 18")
    if len(graphs) > 1 and options.minimum_ios < 18:
        raise ConversionError("several functions in one package came with iOS 18", hint="minimum_ios=18")
    graphs = {name: _without_empty(graph) for name, graph in graphs.items()}
    precision = options.precision or "float16"
    blob = BlobFile(shared=len(graphs) > 1 or options.layout is not None)
    functions = {name: _Function(graph, precision, options, blob) for name, graph in graphs.items()}
    labels = None if options.labels is None else list(options.labels)
    metadata = describe(graphs, labels, options.metadata, [array for _, array in blob.arrays])
    public = {name: text for function in functions.values() for name, text in function.public.items()}
    metadata |= {"precision": precision, "names": public}
    if options.quantization is not None:
        metadata["quantize"] = options.quantization.to_json()
    model = model_schema().Model(specificationVersion=VERSIONS[options.minimum_ios][0])
    model.mlProgram.version = 1
    if len(functions) == 1:
        (function,) = functions.values()
        model.mlProgram.functions["main"].CopyFrom(function.proto)
        function.describe(model.description)
    else:
        for name, text in identifiers(functions).items():
            model.mlProgram.functions[text].CopyFrom(functions[name].proto)
            functions[name].describe(model.description.functions.add(name=text))
        model.description.defaultFunctionName = model.description.functions[0].name
    given = options.metadata or {}
    _add_metadata(model.description.metadata, metadata, given)
    texts: dict[str, str] = dict(given.get("descriptions", {}))
    _add_descriptions(model.description, {public.get(name, name): text for name, text in texts.items()})
    with replacing_folder(path, overwrite=options.overwrite) as folder:
        write_package(folder, model, blob)
    return path


def write_package(folder: Path, model: Any, blob: BlobFile) -> None:
    """Apple's folder layout."""
    data = folder / "Data" / "com.apple.CoreML"
    (data / "weights").mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(model.SerializeToString())
    blob.write(data / "weights" / "weight.bin")
    entries = {
        str(uuid.uuid4()): {
            "author": "com.apple.CoreML",
            "description": f"CoreML Model {what}",
            "name": name,
            "path": f"com.apple.CoreML/{name}",
        }
        for what, name in (("Specification", "model.mlmodel"), ("Weights", "weights"))
    }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": next(iter(entries)),
    }
    (folder / "Manifest.json").write_text(json.dumps(manifest, indent=4))


def _add_descriptions(proto: Any, texts: Mapping[str, str]) -> None:
    """What each input, output and state is, as Xcode shows it.

    Raises:
        ConversionError: a description of what is not there.
    """
    parts = list(proto.functions) or [proto]
    features = [one for part in parts for one in (*part.input, *part.output, *part.state)]
    missing = sorted(set(texts) - {feature.name for feature in features})
    if missing:
        raise ConversionError(f"there is no {', '.join(missing)} to describe")
    for feature in features:
        feature.shortDescription = texts.get(feature.name, "")


def _add_metadata(proto: Any, metadata: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name, text in given.get("user_defined", {}).items():
        proto.userDefined[name] = str(text)
    proto.userDefined[KEY] = json.dumps(metadata)
    proto.shortDescription = str(given.get("description", ""))
    proto.versionString = str(given.get("version", ""))
    proto.author = str(given.get("author", ""))
    proto.license = str(given.get("licence", ""))


def _refuse_empty(graph: Graph) -> None:
    for node in graph.nodes:
        if any(is_static(value.shape) and 0 in value.shape for value in (*node.inputs, *node.outputs)):
            raise UnsupportedOp(f"Core ML has no empty arrays, and {node.op} takes or gives one")


def _without_empty(graph: Graph) -> Graph:
    """Dimensions that may be 0 begin at 1 where an array would be empty, which Core ML has not: `past` where
    it is a size of its own, not where only `past + length` is."""
    lowest = {name: dim.sizes[0] if dim.sizes else dim.low for name, dim in graph.dims.items()}
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    dims = dict(graph.dims)
    for name, dim in dims.items():
        smallest = {other: low if other == name else max(low, 1) for other, low in lowest.items()}
        if lowest[name] == 0 and any(0 in substitute(value.shape, smallest) for value in values):
            dims[name] = replace(dim, low=1)
    return graph.replace(dims=dims)


def _allowed_sizes(graph: Graph, ios: int) -> list[dict[str, int]]:
    """Every combination of the dimensions that are enumerated; one empty one where Core ML cannot list them.

    From iOS 18 on, inputs with listed shapes have as many of them, which belong together by their place in
    the list; before, one input may have such a list. 128 shapes are the most.
    """
    listed = {name: dim.sizes for name, dim in graph.dims.items() if dim.sizes is not None}
    combined = [dict(zip(listed, sizes, strict=True)) for sizes in product(*listed.values())]
    inputs = [value for value in graph.inputs if names_in(value.shape) & listed.keys()]
    free = len(inputs) == 1 and names_in(inputs[0].shape) >= listed.keys()
    fits = 1 < len(combined) <= SHAPES_MAX and (ios >= 18 or free)
    return combined if fits else [{}]


class _Function:
    """One function as protobuf, with what its description needs."""

    def __init__(self, graph: Graph, precision: str, options: Options, blob: BlobFile):
        ios = options.minimum_ios

        def refusal(node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
            rule = RULES.get(node.op)
            if rule is None:
                return "no such op in Core ML"
            return rule.why_not(ios, node, constants)

        refuse_overflow(graph)
        graph = with_half_states(with_precision(graph, precision), ios)
        graph = for_neural_engine(graph) if options.layout else graph
        self.graph = in_runtime_types(folded(legalize(spelled(graph), refusal)), ios)
        _refuse_empty(self.graph)
        self.allowed = _allowed_sizes(self.graph, ios)
        self.kept = dict(self.graph.states)  # state to the output that it becomes
        self.public = identifiers([*(v.name for v in graph.inputs), *graph.outputs])
        self.writer = Writer(self.graph, ios, blob, self.public)
        self.labels = None if options.labels is None else [str(label) for label in options.labels]
        self._read_states()
        for node in self.graph.nodes:
            RULES[node.op].emit(self.writer, node)
        self._connect_outputs()
        self._update_states()
        outputs = [self.public[name] for name in self.given]
        if self.labels is not None:
            outputs = [*self._classify(self.labels), *outputs]
        self.proto = self._function(outputs, VERSIONS[ios][1])

    @property
    def given(self) -> dict[str, Value]:
        """The outputs that callers get."""
        kept = set(self.kept.values())
        return {name: value for name, value in self.graph.outputs.items() if name not in kept}

    def _read_states(self) -> None:
        """From here on a state's name stands for what is in it at the beginning."""
        w = self.writer
        for value in self.graph.inputs:
            if value.name in self.kept:
                source = w.names[value]
                w.names[value] = w.op(
                    "read_state", value.shape, value.dtype, name=f"{source}_read", input=source
                )

    def _update_states(self) -> None:
        w = self.writer
        for source, result in self.kept.items():
            value, held = self.graph.outputs[result], Ref(self.public[source])
            if value in self.graph.inputs and value.name == source:
                continue  # it stays as it is
            w.act("write_state", w.unique(f"{held}_write"), input=held, data=w.ref(value))

    def _connect_outputs(self) -> None:
        """Outputs that are inputs, constants or another output as well get an operation of their own."""
        for name, value in self.given.items():
            if self.writer.names[value] != self.public[name]:
                output = [(self.public[name], value.shape, value.dtype)]
                self.writer._operation("identity", {"x": self.writer.ref(value)}, output)

    def _classify(self, labels: list[str]) -> list[str]:
        """Probabilities of the one output that has an entry per label, and the label of the largest."""
        given = {n: v for n, v in self.given.items() if n not in self.graph.images}
        fitting = [name for name, value in given.items() if value.shape[-1:] == (len(labels),)]
        if len(fitting) != 1:
            raise ConversionError(
                f"{len(labels)} labels fit {len(fitting)} of the outputs {', '.join(self.graph.outputs)}",
                hint="a classifier has one output with an entry per label",
            )
        value, w = self.graph.outputs[fitting[0]], self.writer
        scores = Ref(self.public[fitting[0]])
        probabilities = w.op("softmax", value.shape, value.dtype, name="probabilities", x=scores, axis=-1)
        if value.dtype != "float32":
            probabilities = w.op("cast", value.shape, "float32", x=probabilities, dtype="fp32")
        taken = [w.unique("classLabel"), w.unique("classLabel_probs")]
        operation = w.mil.Operation(type="classify")
        operation.inputs["probabilities"].arguments.add(name=probabilities)
        operation.inputs["classes"].arguments.add(value=self._label_list(labels))
        text = w.tensor_type((), "string")
        operation.outputs.add(name=taken[0], type=text)
        table = operation.outputs.add(name=taken[1]).type.dictionaryType
        table.keyType.CopyFrom(text)
        table.valueType.tensorType.dataType = w.mil.DataType.FLOAT64
        operation.attributes["name"].CopyFrom(w.immediate(np.array("classify")))
        w.operations.append(operation)
        return taken

    def _label_list(self, labels: list[str]) -> Any:
        value = mil_schema().Value()
        value.type.listType.type.CopyFrom(self.writer.tensor_type((), "string"))
        value.type.listType.length.constant.size = len(labels)
        value.immediateValue.list.values.extend(self.writer.immediate(np.array(label)) for label in labels)
        return value

    def _function(self, outputs: list[str], opset: str) -> Any:
        function = mil_schema().Function(opset=opset)
        for value in self.graph.inputs:
            kind = self.writer.tensor_type(value.shape, value.dtype)
            if value.name in self.kept:
                held = mil_schema().ValueType()
                held.stateType.wrappedType.CopyFrom(kind)
                kind = held
            function.inputs.add(name=self.public[value.name], type=kind)
        block = function.block_specializations[opset]
        block.operations.extend(self.writer.operations)
        block.outputs.extend(outputs)
        return function

    def describe(self, description: Any) -> None:
        """Inputs and outputs as Xcode and Core ML's callers see them."""
        for value in self.graph.inputs:
            if value.name in self.kept:
                feature = description.state.add(name=self.public[value.name])
                self._array(feature.type.stateType.arrayType, value, with_range=False)
                continue
            feature = description.input.add(name=self.public[value.name])
            spec = self.graph.images.get(value.name)
            if spec is None:
                self._array(feature.type.multiArrayType, value, with_range=True)
            else:
                describe_picture(feature.type.imageType, spec)
        if self.labels is not None:
            block = next(iter(self.proto.block_specializations.values()))
            label, probabilities = block.outputs[:2]
            description.output.add(name=label).type.stringType.SetInParent()
            description.output.add(name=probabilities).type.dictionaryType.stringKeyType.SetInParent()
            description.predictedFeatureName = label
            description.predictedProbabilitiesName = probabilities
        for name, value in self.given.items():
            feature = description.output.add(name=self.public[name])
            if name in self.graph.images:
                describe_picture(feature.type.imageType, self.graph.images[name])
            else:
                self._array(feature.type.multiArrayType, value, with_range=False)

    def _array(self, proto: Any, value: Value, with_range: bool) -> None:
        kinds = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32"}
        proto.dataType = feature_schema().ArrayFeatureType.ArrayDataType.Value(kinds[value.dtype])
        if is_static(value.shape):
            proto.shape.extend(value.shape)
            return
        if not with_range:
            return
        dims = self.graph.dims
        names = sorted({name for size in sizes_in(value.shape) for name in size.names()})
        low = {name: dims[name].low for name in names}
        high = {
            name: dims[name].high or OPEN_END // dims[name].multiple * dims[name].multiple for name in names
        }
        proto.shape.extend(substitute(value.shape, low))
        if names_in(value.shape) <= self.allowed[0].keys():
            for sizes in self.allowed:
                proto.enumeratedShapes.shapes.add(shape=substitute(value.shape, sizes))
            return
        bounds = zip(substitute(value.shape, low), substitute(value.shape, high), strict=True)
        for lower, upper in bounds:
            proto.shapeRange.sizeRanges.add(lowerBound=min(lower, upper), upperBound=max(lower, upper))

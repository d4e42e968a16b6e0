"""Writing `.aimodel` folders: one program with all functions, weights inside, metadata beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.convert import Options
from converters.graph import Builder, Graph, Node, Value
from converters.lower import legalize
from converters.metadata import KEY, Signature, describe
from converters.precision import with_precision
from converters.storage import replacing_folder
from converters.targets.coreai import beta
from converters.targets.coreai.empties import above_empty
from converters.targets.coreai.rules import RULES
from converters.targets.coreai.states import buffers_of
from converters.targets.coreai.writer import Writer


def write(graphs: Mapping[str, Graph], path: Path, options: Options) -> Path:
    """Write one function, or several that share their weights."""
    program, metadata = build(graphs, options)
    given = options.metadata or {}
    shown = {"author": "author", "licence": "license", "description": "model_description"}
    texts = {theirs: str(given.get(ours, "")) for ours, theirs in shown.items()}
    custom = {name: str(text) for name, text in given.get("user_defined", {}).items()}
    with replacing_folder(path, overwrite=options.overwrite) as folder:
        program.save(folder, texts, {**custom, KEY: json.dumps(metadata)})
    return path


def build(graphs: Mapping[str, Graph], options: Options) -> tuple[beta.Program, dict[str, Any]]:
    """The program in memory, and its metadata."""
    beta.require()
    lowered = {name: _lowered(graph, options) for name, graph in graphs.items()}
    program = beta.Program()
    with program.open():
        for name, graph in lowered.items():
            _add_function(program, name, graph)
    labels = None if options.labels is None else list(options.labels)
    weights = {id(array): array for graph in lowered.values() for array in graph.constants.values()}
    metadata = describe(lowered, labels, options.metadata, weights.values())
    if options.precision is not None:
        metadata["precision"] = options.precision
    if options.quantization is not None:
        metadata["quantize"] = options.quantization.to_json()
    return program, metadata


def _add_function(program: beta.Program, name: str, graph: Graph) -> None:
    """States of fixed sizes are buffers of the caller that the function changes; others go in and out."""
    inputs = {v.name: (v.dtype, _sizes(v)) for v in graph.inputs}
    buffers = buffers_of(Signature.of(graph))
    with program.function(name, inputs, buffers) as function:
        writer = Writer(graph, function)
        for node in graph.nodes:
            writer.add(node, RULES[node.op].emit)
        outputs = {output: writer.ref(value) for output, value in graph.outputs.items()}
        written = {state: outputs.pop(result) for state, result in buffers.items()}
        function.give(outputs, written)


def _sizes(value: Value) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in value.shape]


def _lowered(graph: Graph, options: Options) -> Graph:
    """The graph in ops that have a rule, bfloat16 at its edges as float32."""

    def refusal(node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
        rule = RULES.get(node.op)
        return "no such op in Core AI" if rule is None else rule.why_not(node, constants)

    if options.precision is not None:
        graph = with_precision(graph, options.precision)
    return above_empty(legalize(_with_plain_edges(graph), refusal))


def _with_plain_edges(graph: Graph) -> Graph:
    """Inputs and outputs of bfloat16, which callers do not have, as float32."""
    b = Builder()
    values: dict[Value, Value] = {}
    inputs = []
    for old in graph.inputs:
        new = Value(old.name, old.shape, "float32") if old.dtype == "bfloat16" else old
        inputs.append(new)
        if new is not old:
            values[old] = b("AsType", new, dtype="bfloat16")
    for node in graph.nodes:
        operands = tuple(values.get(value, value) for value in node.inputs)
        b.nodes.append(Node(node.op, operands, node.outputs, node.attrs))
    outputs = {}
    for name, old in graph.outputs.items():
        value = values.get(old, old)
        outputs[name] = b("AsType", value, dtype="float32") if value.dtype == "bfloat16" else value
    return graph.replace(inputs=tuple(inputs), outputs=outputs, nodes=tuple(b.nodes))

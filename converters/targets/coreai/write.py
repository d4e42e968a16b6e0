"""Writing `.aimodel` folders: one program with all functions, weights inside, metadata beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from converters import disk
from converters.convert import Options
from converters.graph import Builder, Graph, Node, Value
from converters.layouts.neural_engine import for_neural_engine
from converters.lower import legalize
from converters.metadata import KEY, Signature, describe
from converters.passes.empties import make_constant
from converters.pattern import rewrite, without_dead
from converters.precision import with_precision
from converters.storage import replacing_folder
from converters.targets.coreai import beta
from converters.targets.coreai.composites import COMPOSITES, Composite
from converters.targets.coreai.empties import above_empty
from converters.targets.coreai.profile import SPELLED, refuse_elsewhere
from converters.targets.coreai.rules import RULES
from converters.targets.coreai.states import buffers_of
from converters.targets.coreai.writer import Writer


def write(graphs: Mapping[str, Graph], path: Path, options: Options) -> Path:
    """Write one function, or several that share their weights."""
    given = options.metadata or {}
    shown = {"author": "author", "licence": "license", "description": "model_description"}
    texts = {theirs: str(given.get(ours, "")) for ours, theirs in shown.items()}
    custom = {name: str(text) for name, text in given.get("user_defined", {}).items()}
    lowered, program = build(graphs, options)
    with replacing_folder(path, overwrite=options.overwrite) as folder:
        program.save(folder)
        with ThreadPoolExecutor(2) as beside:  # neither waits for Python
            tasks = [beside.submit(disk.sync, folder / beta.PROGRAM), beside.submit(beta.seal, folder)]
            metadata = _metadata(lowered, program, options)
        for task in tasks:
            task.result()
        beta.describe(folder, texts, {**custom, KEY: json.dumps(metadata)})
    return path


def build(graphs: Mapping[str, Graph], options: Options) -> tuple[dict[str, Graph], beta.Program]:
    """The functions in the ops of this target, and the program in memory."""
    beta.require()
    lowered = {name: _lowered(graph, options) for name, graph in graphs.items()}
    program = beta.Program()
    with program.open():
        for name, graph in lowered.items():
            _add_function(program, name, graph, options)
    return lowered, program


def _metadata(lowered: Mapping[str, Graph], program: beta.Program, options: Options) -> dict[str, Any]:
    labels = None if options.labels is None else list(options.labels)
    weights = {id(array): array for graph in lowered.values() for array in graph.constants.values()}
    metadata = describe(lowered, labels, options.metadata, program.in_order(weights.values()))
    precision = _precision(options)
    if precision is not None:
        metadata["precision"] = precision
    if options.layout is not None:
        metadata["layout"] = options.layout
    if options.quantization is not None:
        metadata["quantize"] = options.quantization.to_json()
    return metadata


def _add_function(program: beta.Program, name: str, graph: Graph, options: Options) -> None:
    """States of fixed sizes are buffers of the caller that the function changes; others go in and out, and on
    the Neural Engine all do."""
    inputs = {v.name: (v.dtype, _sizes(v)) for v in graph.inputs}
    buffers = buffers_of(Signature.of(graph), options.layout)
    with program.function(name, inputs, buffers) as function:
        writer = Writer(graph, function)
        for node in graph.nodes:
            composite = COMPOSITES.get(node.op)
            call = RULES[node.op].emit if composite is None else partial(_call, program, composite)
            writer.add(node, call)
        outputs = {output: writer.ref(value) for output, value in graph.outputs.items()}
        written = {state: outputs.pop(result) for state, result in buffers.items()}
        function.give(outputs, written)


def _call(program: beta.Program, composite: Composite, writer: Writer, node: Node) -> None:
    body = legalize(composite.body(node), _refusal).replace(dims=writer.graph.dims)

    def fill(function: beta.Function) -> None:
        inner = Writer(body, function)
        for step in body.nodes:
            inner.add(step, RULES[step.op].emit)
        function.give({name: inner.ref(value) for name, value in body.outputs.items()})

    operands = {v.name: writer.ref(value) for v, value in zip(body.inputs, node.inputs, strict=True)}
    writer.give(node.output, program.composite(composite.declaration(node), operands, fill))


def _sizes(value: Value) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in value.shape]


def _refusal(node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
    rule = RULES.get(node.op)
    return "no such op in Core AI" if rule is None else rule.why_not(node, constants)


def _refusal_beside_composites(node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
    composite = COMPOSITES.get(node.op)
    return _refusal(node, constants) if composite is None else composite.why_not(node)


def _precision(options: Options) -> str | None:
    """As captured, but for the Neural Engine, which computes in float16."""
    return options.precision or ("float16" if options.layout else None)


def _lowered(graph: Graph, options: Options) -> Graph:
    """The graph in ops that have a rule and in composites, bfloat16 at its edges as float32."""
    precision = _precision(options)
    if precision is not None:
        graph = with_precision(graph, precision)
    graph = _with_plain_edges(for_neural_engine(graph) if options.layout else graph)
    if options.layout:
        refuse_elsewhere(legalize(graph, _refusal))
        graph = rewrite(graph, SPELLED)
    # where sizes are free, what composites hide counts too
    dims = above_empty(legalize(graph, _refusal)).dims if graph.dims else graph.dims
    return _without_empties(legalize(graph, _refusal_beside_composites)).replace(dims=dims)


def _without_empties(graph: Graph) -> Graph:
    """What expansions compute of arrays without elements, as constants: few operations take such."""
    if all(0 not in value.shape for node in graph.nodes for value in node.inputs):
        return graph
    known = make_constant(graph)
    return without_dead(known, known.nodes, dict(known.constants), known.outputs)


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

"""A captioner whose encoder computes all that is the same for every word.

The clients of Hugging Face's layout hand the decoder `encoder_hidden_states` at each word, and it makes the
keys and values of the picture from them again and again. An app of our own can do that once: the operations
that depend on nothing else move from the decoder's file to the encoder's, and what is made there goes from
one to the other under its name in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

STATES = "encoder_hidden_states"
KEPT = ("logits", "present.")  # outputs of the decoder; an app does not ask for others


def once_per_picture(encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> bool:
    """Change both graphs in place; False, and nothing is changed, where the decoder is of another kind.

    What is handed over has the batch as its first axis, so that a beam search can repeat it.
    """
    import onnx

    graph = decoder.graph
    if STATES not in {value.name for value in graph.input} or any(_has_bodies(node) for node in graph.node):
        return False
    outputs = [value for value in graph.output if value.name.startswith(KEPT)]
    nodes = _live(graph.node, (value.name for value in outputs))
    moved = _moved(graph, nodes)
    made = {name for node in moved for name in node.output}
    rest = [node for node in nodes if not set(node.output) & made]
    wanted = {name for node in rest for name in node.input}
    handed = sorted((made | {STATES}) & wanted)
    shapes = {value.name: value for value in onnx.shape_inference.infer_shapes(decoder).graph.value_info}
    batched = [name for name in handed if name == STATES or _is_batched(shapes.get(name))]
    if not moved or batched != handed or len(encoder.graph.output) != 1:
        return False
    if (STATES in handed) or made & {value.name for value in outputs}:
        return False
    moved = _live(moved, handed)
    _append(encoder.graph, moved, graph.initializer, handed, [shapes[name] for name in handed])
    inputs = [value for value in graph.input if value.name != STATES]
    used = {name for node in rest for name in node.input}
    _set(graph.node, rest)
    _set(graph.input, inputs + [shapes[name] for name in handed])
    _set(graph.output, outputs)
    _set(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    return True


def _has_bodies(node: onnx.NodeProto) -> bool:
    """Whether names of the graph may be used inside of it."""
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _live(nodes: Iterable[onnx.NodeProto], wanted: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that `wanted` depends on."""
    needed, kept = set(wanted), []
    for node in reversed(list(nodes)):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _moved(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that depend on the picture and on nothing else."""
    constant = {tensor.name for tensor in graph.initializer} | {""}
    seen, moved = {STATES}, []
    for node in nodes:
        if "Random" in node.op_type or not node.input:
            continue
        if set(node.input) & seen and set(node.input) <= seen | constant:
            seen |= set(node.output)
            moved.append(node)
    return moved


def _is_batched(value: onnx.ValueInfoProto | None) -> bool:
    """Whether the first axis of a tensor is the batch."""
    axes = value.type.tensor_type.shape.dim if value else []
    return len(axes) > 0 and axes[0].dim_param == "batch_size"


def _append(
    graph: onnx.GraphProto,
    nodes: Iterable[onnx.NodeProto],
    tensors: Iterable[onnx.TensorProto],
    handed: Iterable[str],
    outputs: list[onnx.ValueInfoProto],
) -> None:
    """Let the encoder go on with the nodes; their other names cannot be those of its own."""
    names = {name: name for name in handed} | {STATES: graph.output[0].name, "": ""}
    used = set()
    for node in nodes:
        used |= set(node.input)
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = f"decoder.{node.name}"
        _set(copy.input, [names.get(name, f"decoder.{name}") for name in node.input])
        _set(copy.output, [names.get(name, f"decoder.{name}") for name in node.output])
    for tensor in tensors:
        if tensor.name in used:
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = f"decoder.{tensor.name}"
    _set(graph.output, outputs)


def _set(field, values) -> None:
    """Replace a repeated field, also by some of its own values."""
    kept = [value if isinstance(value, str) else _copy(value) for value in values]
    del field[:]
    field.extend(kept)


def _copy(value):
    copy = type(value)()
    copy.CopyFrom(value)
    return copy


__all__ = ["once_per_picture"]

"""Attention and rotary positions, single ops since opset 23."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from converters.graph import Node, Value
from converters.sizes import AnySize, Shape
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import Writer


def _refuse_attention(opset: int, node: Node) -> str | None:
    if opset < 23:
        return "Attention came with opset 23"
    if node.attrs["sinks"]:
        return "attention sinks"
    if node.attrs["causal"] and node.inputs[0].shape[-2] != node.inputs[1].shape[-2]:
        return "causal from the end of the keys"
    return None


def _attention(w: Writer, node: Node) -> None:
    q, k, v, *masks = node.inputs
    if w.runtime == "onnxruntime" and _is_plain(node):
        _multi_head(w, node)
    else:
        names = [*map(w.name, (q, k, v)), *_biases(w, q, k, masks)]
        w.give("Attention", names, [w.name(node.output)], **_attributes(node))


def _is_plain(node: Node) -> bool:
    """Whether onnxruntime's own op is the faster one: it never holds all scores at once, but knows neither
    masks nor groups that way."""
    heads = node.attrs["heads"]
    same = len(heads) == 2 and heads[0] == heads[1] and len(node.inputs) == 3
    return same and not node.attrs["causal"] and node.output.dtype == "float32"


def _multi_head(w: Writer, node: Node) -> None:
    names = [w.name(value) for value in node.inputs]
    w.give(
        "MultiHeadAttention",
        names,
        [w.name(node.output)],
        domain="com.microsoft",
        num_heads=node.attrs["heads"][0],
        scale=float(node.attrs["scale"]),
    )


def _cached(w: Writer, node: Node) -> None:
    q, _, _, keys, values, *masks = node.inputs
    outputs, past = [w.name(value) for value in node.outputs], [w.name(keys), w.name(values)]
    bias = _biases(w, q, node.outputs[1], masks)
    if not w.shares_caches(node):
        names = [w.name(value) for value in node.inputs[:3]]
        w.give("Attention", [*names, *(bias or [""]), *past], outputs, **_attributes(node))
        return
    batch, length = q.shape[0], q.shape[1]
    grouped, options = _grouped(w, node, bias)
    if 1 in (batch, length):
        w.give("GroupQueryAttention", grouped, outputs, domain="com.microsoft", **options)
        return
    many = w.once(("many", batch, length), lambda: _is_refused(w, batch, length, node.outputs[1].shape[2]))

    def in_place() -> list[str]:
        return w.node("GroupQueryAttention", *grouped, outputs=3, domain="com.microsoft", **options)

    def copied() -> list[str]:
        names = _apart(w, node)
        return w.node("Attention", *names, *(bias or [""]), *past, outputs=3, **_attributes(node))

    then, other = (w.subgraph(emit.__name__, emit, node.outputs) for emit in (copied, in_place))
    w.give("If", [many], outputs, then_branch=then, else_branch=other)


def _grouped(w: Writer, node: Node, bias: list[str]) -> tuple[list[str], dict[str, Any]]:
    """What GroupQueryAttention reads, and its attributes."""
    given, (heads, groups) = w.read[node], node.attrs["heads"]
    names = [w.name(value) for value in given.values]
    options = {"num_heads": heads, "kv_num_heads": groups, "scale": float(node.attrs["scale"])}
    tables = ["", ""]
    if given.tables is not None:
        tables = [w.constant(table, name="rotations") for table in given.tables]
        options["do_rotary"] = 1
    lengths = _lengths(w, node.inputs[0].shape[0], node.outputs[1].shape[2])
    operands = [*names, *[""] * (3 - len(names)), *map(w.name, node.inputs[3:5]), *lengths]
    if bias:
        operands += [*tables, "", *bias]
    elif given.tables is not None:
        operands += tables
    return operands, options


def _apart(w: Writer, node: Node) -> list[str]:
    """Queries, keys and values split and rotated, inside a branch."""
    given, shapes = w.read[node], [value.shape for value in node.inputs[:3]]
    names = [w.name(value) for value in given.values]
    if len(names) == 1:
        sizes = w.int64([int(shape[2]) for shape in shapes])  # type: ignore[arg-type]
        names = w.node("Split", names[0], sizes, outputs=3, axis=2)
    if given.tables is None:
        return names
    whole, length = w.size(node.outputs[1].shape[2]), w.size(shapes[0][1])
    rows = [w.node("Sub", whole, length, name="past"), whole, w.int64([0])]
    texts = w.node("Shape", names[0], end=2)
    shape = w.node("Concat", texts, w.int64([given.tables[0].shape[1]]), axis=0)
    tables = [w.node("Slice", w.constant(table, name="rotations"), *rows) for table in given.tables]
    tables = [w.node("Expand", table, shape) for table in tables]
    for index, heads in enumerate(node.attrs["heads"]):
        names[index] = w.node("RotaryEmbedding", names[index], *tables, num_heads=heads)
    return names


def _lengths(w: Writer, batch: AnySize, whole: AnySize) -> list[str]:
    """The last position of each text, and the number of all tokens, as GroupQueryAttention takes them."""
    total = w.once(
        ("total", whole), lambda: w.node("Cast", w.size(whole), to=TensorProto.INT32, name="total")
    )
    last = w.once(("last", whole), lambda: w.node("Sub", total, w.constant(np.array([1], np.int32))))
    lasts = w.once(("lasts", batch, whole), lambda: w.node("Expand", last, w.shape((batch,)), name="lasts"))
    return [lasts, w.once(("scalar", whole), lambda: w.node("Squeeze", total, name="total"))]


def _is_refused(w: Writer, batch: AnySize, length: AnySize, whole: AnySize) -> str:
    """Whether several tokens come after others in several texts, all that GroupQueryAttention refuses."""
    past = w.node("Sub", w.size(whole), w.size(length), name="past")
    others = [w.node("Sub", w.size(size), w.int64([1])) for size in (batch, length)]
    product = w.node("Mul", past, w.node("Mul", *others))
    return w.node("Squeeze", w.node("Cast", product, to=TensorProto.BOOL), name="many")


def _biases(w: Writer, q: Value, keys: Value, masks: Sequence[Value]) -> list[str]:
    return [_whole(w, mask, q.dtype, (q.shape[-2], keys.shape[-2])) for mask in masks]


def _attributes(node: Node) -> dict[str, Any]:
    attrs: dict[str, Any] = {"scale": node.attrs["scale"]}
    if node.attrs["heads"]:
        attrs["q_num_heads"], attrs["kv_num_heads"] = node.attrs["heads"]
    if node.attrs["causal"]:
        attrs["is_causal"] = 1
    return attrs


def _refuse_cached(opset: int, node: Node) -> str | None:
    return None if opset >= 23 else "Attention came with opset 23"


HIDDEN = {
    "float16": -6e4
}  # so much that every score vanishes in it, not so much that runtimes treat it apart


def _whole(w: Writer, mask: Value, dtype: str, scores: Shape) -> str:
    """The mask, one number for each query and key: onnxruntime repeats it along batch and heads only."""
    name = _mask(w, mask, dtype)
    if mask.shape[-2:] == scores:
        return name
    shape = (*mask.shape[:-2], *scores)
    return w.once(("whole", name, shape), lambda: w.node("Expand", name, w.shape(shape), name="mask"))


def _mask(w: Writer, mask: Value, dtype: str) -> str:
    """An added mask: where a row hides all keys, runtimes give 0 or nan for bool ones, MLX gives the mean."""
    if mask.dtype != "bool":
        return w.name(mask)
    low, zero = w.constant(HIDDEN.get(dtype, -1e30), dtype), w.constant(0, dtype)
    return w.once(("mask", mask, dtype), lambda: w.node("Where", w.name(mask), zero, low, name="mask"))


def _refuse_rope(opset: int, node: Node) -> str | None:
    if opset < 23:
        return "RotaryEmbedding came with opset 23"
    x, cos = node.inputs[:2]
    if len(x.shape) != (3 if node.attrs["heads"] else 4):
        return "not rank 4"
    if (
        2 * node.inputs[1].shape[-1] != x.shape[-1]
        and not node.attrs["heads"]
        and not isinstance(x.shape[1], int)
    ):
        return "a part of each of an unknown number of heads"
    return None if _table_shape(cos.shape, x.shape, node.attrs["heads"]) else "a table that differs by head"


def _table_shape(table: Shape, x: Shape, heads: int) -> Shape | None:
    """(B, L, D/2) of cosines or sines, or None where one table is not for all heads."""
    batch, length = x[0], x[1 if heads else 2]
    wanted = (batch, length, table[-1])
    if len(table) == 4 and table[1] == 1:
        table = (table[0], *table[2:])
    if len(table) == 2:
        table = (1, *table)
    return wanted if len(table) == 3 and table[0] in (1, batch) and table[1:] == wanted[1:] else None


def _rope(w: Writer, node: Node) -> None:
    x, *tables = node.inputs
    heads, half = node.attrs["heads"], tables[0].shape[-1]
    operands = [w.name(x), *(_batched(w, table, x.shape, heads) for table in tables)]
    attrs: dict[str, Any] = {"interleaved": 1} if node.attrs["traditional"] else {}
    width = x.shape[-1] if not heads else x.shape[-1] // heads  # type: ignore[operator]
    if width != 2 * half:
        attrs["rotary_embedding_dim"] = 2 * half
    if heads or width != 2 * half:
        attrs["num_heads"] = heads or x.shape[1]
    w.give("RotaryEmbedding", operands, [w.name(node.output)], **attrs)


def _batched(w: Writer, table: Value, x: Shape, heads: int) -> str:
    """The table as (B, L, D/2), made once for all layers."""
    shape = _table_shape(table.shape, x, heads)
    assert shape is not None
    return w.once(("table", table, shape), lambda: _expanded(w, table, shape))


def _expanded(w: Writer, table: Value, shape: Shape) -> str:
    name, rank = w.name(table), len(table.shape)
    if rank == 4:
        name = w.node("Squeeze", name, w.int64([1]), name="table")
    one = table.shape[0] if rank != 2 else 1
    return name if rank != 2 and one == shape[0] else w.node("Expand", name, w.shape(shape), name="table")


RULES = {
    "ScaledDotProductAttention": Lowering(_attention, _refuse_attention),
    "CachedAttention": Lowering(_cached, _refuse_cached),
    "RoPE": Lowering(_rope, _refuse_rope),
}

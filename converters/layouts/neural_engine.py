"""Transformers as the Neural Engine likes them: arrays of (B, C, 1, S), convolutions, attention by head.

    y = Linear(x of (B, S, C), w)       ->   y = Convolution(x of (B, C, 1, S), w of (O, C, 1, 1))
    y = Attention(q, k, v, H heads)     ->   w = Softmax(ChannelMatmul(k_h, q_h), axis=1) of (B, S, 1, L)
                                             y = Concatenate(ChannelMatmul(v_h, w) for each head h)

From Apple's "Deploying Transformers on the Apple Neural Engine" (2022). Linear layers, norms and attention
bring an array into this layout; what follows stays in it as long as it can, and what cannot gets its array
back as it was. Letters: B batch, H heads, K heads of keys and values, L queries, S keys, D width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.errors import ConversionError
from converters.graph import Builder, Graph, Node, Value
from converters.layouts.forms import CHANNELS, HEADS, TOKENS, Form, default_form
from converters.ops.activation import ACTIVATIONS
from converters.ops.attention import added_mask, causal_mask
from converters.ops.definition import scalar
from converters.ops.elementwise import ELEMENTWISE
from converters.ops.normalization import standardized
from converters.ops.shape import inverse_permutation
from converters.passes.caches import APART
from converters.pattern import rewrite
from converters.sizes import AnySize, Shape, divide

NAME = "ScaledDotProductAttention"
POINTWISE: dict[str, Any] = {
    "strides": (1, 1),
    "low": (0, 0),
    "high": (0, 0),
    "dilation": (1, 1),
    "input_dilation": (1, 1),
}
POINTWISE |= {"groups": 1, "flip": False, "channels_first": True}


def for_neural_engine(graph: Graph) -> Graph:
    """The graph in this layout, as far as it goes.

    Raises:
        ConversionError: there is nothing to lay out.
    """
    graph = rewrite(graph, APART)
    b = _Layout(graph)
    for node in graph.nodes:
        b.add(node)
    if not any(node.op in ("Convolution", "ChannelMatmul") for node in b.laid):
        raise ConversionError(
            'layout="neural-engine" is for linear layers and attention, and there are none here',
            hint="leave layout= out",
        )
    outputs = {name: b.plain(value) for name, value in graph.outputs.items()}
    return graph.replace(nodes=tuple(b.nodes), constants=b.constants, outputs=outputs)


class _Layout(Builder):
    """Values of the old graph as they are now: plain, laid out, or both."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph, self.constants = graph, dict(graph.constants)
        self.now: dict[Value, Value] = {value: value for value in (*graph.inputs, *graph.constants)}
        self.held: dict[Value, tuple[Value, Form]] = {}
        self.converted: dict[tuple[Value, Form], Value] = {}
        self.laid: list[Node] = []
        self.causal: dict[Any, Value] = {}

    def add(self, node: Node) -> None:
        """One node, in either layout."""
        rule = RULES.get(node.op)
        if rule is not None and (
            node.op in ANCHORS or any(v in self.held or _is_turned(v, node) for v in node.inputs)
        ):
            before = len(self.nodes)
            results = rule(self, node)
            if results is not None:
                self.held.update(zip(node.outputs, results, strict=True))
                self.laid += self.nodes[before:]
                return
        outputs = self.outputs(node.op, *(self.plain(value) for value in node.inputs), **node.attrs)
        self.now.update(zip(node.outputs, outputs, strict=True))

    def plain(self, old: Value) -> Value:
        """The value in its own shape."""
        if old not in self.now:
            value, form = self.held[old]
            apart = self.reshaped(value, tuple(old.shape[axis] for axis in form.order))
            self.now[old] = self.transposed(apart, inverse_permutation(form.order))
        return self.now[old]

    def channels(self, old: Value, form: Form) -> Value:
        """The value as (B, C, 1, S)."""
        if old in self.held:
            value, present = self.held[old]
            if present.bare(old.shape) == form.bare(old.shape):
                return value
        if (old, form) not in self.converted:
            turned = self.transposed(self.plain(old), form.order)
            self.converted[old, form] = self.reshaped(turned, form.shape(old.shape))
        return self.converted[old, form]

    def form(self, old: Value) -> Form | None:
        """How the value is laid out, if it is."""
        return self.held[old][1] if old in self.held else None

    def reshaped(self, x: Value, shape: Shape) -> Value:
        """Nothing where the shape is the same."""
        return x if x.shape == shape else self("Reshape", x, shape=shape)

    def transposed(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Nothing where no axis moves."""
        return x if axes == tuple(range(len(axes))) else self("Transpose", x, axes=axes)


Result = list[tuple[Value, Form]] | None
Rule = Callable[[_Layout, Node], Result]


def _is_turned(value: Value, node: Node) -> bool:
    """Whether a picture's channels are about to come last: then it is laid out already."""
    return node.op == "Transpose" and node.attrs["axes"] == (0, *range(2, len(value.shape)), 1)


def _by_last_axis(b: _Layout, x: Value) -> Form | None:
    """The form that has the last axis of x as its channels."""
    form = b.form(x)
    if form is not None and form.bare(x.shape)[1] in ((len(x.shape) - 1,), ()):
        return form
    return default_form(len(x.shape)) if len(x.shape) > 1 else None


def _linear(b: _Layout, node: Node) -> Result:
    x, weight, *bias = node.inputs
    form, wide = _by_last_axis(b, x), _pointwise_weight(b, weight)
    if form is None or wide is None or any(value not in b.constants for value in bias):
        return None
    return [(b("Convolution", b.channels(x, form), wide, *bias, **POINTWISE), form)]


def _pointwise_weight(b: _Layout, weight: Value) -> Value | None:
    """(O, C) as (O, C, 1, 1), codes as codes; None where it is computed or in blocks."""
    if weight in b.constants:
        return b.constant(b.constants[weight].reshape(*weight.shape, 1, 1), weight.name)  # type: ignore[arg-type]
    node = b.graph.producers.get(weight)
    if node is None or node.op not in ("ScaleCodes", "LookUp"):
        return None
    operands = []
    for value in node.inputs:
        array = b.constants[value]
        wide = array.reshape(*array.shape, 1, 1) if array.ndim == 2 else array
        operands.append(b.constant(wide, value.name))
    return b(node.op, *operands, name=weight.name)


def _norm(centred: bool) -> Rule:
    def rule(b: _Layout, node: Node) -> Result:
        x, *vectors = node.inputs
        rank, form = len(x.shape), b.form(x)
        if any(value not in b.constants for value in vectors) or (form is None and rank != 3):
            return None
        form = default_form(rank) if form is None else form
        eps = node.attrs["eps"]
        if form.bare(x.shape)[1] == (rank - 1,):
            y = b.channels(x, form)
            if centred:
                return [(b("ChannelLayerNorm", y, *vectors, eps=eps), form)]
            columns = [b("Reshape", v, shape=(v.shape[0], 1, 1)) for v in vectors]
            return [(standardized(b, y, columns, eps, CHANNELS, centred), form)]
        apart = _heads_apart(b, x, form)
        if apart is None:
            return None
        columns = [b("Reshape", v, shape=(v.shape[0], 1)) for v in vectors]
        y = standardized(b, apart, columns, eps, 2, centred)
        return [(b.reshaped(y, form.shape(x.shape)), form)]

    return rule


def _heads_apart(b: _Layout, x: Value, form: Form) -> Value | None:
    """(B, H·D, 1, S) as (B, H, D, S), where D is the last axis of x."""
    inner = form.bare(x.shape)[1][-1:]
    if inner != (len(x.shape) - 1,):
        return None
    batch, channels, _, length = form.shape(x.shape)
    width = x.shape[-1]
    return b.reshaped(b.channels(x, form), (batch, divide(channels, width), width, length))


def _rope(b: _Layout, node: Node) -> Result:
    x, cos, sin = node.inputs
    form, count = b.form(x), node.attrs["heads"]
    if form is None or (count and len(x.shape) != 3):
        return None
    if count:
        form = default_form(3)
        batch, length, width = x.shape
        apart = b.reshaped(b.channels(x, form), (batch, count, divide(width, count), length))
    else:
        apart = _heads_apart(b, x, form)
        if apart is None or form.bare(x.shape)[2] not in ((len(x.shape) - 2,), ()) or len(x.shape) != 4:
            return None
    tables = []
    for table in map(b.plain, (cos, sin)):
        if count and len(table.shape) > 2:
            table = b("Reshape", table, shape=(*table.shape[:-2], 1, *table.shape[-2:]))
        rank = len(table.shape)
        tables.append(b("Transpose", table, axes=(*range(rank - 2), rank - 1, rank - 2)))
    turned = _turned(b, apart, tables[0], tables[1], node.attrs["traditional"])
    return [(b.reshaped(turned, form.shape(x.shape)), form)]


def _turned(b: _Layout, x: Value, cos: Value, sin: Value, traditional: bool) -> Value:
    """(B, H, D, S) with pairs of its rows turned."""
    batch, heads, width, length = x.shape
    half: Any = cos.shape[-2]

    def rows(start: AnySize, end: AnySize, step: int = 1) -> Value:
        low, high = (0, 0, start, 0), (batch, heads, end, length)
        return b("Slice", x, start=low, end=high, strides=(1, 1, step, 1))

    if traditional:
        one, two = rows(0, 2 * half, 2), rows(1, 2 * half, 2)
    else:
        one, two = rows(0, half), rows(half, 2 * half)
    real = b("Subtract", b("Multiply", one, cos), b("Multiply", two, sin))
    imaginary = b("Add", b("Multiply", one, sin), b("Multiply", two, cos))
    parts = [real, imaginary]
    if traditional:
        pair = [b("Reshape", part, shape=(batch, heads, half, 1, length)) for part in parts]
        joined = b("Concatenate", *pair, axis=3)
        parts = [b("Reshape", joined, shape=(batch, heads, 2 * half, length))]
    if width != 2 * half:
        parts.append(rows(2 * half, width))
    return b("Concatenate", *parts, axis=2) if len(parts) > 1 else parts[0]


def _attention(b: _Layout, node: Node) -> Result:
    q, k, v, *masks = node.inputs
    packed = node.attrs["heads"]
    count, groups = packed or (q.shape[1], k.shape[1])
    if node.attrs["sinks"] or q.shape[0] != k.shape[0]:
        return None
    if not isinstance(count, int) or not isinstance(groups, int):
        return None
    form = default_form(3) if packed else HEADS
    queries, keys, values = (b.channels(value, form) for value in (q, k, v))
    if not all(isinstance(value.shape[1], int) for value in (queries, keys, values)):
        return None
    scale = node.attrs["scale"]
    queries = queries if scale == 1 else b("Multiply", queries, scalar(b, scale, queries))
    rows = _parts(b, queries, count, CHANNELS)
    columns = _parts(b, b("Transpose", keys, axes=(0, 3, 2, 1)), groups, 3)
    contents = _parts(b, values, groups, CHANNELS)
    seen = _masks(b, node, masks, count, queries.shape[3], keys.shape[3])
    results = []
    for head in range(count):
        group = head // (count // groups)
        scores = b("ChannelMatmul", columns[group], rows[head])
        scores = scores if seen is None else b("Add", scores, seen[head % len(seen)])
        results.append(b("ChannelMatmul", contents[group], b("Softmax", scores, axis=CHANNELS)))
    y = b("Concatenate", *results, axis=CHANNELS) if count > 1 else results[0]
    return [(y, form)]


def _parts(b: _Layout, x: Value, count: int, axis: int) -> tuple[Value, ...]:
    if count == 1:
        return (x,)
    return b.outputs("Split", x, sizes=(divide(x.shape[axis], count),) * count, axis=axis)


def _masks(
    b: _Layout, node: Node, masks: list[Value], heads: int, queries: AnySize, keys: AnySize
) -> tuple[Value, ...] | None:
    """What is added to the scores (B, S, 1, L) of each head, or of all where it is one."""
    mask, dtype = b.plain(masks[0]) if masks else None, node.inputs[0].dtype
    if node.attrs["causal"] and queries != 1:
        seen = causal_mask(b, queries, keys)
        if mask is None:
            return (_seen_by_columns(b, queries, keys, dtype),)
        if mask.dtype == "bool":
            mask = b("LogicalAnd", seen, mask)
        else:
            mask = b("Add", added_mask(b, seen, mask.dtype), mask)
    if mask is None:
        return None
    added = added_mask(b, mask, dtype) if mask.dtype == "bool" else mask
    wide = b.reshaped(added, (1,) * (4 - len(added.shape)) + added.shape)
    turned = b("Transpose", wide, axes=(0, 3, 1, 2))
    return _parts(b, turned, heads if turned.shape[2] != 1 else 1, 2)


def _elementwise(b: _Layout, node: Node) -> Result:
    y = node.output
    whole = next((v for v in node.inputs if v in b.held and v.shape == y.shape), None)
    if whole is None or len(node.outputs) != 1:
        return None
    form = b.held[whole][1]
    operands = [_operand(b, value, form, y.shape) for value in node.inputs]
    if any(operand is None for operand in operands):
        return None
    (result,) = b.outputs(node.op, *operands, **node.attrs)  # type: ignore[arg-type]
    return [(result, form)]


def _operand(b: _Layout, value: Value, form: Form, shape: Shape) -> Value | None:
    """An operand that broadcasts to `shape`, laid out so that it still does; None where it cannot."""
    if value.shape == shape:
        return b.channels(value, form)
    if not value.shape:
        return b.plain(value)
    wide = (1,) * (len(shape) - len(value.shape)) + value.shape
    for group in form.groups.values():
        inside = [wide[axis] for axis in group]
        if any(size != 1 for size in inside) and inside != [shape[axis] for axis in group]:
            return None
    if value.shape == wide:
        return b.channels(value, form)
    turned = b.transposed(b.reshaped(b.plain(value), wide), form.order)
    return b.reshaped(turned, form.shape(wide))


def _reshape(b: _Layout, node: Node) -> Result:
    (x,) = node.inputs
    value, form = b.held[x]
    new = form.reshaped(x.shape, node.output.shape)
    return None if new is None or len(node.output.shape) < 2 else [(value, new)]


def _transpose(b: _Layout, node: Node) -> Result:
    (x,) = node.inputs
    if x in b.held:
        value, form = b.held[x]
        return [(value, form.permuted(node.attrs["axes"]))]
    form = default_form(len(x.shape))
    return [(b.reshaped(b.plain(x), form.shape(node.output.shape)), form)] if len(x.shape) > 2 else None


def _slice(b: _Layout, node: Node) -> Result:
    (x,) = node.inputs
    value, form = b.held[x]
    now: dict[str, list[Any]] = {"start": [0] * 4, "end": list(value.shape), "strides": [1] * 4}
    for axis, size in enumerate(x.shape):
        start, end, stride = (node.attrs[name][axis] for name in ("start", "end", "strides"))
        if (start, end, stride) == (0, size, 1):
            continue
        found = form.place(axis, x.shape)
        if found is None or (found[1] != 1 and stride != 1) or now["start"][found[0]] != 0:
            return None
        place, step = found
        if (now["end"][place], now["strides"][place]) != (value.shape[place], 1):
            return None
        now["start"][place], now["end"][place] = start * step, end * step
        now["strides"][place] = stride
    start, end, strides = (tuple(now[name]) for name in ("start", "end", "strides"))
    return [(b("Slice", value, start=start, end=end, strides=strides), form)]


def _split(b: _Layout, node: Node) -> Result:
    (x,) = node.inputs
    value, form = b.held[x]
    found = form.place(node.attrs["axis"], x.shape)
    if found is None:
        return None
    sizes = tuple(size * found[1] for size in node.attrs["sizes"])
    return [(part, form) for part in b.outputs("Split", value, sizes=sizes, axis=found[0])]


def _concatenate(b: _Layout, node: Node) -> Result:
    form = next(b.held[value][1] for value in node.inputs if value in b.held)
    axis = node.attrs["axis"]
    found = form.place(axis, node.output.shape)
    if found is None or any(form.place(axis, value.shape) != found for value in node.inputs):
        return None
    return [(b("Concatenate", *(b.channels(v, form) for v in node.inputs), axis=found[0]), form)]


def _reduce(b: _Layout, node: Node) -> Result:
    (x,) = node.inputs
    value, form = b.held[x]
    axes = {axis for axis in node.attrs["axes"] if x.shape[axis] != 1}
    places = []
    for place, group in zip(form.groups, form.bare(x.shape), strict=True):
        if axes & set(group):
            if set(group) - axes:
                return None
            places.append(place)
    result = form if node.attrs["keepdims"] else form.without(node.attrs["axes"])
    if not places or len(result.order) < 2:
        return None
    attrs = {**node.attrs, "axes": tuple(places), "keepdims": True}
    return [(b("Reduce", value, **attrs), result)]


def _softmax(b: _Layout, node: Node) -> Result:
    (x,) = node.inputs
    value, form = b.held[x]
    place = next(p for p, group in form.groups.items() if node.attrs["axis"] in group)
    if form.bare(x.shape)[(0, CHANNELS, TOKENS).index(place)] != (node.attrs["axis"],):
        return None
    return [(b("Softmax", value, **{**node.attrs, "axis": place}), form)]


def _seen_by_columns(b: _Layout, queries: AnySize, keys: AnySize, dtype: str) -> Value:
    """The causal mask, to be added, as (1, S, 1, L); one for all layers."""
    if (queries, keys, dtype) not in b.causal:
        places = [
            b("Arange", start=start, step=1, size=size, dtype="int32")
            for start, size in ((0, keys), (keys - queries, queries))
        ]
        columns = b("Reshape", places[0], shape=(1, keys, 1, 1))
        seen = b("LessEqual", columns, b("Reshape", places[1], shape=(1, 1, 1, queries)))
        b.causal[queries, keys, dtype] = added_mask(b, seen, dtype)
    return b.causal[queries, keys, dtype]


ANCHORS = frozenset({"Linear", "LayerNorm", "RMSNorm", NAME})  # what brings an array into this layout
RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*ELEMENTWISE, *ACTIVATIONS), _elementwise),
    "Linear": _linear,
    "LayerNorm": _norm(centred=True),
    "RMSNorm": _norm(centred=False),
    "RoPE": _rope,
    NAME: _attention,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concatenate": _concatenate,
    "Reduce": _reduce,
    "Softmax": _softmax,
}

__all__ = ["for_neural_engine"]

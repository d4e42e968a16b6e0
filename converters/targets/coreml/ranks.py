"""Arrays of more than five axes, which Core ML has not, as ones of fewer.

    y = Transpose(x of (B, 4, 2, 4, 2, C), axes=(0, 1, 3, 2, 4, 5))
->  y = Reshape(Transpose(Reshape(x, (B*4, 2, 4, 2*C)), axes=(0, 2, 1, 3)), (B, 4, 4, 2, 2, C))

Axes that an op treats alike are one; what still has too many is done one axis at a time. The reshapes around
it meet those of the neighbours, and only reshapes are left of the wide arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.errors import UnsupportedOp
from converters.graph import Builder, Graph, Node, Value
from converters.ops.activation import ACTIVATIONS
from converters.ops.elementwise import ELEMENTWISE
from converters.passes.reshapes import RULES as RESHAPES
from converters.pattern import rewrite
from converters.sizes import Shape, product

MOST = 5
ALIKE = ELEMENTWISE | set(ACTIVATIONS)
ALONG = {"Softmax", "LogSumExp", "LogSoftmax", "ArgReduce", "Scan", "Sort", "ArgSort", "Partition"}
ALONG |= {"ArgPartition", "Concatenate", "Split", "GatherAxis", "ScatterAxis"}
ROW_BY_ROW = {"Linear", "DynamicLinear", "QuantizedMatmul", "LayerNorm", "RMSNorm"}  # of the first operand


def folded(graph: Graph) -> Graph:
    """The graph without arrays of more than five axes.

    Raises:
        UnsupportedOp: an input or output, or an op that needs more axes apart.
    """
    nodes = graph.nodes
    if not any(_is_wide(value) for node in nodes for value in (*node.inputs, *node.outputs)):
        return graph
    b = _Folder(graph)
    for node in nodes:
        b.add(node)
    outputs = {name: b.now.get(value, value) for name, value in graph.outputs.items()}
    result = rewrite(graph.replace(nodes=tuple(b.nodes), constants=b.constants, outputs=outputs), RESHAPES)
    for node in result.nodes:
        wide = [value for value in (*node.inputs, *node.outputs) if _is_wide(value)]
        if wide:
            raise UnsupportedOp(
                f"Core ML arrays have at most {MOST} axes, {node.op} has {len(wide[0].shape)}"
            )
    return result


def _is_wide(value: Value) -> bool:
    return len(value.shape) > MOST


class _Folder(Builder):
    def __init__(self, graph: Graph):
        super().__init__()
        self.constants = dict(graph.constants)
        self.now: dict[Value, Value] = {}

    def add(self, node: Node) -> None:
        inputs = tuple(self.now.get(value, value) for value in node.inputs)
        if not any(_is_wide(value) for value in (*inputs, *node.outputs)) or node.op == "Reshape":
            self.nodes.append(Node(node.op, inputs, node.outputs, node.attrs))
            return
        results = self._folded(node, inputs)
        if results is None:
            self.nodes.append(Node(node.op, inputs, node.outputs, node.attrs))
            return
        for old, new in zip(node.outputs, results, strict=True):
            self.now[old] = new if new.shape == old.shape else self("Reshape", new, shape=old.shape)

    def _folded(self, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        attrs = dict(node.attrs)
        if node.op == "Transpose":
            return (self._transposed(inputs[0], attrs["axes"]),)
        if node.op in ALIKE:
            return self._alike(node, inputs)
        if node.op == "Reduce":
            return (self._reduced(node, inputs[0]),)
        if node.op in ALONG:
            return self._along(node, inputs)
        if node.op in ROW_BY_ROW and not any(_is_wide(value) for value in inputs[1:]):
            x = inputs[0]
            rows = self("Reshape", x, shape=(product(x.shape[:-1]), x.shape[-1]))
            return self.outputs(node.op, rows, *inputs[1:], **attrs)
        if node.op in ("Slice", "Pad"):
            return (self._axis_by_axis(node, inputs),)
        if node.op == "Broadcast":
            return (self._broadcast(inputs[0], attrs["shape"]),)
        if node.op == "Gather":
            return (self._gathered(inputs[0], inputs[1], attrs["axis"]),)
        return (self._product(inputs[0], inputs[1]),) if node.op == "Matmul" else None

    def _transposed(self, x: Value, axes: Sequence[int]) -> Value:
        """Groups of axes that stay together move as one, each to its place in turn where they are many."""
        groups: list[list[int]] = []
        for axis in axes:
            if x.shape[axis] == 1:
                continue
            if groups and _adjoin(groups[-1][-1], axis, x.shape):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        order = sorted(range(len(groups)), key=lambda index: groups[index][0])
        sizes = [product(x.shape[axis] for axis in groups[index]) for index in order]
        wanted = [order.index(index) for index in range(len(groups))]
        y = self("Reshape", x, shape=tuple(sizes))
        if len(sizes) <= MOST:
            y = self("Transpose", y, axes=tuple(wanted)) if wanted != sorted(wanted) else y
        else:
            y = self._one_by_one(y, wanted, sizes)
        return self("Reshape", y, shape=tuple(x.shape[axis] for axis in axes))

    def _one_by_one(self, y: Value, wanted: list[int], sizes: list[Any]) -> Value:
        current = list(range(len(sizes)))
        for place, group in enumerate(wanted):
            found = current.index(group)
            if found == place:
                continue
            parts = (current[:place], current[place:found], [group], current[found + 1 :])
            shape = tuple(product(sizes[index] for index in part) for part in parts)
            y = self("Transpose", self("Reshape", y, shape=shape), axes=(0, 2, 1, 3))
            current = [*parts[0], group, *parts[1], *parts[3]]
        return y

    def _alike(self, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """Neighbouring axes along which each operand is whole, or has one element, are one."""
        shape = node.output.shape
        rank = len(shape)
        wide = [(1,) * (rank - len(value.shape)) + value.shape for value in inputs]
        whole = [tuple(size != 1 for size in operand) for operand in wide]
        groups: list[list[int]] = []
        for axis in range(rank):
            pattern = [flags[axis] for flags in whole]
            if groups and [flags[groups[-1][0]] for flags in whole] == pattern:
                groups[-1].append(axis)
            else:
                groups.append([axis])
        operands = [
            self("Reshape", value, shape=tuple(product(sizes[axis] for axis in group) for group in groups))
            for value, sizes in zip(inputs, wide, strict=True)
        ]
        return self.outputs(node.op, *operands, **node.attrs)

    def _reduced(self, node: Node, x: Value) -> Value:
        axes, groups = node.attrs["axes"], list[list[int]]()
        for axis in range(len(x.shape)):
            if groups and (groups[-1][0] in axes) == (axis in axes):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        merged = self("Reshape", x, shape=tuple(product(x.shape[axis] for axis in group) for group in groups))
        chosen = tuple(index for index, group in enumerate(groups) if group[0] in axes)
        return self("Reduce", merged, **{**node.attrs, "axes": chosen, "keepdims": False})

    def _along(self, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        axis = node.attrs["axis"]
        operands = [self._three(value, axis) for value in inputs]
        attrs = {**node.attrs, "axis": 1}
        return self.outputs(node.op, *operands, **attrs)

    def _three(self, value: Value, axis: int) -> Value:
        """The axes before, the axis, the axes after."""
        shape = value.shape
        return self("Reshape", value, shape=(product(shape[:axis]), shape[axis], product(shape[axis + 1 :])))

    def _axis_by_axis(self, node: Node, inputs: tuple[Value, ...]) -> Value:
        """Slices and paddings."""
        y = inputs[0]
        for axis, size in enumerate(y.shape):
            attrs = {name: given[axis] for name, given in node.attrs.items()}
            if attrs in ({"start": 0, "end": size, "strides": 1}, {"low": 0, "high": 0}):
                continue
            parts = self._three(y, axis)
            before, _, after = parts.shape
            if node.op == "Slice":
                start, end = (0, attrs["start"], 0), (before, attrs["end"], after)
                cut = self("Slice", parts, start=start, end=end, strides=(1, attrs["strides"], 1))
            else:
                cut = self("Pad", parts, inputs[1], low=(0, attrs["low"], 0), high=(0, attrs["high"], 0))
            y = self("Reshape", cut, shape=(*y.shape[:axis], cut.shape[1], *y.shape[axis + 1 :]))
        return y

    def _broadcast(self, x: Value, shape: Shape) -> Value:
        y = self("Reshape", x, shape=(1,) * (len(shape) - len(x.shape)) + x.shape)
        for axis, size in enumerate(shape):
            if y.shape[axis] != size:
                parts = self._three(y, axis)
                wide = self("Broadcast", parts, shape=(parts.shape[0], size, parts.shape[2]))
                y = self("Reshape", wide, shape=(*y.shape[:axis], size, *y.shape[axis + 1 :]))
        return y

    def _gathered(self, x: Value, indices: Value, axis: int) -> Value:
        flat = self("Reshape", indices, shape=(product(indices.shape),))
        return self("Gather", self._three(x, axis), flat, axis=1)

    def _product(self, x: Value, y: Value) -> Value:
        """Leading axes as one; what they broadcast is written out."""
        rank = max(len(x.shape), len(y.shape))
        wide = [(1,) * (rank - len(value.shape)) + value.shape for value in (x, y)]
        lead = tuple(b if a == 1 else a for a, b in zip(wide[0][:-2], wide[1][:-2], strict=True))
        operands = []
        for value, shape in zip((x, y), wide, strict=True):
            whole = value if shape[:-2] == lead else self._broadcast(value, (*lead, *shape[-2:]))
            operands.append(self("Reshape", whole, shape=(product(lead), *shape[-2:])))
        return self("Matmul", *operands)


def _adjoin(first: int, second: int, shape: Shape) -> bool:
    """Whether two axes follow each other, apart from axes of one element."""
    return first < second and all(shape[axis] == 1 for axis in range(first + 1, second))


__all__ = ["folded"]

"""The intermediate representation: values, nodes and graphs, all frozen; identity is what tells values apart.

A `Value` is an array of known element type and of a shape in integers and `Size`s. A `Node` applies an op of
`converters.ops` to values. A `Graph` lists nodes in an order in which they can run. Passes return new graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ShapeError
from converters.sizes import AnySize, Shape, Size, isolate, names_in, sizes_in, substitute


@dataclass(frozen=True)
class Dim:
    """Bounds of a named dimension: lowest, highest (None: open), a divisor, or the only sizes that may
    occur."""

    low: int = 1
    high: int | None = None
    multiple: int = 1
    sizes: tuple[int, ...] | None = None

    def __init__(
        self, low: int = 1, high: int | None = None, multiple: int = 1, sizes: Iterable[int] | None = None
    ):
        chosen = None if sizes is None else tuple(sorted(sizes))
        object.__setattr__(self, "low", chosen[0] if chosen else low)
        object.__setattr__(self, "high", chosen[-1] if chosen else high)
        object.__setattr__(self, "multiple", multiple)
        object.__setattr__(self, "sizes", chosen)
        if self.low < 0 or (self.high is not None and self.high < self.low) or multiple < 1:
            raise ShapeError(
                f"a dimension from {self.low} to {self.high} in steps of {multiple} has no sizes"
            )

    def refusal(self, size: int) -> str | None:
        """Why `size` may not occur, or None where it may."""
        if self.sizes is not None:
            return (
                None if size in self.sizes else f"is {size}, must be one of {', '.join(map(str, self.sizes))}"
            )
        if size < self.low:
            return f"is {size}, must be at least {self.low}"
        if self.high is not None and size > self.high:
            return f"is {size}, must be at most {self.high}"
        return f"is {size}, must be a multiple of {self.multiple}" if size % self.multiple else None


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """An array in a graph. The name is a wish: `Graph.names` makes names unique."""

    name: str
    shape: Shape
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an op; `attrs` are named as the op's entry in `converters.ops` names them."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Value:
        """The output of an op that has one."""
        assert len(self.outputs) == 1, self.op
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class Graph:
    """A function: named inputs and outputs, constants (the weights), nodes in running order.

    `states` maps an input's name to the output that carries it on; `images` holds the `Image` specs of
    the inputs and outputs that are pictures; `dims` the bounds of the named dimensions.
    """

    inputs: tuple[Value, ...]
    outputs: Mapping[str, Value]
    nodes: tuple[Node, ...]
    constants: Mapping[Value, np.ndarray]
    dims: Mapping[str, Dim] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def producers(self) -> dict[Value, Node]:
        """The node that computes each value."""
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def users(self) -> dict[Value, list[Node]]:
        """The nodes that read each value, once per use."""
        users: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                users.setdefault(value, []).append(node)
        return users

    @cached_property
    def names(self) -> dict[Value, str]:
        """A unique name for every value: inputs and outputs keep theirs, then constants, then the rest by
        op."""
        names: dict[Value, str] = {value: value.name for value in self.inputs}
        taken = set(names.values()) | set(self.outputs)
        produced = self.producers
        for name, value in self.outputs.items():
            if value in produced:
                names.setdefault(value, name)

        def name_for(value: Value, wish: str) -> None:
            if value in names:
                return
            name, index = wish, 1
            while name in taken:
                name, index = f"{wish}_{index}", index + 1
            taken.add(name)
            names[value] = name

        for value in self.constants:
            name_for(value, value.name)
        for index, node in enumerate(self.nodes):
            for value in node.outputs:
                name_for(value, f"{node.op.lower()}_{index}")
        return names

    def replace(self, **changes: Any) -> Graph:
        """A copy with some fields changed."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Graph(**{**fields, **changes})

    def verify(self) -> None:
        """Check order, attributes, shapes and types against the ops' entries; AssertionError names the
        node."""
        from converters.ops import OPS

        known = {*self.inputs, *self.constants}
        for value, array in self.constants.items():
            assert value.shape == array.shape, (value.name, value.shape, array.shape)
            assert numpy_dtype(value.dtype) == array.dtype, (value.name, value.dtype, array.dtype)
        for node in self.nodes:
            assert node.op in OPS, f"{node.op} is not an op"
            op = OPS[node.op]
            assert set(node.attrs) == set(op.attrs), (
                f"{node.op} has {set(node.attrs)}, expected {set(op.attrs)}"
            )
            for value in node.inputs:
                assert value in known, f"{node.op} reads {value.name} before it is computed"
            expected = op.infer(*node.inputs, **node.attrs)
            got = [(value.shape, value.dtype) for value in node.outputs]
            assert got == expected, f"{self.line(node)}: declares {got}, computes {expected}"
            known.update(node.outputs)
        for name, value in self.outputs.items():
            assert value in known, f"output {name} is not computed"

    def line(self, node: Node) -> str:
        """One node as text."""
        results = ", ".join(f"{self.names[value]}: {value}" for value in node.outputs)
        operands = [self.names.get(value, value.name) for value in node.inputs]
        operands += [f"{name}={_text(attr)}" for name, attr in node.attrs.items()]
        return f"{results} = {node.op}({', '.join(operands)})"

    def __str__(self) -> str:
        inputs = ", ".join(f"{value.name}: {value}" for value in self.inputs)
        lines = [f"graph({inputs})"]
        lines += [f"  {self.line(node)}" for node in self.nodes]
        returned = ", ".join(
            name if self.names.get(value) == name else f"{name}={self.names[value]}"
            for name, value in self.outputs.items()
        )
        return "\n".join([*lines, f"  return {returned}"])

    def evaluate(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph with the ops' NumPy meanings; the arrays are in the order of `inputs`."""
        from converters.ops import OPS

        sizes = bind_sizes(zip([v.shape for v in self.inputs], [a.shape for a in arrays], strict=True))
        computed: dict[Value, Any] = {**self.constants, **dict(zip(self.inputs, arrays, strict=True))}
        last = {value: node for node in self.nodes for value in node.inputs}
        kept = set(self.outputs.values())
        for node in self.nodes:
            attrs = {name: substitute(attr, sizes) for name, attr in node.attrs.items()}
            results = OPS[node.op].evaluate([computed[value] for value in node.inputs], attrs)
            computed.update(zip(node.outputs, results, strict=True))
            for value in node.outputs:
                if substitute(value.shape, sizes) != computed[value].shape:
                    raise ShapeError(f"{value} of {node.op} has shape {computed[value].shape} at {sizes}")
            for value in {*node.inputs, *node.outputs} - kept:
                if last.get(value, node) is node:
                    del computed[value]
        return {name: computed[value] for name, value in self.outputs.items()}


def _text(attribute: Any) -> str:
    if isinstance(attribute, tuple):
        return "(" + ", ".join(map(_text, attribute)) + ")"
    return str(attribute)


def bind_sizes(shapes: Iterable[tuple[Shape, tuple[int, ...]]], whole: bool = True) -> dict[str, int]:
    """The dimensions' sizes from pairs of declared and actual shapes.

    Sums ("past + length") are solved where all names but one are known.

    Args:
        whole: every sum must be solved; otherwise what the pairs do not determine is left out.

    Raises:
        ShapeError: where ranks or sizes contradict each other.
    """
    sizes: dict[str, int] = {}
    pending: list[tuple[AnySize, int]] = []
    for declared, actual in shapes:
        if len(declared) != len(actual):
            raise ShapeError(
                f"expected {len(declared)} dimensions ({', '.join(map(str, declared))}), got {actual}"
            )
        pending += zip(declared, actual, strict=True)
    while pending:
        later = []
        for declared, actual in pending:
            unknown = set() if isinstance(declared, int) else declared.names() - sizes.keys()
            if len(unknown) > 1:
                later.append((declared, actual))
            elif unknown:
                sizes.update(_solve(declared, actual, unknown.pop(), sizes))
            elif substitute(declared, sizes) != actual:
                raise ShapeError(f"expected size {declared} = {substitute(declared, sizes)}, got {actual}")
        if len(later) == len(pending) and not whole:
            break
        if len(later) == len(pending):
            raise ShapeError(f"the inputs do not determine {', '.join(str(size) for size, _ in later)}")
        pending = later
    return sizes


def _solve(declared: AnySize, actual: int, name: str, sizes: Mapping[str, int]) -> dict[str, int]:
    base = substitute(declared, {**sizes, name: 0})
    slope = substitute(declared, {**sizes, name: 1}) - base
    if (
        slope == 0
        or (actual - base) % slope
        or substitute(declared, {**sizes, name: (actual - base) // slope}) != actual
    ):
        raise ShapeError(f"no {name} gives {declared} = {actual}")
    return {name: (actual - base) // slope}


class Builder:
    """Collects new nodes and constants; `builder("Add", x, y)` gives the new value, shapes are inferred."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[Value, np.ndarray] = {}

    def __call__(self, op: str, *inputs: Value, name: str = "", **attrs: Any) -> Value:
        """The single output of a new node."""
        (output,) = self.outputs(op, *inputs, name=name, **attrs)
        return output

    def outputs(self, op: str, *inputs: Value, name: str = "", **attrs: Any) -> tuple[Value, ...]:
        """All outputs of a new node."""
        from converters.ops import OPS

        inferred = OPS[op].infer(*inputs, **attrs)
        outputs = tuple(Value(name or op.lower(), shape, dtype) for shape, dtype in inferred)
        self.nodes.append(Node(op, inputs, outputs, attrs))
        return outputs

    def constant(self, array: Any, name: str = "constant", dtype: str | None = None) -> Value:
        """A constant; `dtype` converts."""
        array = (
            np.asarray(array) if dtype is None else np.asarray(array).astype(numpy_dtype(dtype), copy=False)
        )
        value = Value(name, array.shape, array.dtype.name)
        self.constants[value] = array
        return value


def isolated(graph: Graph, name: str, unknown: set[str]) -> tuple[AnySize, AnySize, Value, int]:
    """(slope, rest, input, axis): that axis of that input has slope * name + rest elements, where neither
    needs an `unknown` dimension.

    Raises:
        ShapeError: no input tells the dimension.
    """
    found = []
    for value in graph.inputs:
        for axis, size in enumerate(value.shape):
            parts = isolate(size, name) if name in names_in(size) and isinstance(size, Size) else None
            if parts is not None and not names_in(parts) & unknown:
                found.append((*parts, value, axis))
    if not found:
        raise ShapeError(f"the inputs do not determine {name}")
    return min(found, key=lambda one: one[0] != 1)


def dims_in(graph: Graph) -> set[str]:
    """The dimensions that occur anywhere in the graph."""
    found = {size for value in graph.inputs for size in sizes_in(value.shape)}
    return {name for size in found for name in size.names()}

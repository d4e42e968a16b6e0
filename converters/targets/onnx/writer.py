"""Building an ONNX graph: names, initializers, nodes, and sizes that are computed when the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from converters.dtypes import numpy_dtype
from converters.errors import ShapeError
from converters.graph import Graph, Node, Value, isolated
from converters.sizes import AnySize, Monomial, Shape, Size, is_static
from converters.targets.onnx.rotations import operands

ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float64": TensorProto.DOUBLE,
    "bool": TensorProto.BOOL,
    "uint4": TensorProto.UINT4,
    **{name: getattr(TensorProto, name.upper()) for w in (8, 16, 32, 64) for name in (f"int{w}", f"uint{w}")},
}


class Writer:
    """One graph being written. Rules call `emit`, `node`, `constant`, `shape`.

    Attributes:
        opset: the version of the standard ops.
        runtime: None, or "onnxruntime" where com.microsoft ops may be used.
        exact: whether products with codes keep their other operand as it is.
        roomy: inputs whose buffers may have room behind the tokens that they hold.
        read: what the attentions that append to them read.
    """

    def __init__(self, graph: Graph, opset: int, runtime: str | None = None, exact: bool = True):
        self.graph, self.opset, self.runtime, self.exact = graph, opset, runtime, exact
        self.names = dict(graph.names)
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.domains: set[str] = set()
        self._taken = set(self.names.values()) | set(graph.outputs)
        self._small: dict[tuple[Any, ...], str] = {}
        self._solving: set[str] = set()
        self._sizes: dict[AnySize | tuple[str, Monomial], str] = {}
        self._once: dict[Any, str] = {}
        appending = [node for node in graph.nodes if self.shares_caches(node)]
        self.roomy = frozenset(value.name for node in appending for value in node.inputs[3:5])
        self.read = operands(graph, appending)
        for value, array in graph.constants.items():
            self.initializers[self.names[value]] = array

    def shares_caches(self, node: Node) -> bool:
        """Whether the node may append to its past in place: then the past's buffer may have room for more,
        and its size is no longer the number of tokens."""
        if self.runtime != "onnxruntime" or node.op != "CachedAttention" or not node.attrs["heads"]:
            return False
        keys, values, *masks = node.inputs[3:]
        width = keys.shape[3]
        fits = isinstance(width, int) and width % 8 == 0 and width == values.shape[3]
        fits = fits and node.outputs[0].dtype == "float32" and all(len(mask.shape) == 4 for mask in masks)
        return fits and (node.attrs["causal"] or not node.attrs["ahead"]) and self._told(keys.shape[2])

    def _told(self, size: AnySize) -> bool:
        """Whether a size can be read from inputs that are no states."""
        others = self.graph.replace(
            inputs=tuple(v for v in self.graph.inputs if v.name not in self.graph.states)
        )
        if not isinstance(size, Size) or any(size in value.shape for value in others.inputs):
            return True
        try:
            isolated(others, str(size), {str(size)})
        except ShapeError:
            return False
        return True

    def emit(self, op_type: str, node: Node, *extra: str, domain: str = "", **attrs: Any) -> None:
        """One ONNX node that computes the outputs of `node` from its inputs (and `extra` ones)."""
        inputs = [self.names[value] for value in node.inputs]
        self.give(op_type, [*inputs, *extra], [self.names[value] for value in node.outputs], domain, **attrs)

    def node(
        self, op_type: str, *inputs: str, name: str = "", outputs: int = 1, domain: str = "", **attrs: Any
    ) -> Any:
        """An ONNX node in between; gives the name of its output, or a list where there are several."""
        names = [self.unique(name or op_type.lower()) for _ in range(outputs)]
        self.give(op_type, list(inputs), names, domain, **attrs)
        return names[0] if outputs == 1 else names

    def give(
        self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attrs: Any
    ) -> None:
        """An ONNX node with chosen output names."""
        self.domains.add(domain)
        proto = helper.make_node(op_type, inputs, outputs, name=outputs[0], domain=domain or None, **attrs)
        self.nodes.append(proto)

    def subgraph(self, name: str, emit: Callable[[], Sequence[str]], like: Sequence[Value]) -> GraphProto:
        """What `emit` adds, as the graph of a branch; its outputs are the names that `emit` gives, with the
        types of `like`. Sizes and operands that later nodes share must have been asked for before."""
        outer, self.nodes = self.nodes, []
        names = emit()
        nodes, self.nodes = self.nodes, outer
        outputs = [self._info(name, value) for name, value in zip(names, like, strict=True)]
        return GraphProto(node=nodes, name=self.unique(name), output=outputs)

    def once(self, key: Any, make: Callable[[], str]) -> str:
        """The name that `make` gives, made for the first of all nodes with this key."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def unique(self, wish: str) -> str:
        """A name that nothing has yet."""
        name, index = wish, 1
        while name in self._taken:
            name, index = f"{wish}_{index}", index + 1
        self._taken.add(name)
        return name

    def name(self, value: Value) -> str:
        """The ONNX name of a value."""
        return self.names[value]

    def constant(self, array: Any, dtype: str | None = None, name: str = "constant") -> str:
        """The name of an initializer; equal small ones are shared."""
        array = np.asarray(array) if dtype is None else np.asarray(array).astype(numpy_dtype(dtype))
        key = (array.shape, array.dtype.name, array.tobytes()) if array.size <= 64 else (id(array),)
        if key not in self._small:
            self._small[key] = self.unique(name)
            self.initializers[self._small[key]] = array
        return self._small[key]

    def int64(self, values: Sequence[int]) -> str:
        """A vector of int64, as Reshape, Expand, Pad and the axes of reductions take it."""
        return self.constant(np.array(list(values), np.int64), name="ints")

    def int32(self, values: Sequence[int]) -> str:
        """A vector of int32, for Slice and Gather."""
        return self.constant(np.array(list(values), np.int32), name="ints32")

    def scalar(self, value: int) -> str:
        """An int64 of rank 0, as Range takes it."""
        return self.constant(np.array(value, np.int64), name="int")

    def shape(self, shape: Shape) -> str:
        """A vector of int64 with the sizes, computed from the inputs' shapes where they are named."""
        if is_static(shape):
            return self.int64([int(size) for size in shape])  # type: ignore[arg-type]
        if shape not in self._sizes:  # type: ignore[comparison-overlap]
            parts: list[str] = []
            run: list[int] = []
            for size in [*shape, None]:
                if isinstance(size, int):
                    run.append(size)
                    continue
                if run:
                    parts.append(self.int64(run))
                    run = []
                if size is not None:
                    parts.append(self.size(size))
            joined = parts[0] if len(parts) == 1 else self.node("Concat", *parts, name="shape", axis=0)
            self._sizes[shape] = joined  # type: ignore[index]
        return self._sizes[shape]  # type: ignore[index]

    def size(self, size: AnySize) -> str:
        """An int64 vector of one element with the value of a size."""
        if isinstance(size, int):
            return self.int64([size])
        if size not in self._sizes:
            self._sizes[size] = self._polynomial(size)
        return self._sizes[size]

    def _polynomial(self, size: Size) -> str:
        source = self._source(size)
        if source is not None:
            return source
        scale = int(np.lcm.reduce([factor.denominator for _, factor in size.terms]))
        total = ""
        for monomial, factor in size.terms:
            whole = int(factor * scale)
            term = self._monomial(monomial)
            if not monomial:
                term = self.int64([whole])
            elif whole != 1:
                term = self.node("Mul", term, self.int64([whole]), name="size")
            total = self.node("Add", total, term, name="size") if total else term
        return self.node("Div", total, self.int64([scale]), name="size") if scale != 1 else total

    def _monomial(self, monomial: Monomial) -> str:
        total = ""
        for name in monomial:
            known = self.size(Size.of(name))
            total = self.node("Mul", total, known, name="size") if total else known
        return total

    def _source(self, size: Size) -> str | None:
        """The size read from an input's shape, where it stands there (or can be solved for a single name)."""
        for value in self.graph.inputs:
            if size in value.shape and value.name not in self.roomy:
                axis = value.shape.index(size)
                return self.node("Shape", self.names[value], name="size", start=axis, end=axis + 1)
        if len(size.names()) == 1 and size == Size.of(next(iter(size.names()))):
            return self._solved(*size.names())
        return None

    def _solved(self, name: str) -> str:
        """A name that stands alone nowhere: from a size in which the others are known."""
        self._solving.add(name)
        slope, rest, value, axis = isolated(self.graph, name, self._solving)
        size = self.node("Shape", self.names[value], name="size", start=axis, end=axis + 1)
        if rest != 0:
            size = self.node("Sub", size, self.size(rest), name="size")
        if slope != 1:
            size = self.node("Div", size, self.size(slope), name="size")
        self._solving.remove(name)
        return size

    def finish(self, name: str) -> GraphProto:
        """The graph without initializers' data; the caller adds tensors."""
        self._connect_outputs()
        inputs = [self._info(value.name, value) for value in self.graph.inputs]
        outputs = [self._info(name, value) for name, value in self.graph.outputs.items()]
        between = [self._info(self.names[value], value) for value in self._computed() if value.shape]
        return GraphProto(node=self.nodes, name=name, input=inputs, output=outputs, value_info=between)

    def _computed(self) -> Iterator[Value]:
        """What the nodes compute between inputs and outputs. Their shapes are stated: ONNX cannot infer what
        follows a Reshape to sizes that are computed when the model runs."""
        known = {value.name for value in self.graph.inputs} | set(self.graph.outputs)
        written = {name for node in self.nodes for name in node.output}
        for node in self.graph.nodes:
            for value in node.outputs:
                if self.names[value] in written - known:
                    yield value

    def _connect_outputs(self) -> None:
        """Outputs that are inputs, constants or another output as well get an Identity."""
        for output, value in self.graph.outputs.items():
            if self.names[value] != output:
                self.give("Identity", [self.names[value]], [output])

    def _info(self, name: str, value: Value) -> ValueInfoProto:
        sizes = [size if isinstance(size, int) else str(size) for size in value.shape]
        return helper.make_tensor_value_info(name, ELEMENT_TYPES[value.dtype], sizes)

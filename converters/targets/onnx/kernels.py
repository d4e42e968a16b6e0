"""Element types that onnxruntime computes with, and casts around the nodes whose type it lacks.

    y = Maximum(a, b)   of int16       ->      y = Cast(Maximum(Cast(a, int32), Cast(b, int32)), int16)

Integers that pass the wider type's range and are cast back wrap around, as MLX's do. Found by loading each
kernel of onnxruntime 1.32 with each type; other runtimes take at least what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from converters.dtypes import INTEGERS, SIGNED
from converters.errors import UnsupportedOp
from converters.graph import Builder, Graph, Node, Value
from converters.pattern import without_dead
from converters.targets.onnx.rules import RULES

REAL = frozenset({"float32", "float16", "float64"})
SINGLE = frozenset({"float32", "float16"})
NUMBERS = REAL | set(INTEGERS)
ALL = NUMBERS | {"bool", "bfloat16"}
WIDE = REAL | {"int32", "int64"}
ANY_BUT_BFLOAT16 = ALL - {"bfloat16"}


def _each(names: str, types: frozenset[str]) -> dict[str, frozenset[str]]:
    return dict.fromkeys(names.split(), types)


KERNELS: dict[str, frozenset[str]] = {
    **_each("Reshape Transpose Concatenate Split Slice Gather GatherAxis GatherND AsType LayerNorm", ALL),
    **_each("ScatterND ScatterAxis DynamicSlice DynamicSliceUpdate", ALL),
    **_each("Exp Log Sqrt Rsqrt Sin Cos Tanh Sigmoid Softmax LogSoftmax RMSNorm", REAL),
    **_each("Tan Sinh Cosh ArcSin ArcCos ArcTan ArcSinh ArcCosh ArcTanh Erf", SINGLE),
    **_each("GELU SiLU LeakyReLU ELU Hardswish Softplus Mish Convolution AvgPool RoPE", SINGLE),
    **_each("Add Subtract Multiply Divide Square Abs FloorDivide Remainder", NUMBERS),
    **_each("Less LessEqual Greater GreaterEqual Ceil Floor Round", NUMBERS),
    **_each("Sign", NUMBERS),
    **_each("Negative", REAL | set(SIGNED)),
    **_each("Maximum Minimum Clip", NUMBERS - {"int16", "uint16"}),
    **_each("Power", REAL | {"int64"}),
    **_each("ReLU", REAL | {"int8", "int32"}),
    **_each("BitwiseAnd BitwiseOr BitwiseXor BitwiseInvert LeftShift RightShift", frozenset(INTEGERS)),
    **_each("Equal NotEqual", NUMBERS | {"bool"}),
    **_each("LogicalAnd LogicalOr LogicalNot", frozenset({"bool"})),
    **_each("Select", REAL | {"int8", "uint8", "int32", "uint32", "int64"}),
    **_each("Matmul", REAL | {"int32", "uint32", "int64", "uint64"}),
    **_each("Scan", WIDE),
    **_each("ArgReduce", WIDE | {"int8", "uint8"}),
    **_each("Sort ArgSort Partition ArgPartition", WIDE | {"int8", "uint8", "int16"}),
    **_each("MaxPool", REAL | {"int8", "uint8"}),
    **_each("DynamicLinear InSteps", frozenset({"float32"})),
    **_each("Pad", ALL - {"int16", "uint16"}),
}
WIDER = {
    "bool": ("uint8", "int32"),
    "int8": ("int32", "int64"),
    "uint8": ("int32", "int64"),
    "int16": ("int32", "int64"),
    "uint16": ("int32", "int64"),
    "int32": ("int64",),
    "uint32": ("int64",),
    "uint64": ("int64",),
    "float16": ("float32",),
    "bfloat16": ("float32",),
    "float64": ("float32",),
}
ORDERING = {"Reduce", "ArgReduce", "Sort", "ArgSort", "Partition", "ArgPartition"}
SUBJECTS = {
    "Select": 1,
    "ScaleCodes": 1,
    "LookUp": 1,
}  # the operand whose type counts, where it is not the first


def kernel_types(node: Node, opset: int) -> frozenset[str]:
    """The element types that a node's kernels take."""
    if node.op in ("ScatterND", "ScatterAxis") and node.attrs["kind"] != "set":
        return NUMBERS - {"float16"}
    if node.op == "Pad" and opset < 21:
        return KERNELS["Pad"] - {"bfloat16"}
    if node.op != "Reduce":
        return KERNELS.get(node.op, ANY_BUT_BFLOAT16)
    if node.attrs["kind"] in ("sum", "prod", "mean"):
        return REAL | {"int64"}  # sums of int32 do not wrap around in onnxruntime
    return WIDE | {"int8", "uint8"} | ({"bool"} if opset >= 20 else set())


def with_kernels(graph: Graph, opset: int) -> Graph:
    """The graph with casts where onnxruntime has no kernel; inputs and outputs of bfloat16 become float32.

    Raises:
        UnsupportedOp: where no wider type has one either.
    """
    caster = _Caster(graph)
    inputs = tuple(caster.edge(value) for value in graph.inputs)
    for node in graph.nodes:
        caster.add(node, opset)
    outputs = {}
    for name, old in graph.outputs.items():
        value = caster.now(old)
        outputs[name] = caster("AsType", value, dtype="float32") if value.dtype == "bfloat16" else value
    caster.nodes = list(_casts_first(caster.nodes))
    return without_dead(graph.replace(inputs=inputs), caster.nodes, caster.constants, outputs)


def _casts_first(nodes: Sequence[Node]) -> Iterator[Node]:
    """What a product reads is cast before it is transposed.

    onnxruntime 1.32 takes a transpose into the product, and crashes where a cast stands between them.
    """
    producers = {node.output: node for node in nodes if node.op in ("AsType", "Transpose")}
    for node in nodes:
        inputs = list(node.inputs) if node.op in ("Matmul", "Linear") else []
        for index, value in enumerate(inputs):
            cast = producers.get(value)
            turned = producers.get(cast.inputs[0]) if cast is not None and cast.op == "AsType" else None
            if cast is None or turned is None or turned.op != "Transpose":
                continue
            b = Builder()
            x = b("AsType", turned.inputs[0], **cast.attrs)
            inputs[index] = b("Transpose", x, **turned.attrs)
            yield from b.nodes
        yield Node(node.op, tuple(inputs), node.outputs, node.attrs) if inputs else node


class _Caster(Builder):
    def __init__(self, graph: Graph):
        super().__init__()
        self.constants = dict(graph.constants)
        self.replaced: dict[Value, Value] = {}
        self.casts: dict[tuple[Value, str, bool], Value] = {}
        self.turned: set[Value] = set()  # by transposes that move the first axis

    def now(self, value: Value) -> Value:
        return self.replaced.get(value, value)

    def edge(self, value: Value) -> Value:
        """An input as callers give it."""
        if value.dtype != "bfloat16":
            return value
        given = Value(value.name, value.shape, "float32")
        self.replaced[value] = self("AsType", given, dtype="bfloat16")
        return given

    def add(self, node: Node, opset: int) -> None:
        inputs = tuple(self.now(value) for value in node.inputs)
        if node.op == "Reduce":
            inputs = (self._reducible(inputs[0], node.attrs, opset),)
        if not inputs:
            self.nodes.append(node)
            return
        subject = inputs[SUBJECTS.get(node.op, 0)].dtype
        allowed = kernel_types(node, opset)
        if node.op == "Transpose" and node.attrs["axes"][0] != 0:
            self.turned.update(node.outputs)
        if node.op in ("Matmul", "Linear") and self.turned & set(inputs):
            allowed -= {"float16"}  # onnxruntime 1.32 crashes where it casts between the two by itself
        if subject in allowed or node.op == "AsType":
            self.nodes.append(Node(node.op, inputs, node.outputs, node.attrs))
            return
        wide = next((dtype for dtype in WIDER[subject] if dtype in allowed), None)
        if wide is None:
            raise UnsupportedOp(f"onnxruntime has no {node.op} of {subject}")
        shifted = (
            subject == "uint64" and node.op in ORDERING and node.attrs.get("kind") not in ("sum", "prod")
        )
        fixed = RULES[node.op].constants
        free = range(SUBJECTS.get(node.op, 0), len(inputs))  # the condition of Select stays
        inputs = tuple(
            self._cast(value, wide, shifted, index in fixed)
            if value.dtype == subject and index in free
            else value
            for index, value in enumerate(inputs)
        )
        attrs = {name: wide if attr == subject else attr for name, attr in node.attrs.items()}
        results = self.outputs(node.op, *inputs, **attrs)
        for old, new in zip(node.outputs, results, strict=True):
            self.replaced[old] = new if old.dtype == new.dtype else self._back(new, subject, shifted)

    def _reducible(self, x: Value, attrs: Mapping[str, object], opset: int) -> Value:
        """Sums in the result's type, conditions of bool."""
        if attrs["kind"] in ("and", "or") and x.dtype != "bool":
            condition = Value("condition", x.shape, "bool")
            self.add(Node("NotEqual", (x, self.constant(0, dtype=x.dtype)), (condition,)), opset)
            return self.now(condition)
        if attrs["kind"] in ("sum", "prod", "mean") and x.dtype != attrs["dtype"]:
            return self("AsType", x, dtype=attrs["dtype"])
        return x

    def _cast(self, value: Value, wide: str, shifted: bool, fixed: bool) -> Value:
        key = (value, wide, shifted)
        if key not in self.casts:
            if fixed and value in self.constants:
                self.casts[key] = self.constant(self.constants[value], value.name, dtype=wide)
            else:
                cast = self("AsType", value, dtype=wide)
                self.casts[key] = self("Add", cast, self._middle()) if shifted else cast
        return self.casts[key]

    def _back(self, value: Value, dtype: str, shifted: bool) -> Value:
        return self("AsType", self("Add", value, self._middle()) if shifted else value, dtype=dtype)

    def _middle(self) -> Value:
        """Added to the bits of uint64 it makes an int64 of the same order, and the other way round."""
        return self.constant(np.iinfo(np.int64).min, dtype="int64")


__all__ = ["KERNELS", "kernel_types", "with_kernels"]

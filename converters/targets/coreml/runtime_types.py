"""Element types that Core ML computes with: float16, float32, int32 and, where an op takes it, bool.

    y = Add(a, b)          of uint8        ->      y = Remainder(Add(a, b), 256)         of int32
    y = Gather(x, i)       of bool         ->      y = NotEqual(Gather(AsType(x, int32), i), 0)
    y = Gather(x, i)       i may be < 0    ->      y = Gather(x, Select(i < 0, i + size, i))

Small integers wrap around as MLX's do. uint32 keeps its bits, and is ordered and converted as unsigned. 64
bits become 32: larger numbers are beyond Core ML.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from converters.errors import UnsupportedOp
from converters.graph import Builder, Graph, Node, Value
from converters.ops.integer import STORED
from converters.precision import narrowed
from converters.sizes import AnySize
from converters.targets.coreml.writer import CAST_NAMES

SMALL = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}  # bits
NARROWED = dict.fromkeys((*SMALL, "uint32", "int64", "uint64"), "int32")
FLOATS = frozenset({"float16", "float32"})
NUMBERS = FLOATS | {"int32"}
LOGICAL = frozenset({"bool"})
ANY = NUMBERS | LOGICAL


def _each(names: str, types: frozenset[str]) -> dict[str, frozenset[str]]:
    return dict.fromkeys(names.split(), types)


DOMAINS: dict[str, frozenset[str]] = {  # all else: FLOATS
    **_each("Add Subtract Multiply Negative Abs Sign Square Maximum Minimum FloorDivide Remainder", NUMBERS),
    **_each("Equal NotEqual Less LessEqual Greater GreaterEqual Power Matmul", NUMBERS),
    **_each("Gather GatherAxis GatherND ScatterND ScatterAxis Sort ArgSort Partition ArgPartition", NUMBERS),
    **_each("Reduce ArgReduce Scan", NUMBERS),
    **_each("Reshape Transpose Concatenate Split Slice Broadcast Select AsType Dimension Arange", ANY),
    **_each("DynamicSlice DynamicSliceUpdate", ANY),
    **_each("Dequantize LookUp ScaleCodes", ANY),
    **_each("LogicalAnd LogicalOr LogicalNot", LOGICAL),
}
COMPARISONS = frozenset(["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"])
POSITIONS = {"Gather": 1, "GatherAxis": 1, "GatherND": 1, "ScatterND": 1, "ScatterAxis": 1}  # the operand
SORTS = frozenset({"Sort", "ArgSort", "Partition", "ArgPartition"})
ORDERED = COMPARISONS - {"Equal", "NotEqual"} | {"Maximum", "Minimum"} | SORTS
BY_KIND = frozenset({"Reduce", "ArgReduce", "ScatterND", "ScatterAxis"})
DIVISIONS = frozenset({"FloorDivide", "Remainder"})
COUNTING = frozenset({"ArgReduce", "ArgSort", "ArgPartition", "Dimension"})  # give positions or sizes
PICKING = frozenset({"Reshape", "Transpose", "Slice", "Split", "Broadcast", "Repeat", "Sort", "Partition"})
JOINING = frozenset({"Concatenate", "Minimum", "Multiply", "Add"})
KEPT_IN_RANGE = PICKING | COUNTING | {"Concatenate", "Minimum", "Maximum", "Select", "Remainder"}


def in_runtime_types(graph: Graph, ios: int) -> Graph:
    """The graph in Core ML's types, inputs and outputs included.

    Raises:
        UnsupportedOp: complex numbers or float64.
    """
    return _Typer(graph, ios).run()


class _Typer(Builder):
    def __init__(self, graph: Graph, ios: int):
        super().__init__()
        self.graph, self.ios = graph, ios
        self.now: dict[Value, Value] = {}
        self.counted: dict[Value, bool] = {}
        self.casts: dict[tuple[Value, str], Value] = {}

    def run(self) -> Graph:
        inputs = [self._edge(value) for value in self.graph.inputs]
        codes = {node.inputs[0] for node in self.graph.nodes if node.op in STORED}
        for old, array in self.graph.constants.items():
            dtype = old.dtype if old in codes else self._type(old)
            self.now[old] = self.constant(_in_32_bits(array, dtype, old.name), old.name)
        for node in self.graph.nodes:
            self._add(node)
        outputs = {}
        for name, old in self.graph.outputs.items():
            value = self.now[old]
            value = self("AsType", value, dtype="int32") if value.dtype == "bool" else value
            outputs[name] = value if value.shape else self("Reshape", value, shape=(1,))
        return self.graph.replace(
            inputs=tuple(inputs), outputs=outputs, nodes=tuple(self.nodes), constants=self.constants
        )

    def _type(self, value: Value) -> str:
        dtype = NARROWED.get(value.dtype, value.dtype)
        if dtype not in CAST_NAMES:
            raise UnsupportedOp(f"Core ML has no {value.dtype}", hint="compute this part outside")
        return dtype

    def _edge(self, old: Value) -> Value:
        """An input as callers give it, with at least one axis."""
        dtype = self._type(old)
        if dtype != "bool":
            given = Value(old.name, old.shape or (1,), dtype)
            self.now[old] = given if old.shape else self("Reshape", given, shape=())
            return given
        given = Value(old.name, old.shape or (1,), "int32")
        truth = self("NotEqual", given, self.constant(0, dtype="int32"))
        self.now[old] = truth if old.shape else self("Reshape", truth, shape=())
        return given

    def _add(self, node: Node) -> None:
        if node.op == "Reduce" and (node.attrs["kind"] in ("and", "or") or node.attrs["dtype"] == "bool"):
            self.now[node.output] = self._quantified(node)
            return
        operands = [self.now[value] for value in node.inputs]
        if node.op in POSITIONS:
            self._count_from_front(node, operands)
        special = self._unsigned(node, operands) if node.inputs and node.inputs[0].dtype == "uint32" else None
        if node.op == "View":
            special = self._wrap(operands[0], node.output.dtype)
        if node.op == "AsType":
            special = self._converted(node, operands[0])
        if special is not None:
            self.now[node.output] = special
            return
        domain = DOMAINS.get(node.op, FLOATS)
        free = range(1 if node.op == "Select" else 0, len(operands))
        if node.op in STORED:
            free = range(0)
        flipped = _orders(node) and node.inputs[0].dtype == "uint32" and not self._all_counted(node.inputs)
        for index in free:
            if index != POSITIONS.get(node.op):
                operands[index] = self._fit(operands[index], domain)
                operands[index] = self._flip(operands[index]) if flipped else operands[index]
        self._emit(node, operands, flipped)

    def _emit(self, node: Node, operands: list[Value], flipped: bool) -> None:
        attrs = {n: NARROWED.get(a, a) if isinstance(a, str) else a for n, a in node.attrs.items()}
        if node.op == "Reduce" and operands[0].dtype != attrs["dtype"]:
            operands = [self._cast(operands[0], attrs["dtype"])]
        outputs = [Value(old.name, old.shape, self._computed(node, old, operands)) for old in node.outputs]
        self.nodes.append(Node(node.op, tuple(operands), tuple(outputs), attrs))
        for old, new in zip(node.outputs, outputs, strict=True):
            if flipped and old.dtype == "uint32" and node.op not in COUNTING:
                new = self._flip(new)
            value = self._fit(new, frozenset({self._type(old)}))
            self.now[old] = value if node.op in KEPT_IN_RANGE else self._wrap(value, old.dtype)

    def _computed(self, node: Node, old: Value, operands: list[Value]) -> str:
        """The type that Core ML's op gives: its operand's, except where it has one of its own."""
        if node.op in COMPARISONS:
            return "bool"
        if not operands or node.op in STORED or node.op in COUNTING or "dtype" in node.attrs:
            return self._type(old)
        return operands[1 if node.op == "Select" else 0].dtype

    def _quantified(self, node: Node) -> Value:
        """Whether all or any are true: the least or the largest of zeros and ones."""
        x = self.now[node.inputs[0]]
        if node.inputs[0].dtype != "bool":
            x = self("NotEqual", x, self.constant(0, dtype=x.dtype))
        kind = "min" if node.attrs["kind"] in ("and", "min") else "max"
        numbers = self._cast(x, "int32")
        if not node.attrs["axes"]:
            return x
        return self._truth(self("Reduce", numbers, **{**node.attrs, "kind": kind, "dtype": "int32"}))

    def _fit(self, value: Value, domain: Iterable[str]) -> Value:
        """The value in a type of the domain."""
        if value.dtype in domain:
            return value
        if domain == frozenset({"bool"}):
            return self._truth(value)
        return self._cast(value, next(d for d in ("int32", "float32", "float16", "bool") if d in domain))

    def _cast(self, value: Value, dtype: str) -> Value:
        if value.dtype == dtype:
            return value
        if (value, dtype) not in self.casts:
            self.casts[value, dtype] = self("AsType", value, dtype=dtype)
        return self.casts[value, dtype]

    def _truth(self, value: Value) -> Value:
        return (
            value if value.dtype == "bool" else self("NotEqual", value, self.constant(0, dtype=value.dtype))
        )

    def _converted(self, node: Node, x: Value) -> Value:
        before, after = node.inputs[0], node.output
        dtype = self._type(after)
        if after.dtype == "bool":
            return self._truth(x)
        if before.dtype == "uint32" and dtype in FLOATS and not self._is_counted(before):
            half = self.constant(2**16, dtype="int32")  # both halves are exact in float32, and rounded once
            high, low = self("Remainder", self("FloorDivide", x, half), half), self("Remainder", x, half)
            high = self("Multiply", self._cast(high, "float32"), self.constant(2.0**16, dtype="float32"))
            return self._cast(self("Add", high, self._cast(low, "float32")), dtype)
        y = self._cast(x, dtype)
        fits = before.dtype in ("bool", after.dtype) or (
            before.dtype == "uint8" and after.dtype.endswith("int16")
        )
        return y if fits else self._wrap(y, after.dtype)

    def _wrap(self, value: Value, dtype: str) -> Value:
        bits = SMALL.get(dtype)
        if bits is None:
            return value
        whole = self.constant(2**bits, dtype="int32")
        if dtype.startswith("u"):
            return self("Remainder", value, whole)
        half = self.constant(2 ** (bits - 1), dtype="int32")
        return self("Subtract", self("Remainder", self("Add", value, half), whole), half)

    def _unsigned(self, node: Node, operands: list[Value]) -> Value | None:
        """uint32 where int32 would take large numbers for negative ones."""
        zero = self.constant(0, dtype="int32")
        if node.op == "Abs":
            return operands[0]
        if node.op == "Sign":
            return self("AsType", self("NotEqual", operands[0], zero), dtype="int32")
        if node.op not in DIVISIONS or self._all_counted(node.inputs):
            return None
        x, y = operands
        quotient = self._unsigned_quotient(x, y, zero)
        return quotient if node.op == "FloorDivide" else self("Subtract", x, self("Multiply", quotient, y))

    def _unsigned_quotient(self, x: Value, y: Value, zero: Value) -> Value:
        """Half of x by y, doubled, and one more where the rest allows; 0 or 1 by 2^31 and more."""
        one, two = (self.constant(number, dtype="int32") for number in (1, 2))
        half = self("FloorDivide", x, two)
        half = self("Select", self("Less", x, zero), self._flip(half), half)
        divisor = self("Select", self("Greater", y, zero), y, one)
        doubled = self("Multiply", self("FloorDivide", half, divisor), two)
        rest = self("Subtract", x, self("Multiply", doubled, y))

        def once(value: Value) -> Value:
            fits = self("GreaterEqual", self._flip(value), self._flip(y))
            return self("AsType", fits, dtype="int32")

        return self("Select", self("Less", y, zero), once(x), self("Add", doubled, once(rest)))

    def _flip(self, value: Value) -> Value:
        """Bits of uint32 as an int32 of the same order, and the other way round."""
        return self("Add", value, self.constant(np.iinfo(np.int32).min, dtype="int32"))

    def _count_from_front(self, node: Node, operands: list[Value]) -> None:
        place = POSITIONS[node.op]
        old, indices = node.inputs[place], operands[place]
        operands[place] = indices = self._cast(indices, "int32")
        if self.ios < 17 or old.dtype.startswith("uint") or self._is_counted(old):
            return
        x = node.inputs[0]
        if node.op in ("GatherND", "ScatterND"):
            sizes = x.shape[: int(old.shape[-1])]  # type: ignore[arg-type]
        else:
            sizes = (x.shape[node.attrs.get("axis", 0)],)
        negative = self("Less", indices, self.constant(0, dtype="int32"))
        operands[place] = self("Select", negative, self("Add", indices, self._sizes(sizes)), indices)

    def _sizes(self, sizes: tuple[AnySize, ...]) -> Value:
        """A scalar, or a vector, of sizes."""
        if all(isinstance(size, int) for size in sizes):
            numbers = np.array(sizes, np.int32)
            return self.constant(numbers if len(sizes) > 1 else numbers.reshape(()))
        parts = [self("Dimension", size=size, dtype="int32") for size in sizes]
        if len(parts) == 1:
            return parts[0]
        return self("Concatenate", *(self("Reshape", part, shape=(1,)) for part in parts), axis=0)

    def _all_counted(self, values: Iterable[Value]) -> bool:
        return all(self._is_counted(value) for value in values)

    def _is_counted(self, value: Value) -> bool:
        """Whether every element is known to be at least zero (as int32)."""
        if value not in self.counted:
            self.counted[value] = False  # while it is being found out
            self.counted[value] = self._find_counted(value)
        return self.counted[value]

    def _find_counted(self, value: Value) -> bool:
        if value.dtype in ("bool", "uint8", "uint16"):
            return True
        if value in self.graph.constants:
            array = self.graph.constants[value]
            return array.dtype.kind in "iu" and bool(np.all((array >= 0) & (array < 2**31)))
        node = self.graph.producers.get(value)
        if node is None:
            return False
        if node.op in COUNTING:
            return True
        if node.op == "Arange":
            start, step = node.attrs["start"], node.attrs["step"]
            return step >= 0 and (not isinstance(start, int) or start >= 0) and _is_count(start)
        if node.op == "AsType":
            return not node.inputs[0].dtype.startswith("float") and self._is_counted(node.inputs[0])
        if node.op == "Maximum":
            known = [self._is_counted(operand) for operand in node.inputs]
            return all(known) if value.dtype == "uint32" else any(known)
        if node.op in ("Remainder", "FloorDivide"):
            return self._is_counted(node.inputs[1]) and (
                node.op == "Remainder" or self._is_counted(node.inputs[0])
            )
        if node.op == "Select":
            return self._all_counted(node.inputs[1:])
        if node.op in ("Gather", "GatherAxis", "GatherND"):
            return self._is_counted(node.inputs[0])
        return node.op in PICKING | JOINING and self._all_counted(node.inputs)


def _orders(node: Node) -> bool:
    """Whether the result depends on which of two numbers is larger."""
    return node.op in ORDERED or (node.op in BY_KIND and node.attrs["kind"] in ("max", "min"))


def _is_count(size: object) -> bool:
    """Whether a start given as a formula of sizes is never below zero: all its terms are positive."""
    return isinstance(size, int | float) or all(factor > 0 for _, factor in getattr(size, "terms", ()))


def _in_32_bits(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """uint32 keeps its bits; limits of 64 bits become those of 32.

    Raises:
        UnsupportedOp: other integers beyond 32 bits.
    """
    if dtype != "int32" or array.dtype not in (np.uint32, np.int64, np.uint64):
        return narrowed(array, dtype)
    if array.dtype == np.uint32:
        return array.view(np.int32)
    limits, wide = np.iinfo(np.int32), np.iinfo(array.dtype)
    fitting = np.clip(array, limits.min, limits.max)
    if np.any((fitting != array) & (array != wide.max) & (array != wide.min)):
        far = max(int(array.min()), int(array.max()), key=abs)
        raise UnsupportedOp(
            f"Core ML has no integers beyond 32 bits; {name} of {array.dtype.name} holds {far:,}"
        )
    return fitting.astype(np.int32)


__all__ = ["in_runtime_types"]

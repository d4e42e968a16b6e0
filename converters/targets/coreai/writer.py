"""Building one function: values, constants, and sizes that are computed when the model runs.

What can be computed from constants is computed here, by NumPy: Core AI's own folder gives other numbers for
some operations (equal to infinity, gather at a negative place, the maximum of nan), and ends the process for
gelu. `Writer.op` therefore leaves no operation on constants alone to it, but for those that repeat or unpack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Graph, Node, Value, isolated
from converters.ops import OPS
from converters.ops.elementwise import ELEMENTWISE
from converters.ops.integer import STORED
from converters.ops.shape import unit_change
from converters.sizes import AnySize, Monomial, Shape, Size, is_static, sizes_in
from converters.targets.coreai import beta
from converters.targets.coreai.beta import Handle
from converters.targets.coreai.folding import folded

UNPACKING = frozenset({"BroadcastTo", "BlockwiseShiftScale", "LutToDense"})  # smaller before than afterwards


def place(array: np.ndarray) -> int:
    """Where the array's memory begins."""
    return array.__array_interface__["data"][0]


class Writer:
    """One graph being written. Rules call `op`, `ref` and `give`."""

    def __init__(self, graph: Graph, function: beta.Function):
        self.graph, self.function = graph, function
        self.handles: dict[Value, Handle] = {value: function.arguments[value.name] for value in graph.inputs}
        self.known: dict[Value, np.ndarray] = dict(graph.constants)
        self._fixed: dict[Handle, np.ndarray] = {}
        self._small: dict[Any, Handle] = {}
        self._sizes: dict[AnySize | tuple[AnySize, ...], Handle] = {}
        self._solving: set[str] = set()
        self._reshaped: set[Handle] = set()
        self._made: dict[Any, Any] = {}
        self._node: Node | None = None

    @cached_property
    def places(self) -> dict[int, list[Value]]:
        """The graph's constants by where their memory begins."""
        found: dict[int, list[Value]] = {}
        for value, array in self.graph.constants.items():
            found.setdefault(place(array), []).append(value)
        return found

    def add(self, node: Node, emit: Callable[[Writer, Node], None]) -> None:
        """Compute the node's outputs now where only constants decide, else by `emit`."""
        static = all(is_static(value.shape) for value in node.outputs)
        sized = any(True for attr in node.attrs.values() for _ in sizes_in(attr))
        if static and not sized and node.op not in STORED and all(v in self.known for v in node.inputs):
            arrays = OPS[node.op].evaluate([self.known[value] for value in node.inputs], node.attrs)
            self.known.update(zip(node.outputs, arrays, strict=True))
            return
        self._node = node
        emit(self, node)
        self._node = None

    def ref(self, value: Value) -> Handle:
        """The handle of a value."""
        if value in self.known and value not in self.handles:
            self.handles[value] = self._array(self.known[value])
        return self.handles[value]

    def _array(self, array: np.ndarray) -> Handle:
        """A constant; what is repeated is stored once."""
        inner = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
        if inner.size == array.size:
            return self.constant(array)
        handle = self.op("BroadcastTo", self.constant(inner), np.array(array.shape, np.uint32))
        self._fixed[handle] = array
        return handle

    def constant(self, array: Any, dtype: str | None = None) -> Handle:
        """The handle of a constant; equal small ones are shared."""
        array = np.asarray(array) if dtype is None else np.asarray(array).astype(numpy_dtype(dtype))
        key = (array.shape, array.dtype.name, array.tobytes()) if array.size <= 64 else (id(array),)
        if key not in self._small:
            self._small[key] = self.function.constant(array)
            self._fixed[self._small[key]] = array  # which keeps it, so that its id stays its own
        return self._small[key]

    def codes(self, array: np.ndarray, bits: int) -> Handle:
        """A constant of packed unsigned codes."""
        return self.function.codes(array, bits)

    def op(self, kind: str, *operands: Any, **more: Any) -> Any:
        """The result of an operation; arrays among the operands become constants.

        Equal operations are written once: where Core AI's optimiser joins two equal scans, the runtime loses
        the result after its first use.
        """
        handles = [self._operand(operand) for operand in operands]
        flat = [h for handle in handles for h in (handle if isinstance(handle, list) else [handle])]
        if kind.startswith("Broadcasting"):
            handles = flat = [self._repeated(handle) for handle in flat]
        if kind in UNPACKING or not all(handle in self._fixed for handle in flat):
            key = kind, *(tuple(h) if isinstance(h, list) else h for h in handles), str(more)
            if key not in self._made:
                self._made[key] = beta.operation(kind, *handles, **more)
                self._reshaped |= self._carried(self._made[key], flat)
            return self._made[key]
        assert flat == handles, f"{kind} of constants alone"
        array = folded(kind, [self._fixed[handle] for handle in flat], more.get("result", (None,))[0])
        assert array is not None, f"{kind} of constants alone"
        return self.constant(array)

    def _repeated(self, handle: Handle) -> Handle:
        """A reshaped array of known sizes, repeated before it meets one of computed sizes: Core AI moves the
        reshape behind the operation, with the sizes that it had before."""
        node = self._node
        if handle not in self._reshaped or node is None or node.op not in ELEMENTWISE:
            return handle
        if is_static(node.output.shape):
            return handle
        return beta.operation(
            "BroadcastTo", handle, self._operand(self.shape(node.output.shape, unsigned=True))
        )

    def _carried(self, result: Any, operands: Sequence[Handle]) -> set[Handle]:
        """The result, where a reshape of an operand may be moved behind it, and on from there."""
        results = set(result) if isinstance(result, list) else {result}
        if self._node is None or self._node.op not in ELEMENTWISE or self._reshaped.isdisjoint(operands):
            return set()
        return {handle for handle in results if None not in beta.shape_of(handle)}

    def _operand(self, operand: Any) -> Any:
        if isinstance(operand, np.ndarray | np.generic):
            return self.constant(operand)
        return operand

    def give(self, value: Value, handle: Handle) -> None:
        """Let the value be what the handle is; sizes that the package did not infer are stated."""
        self.handles[value] = self.stated(handle, value.shape)

    def stated(self, handle: Handle, shape: Shape) -> Handle:
        """The handle with the sizes that are known here."""
        found = beta.shape_of(handle)
        assert len(found) == len(shape), (found, shape)
        known = [size if isinstance(size, int) else got for size, got in zip(shape, found, strict=True)]
        return handle if list(found) == known else beta.sized(handle, known)

    def cast(self, handle: Handle, dtype: str) -> Handle:
        """The elements as another type."""
        return self.op("Cast", handle, result=(dtype, beta.shape_of(handle)))

    def like(self, number: Any, value: Value) -> Handle:
        """A scalar of the value's element type."""
        return self.constant(number, value.dtype)

    def reshaped(self, handle: Handle, before: Shape, after: Shape) -> Handle:
        """The elements in another shape.

        Axes of one element come and go by operations of their own: Core AI moves a reshape of computed sizes
        behind what follows it, with the sizes that it had before. One size is left to the runtime: no axis is
        empty here.
        """
        axes = unit_change(before, after)
        if axes is not None:
            kind = "ExpandDims" if len(after) > len(before) else "ShrinkDims"
            result = self.stated(self.op(kind, handle, np.array(axes, np.int32)), after)
        else:
            named = [size for size in after if not isinstance(size, int)]
            target: Any = np.array([size if isinstance(size, int) else -1 for size in after], np.int32)
            if len(named) > 1:
                target = self.shape(after)
            result = self.stated(self.op("Reshape", handle, target), after)
        if is_static(after) and result not in self._fixed:
            self._reshaped.add(result)
        return result

    def shape(self, shape: Shape, unsigned: bool = False) -> Any:
        """A vector with the sizes, si32 (ui32 where `unsigned`)."""
        if is_static(shape):
            return np.array(shape, np.uint32 if unsigned else np.int32)
        if shape not in self._sizes:
            parts = [self.size(size) for size in shape]
            self._sizes[shape] = (
                parts[0]
                if len(parts) == 1
                else self.op("Concat", np.int32(0), [self._operand(part) for part in parts])
            )
        vector = self._sizes[shape]
        return self.op("Cast", vector, result=("uint32", [len(shape)])) if unsigned else vector

    def size(self, size: AnySize) -> Any:
        """A vector of one si32 with the value of a size."""
        if isinstance(size, int):
            return np.array([size], np.int32)
        if size not in self._sizes:
            self._sizes[size] = self._polynomial(size)
        return self._sizes[size]

    def scalar(self, size: AnySize) -> Any:
        """The same without axes."""
        if isinstance(size, int):
            return np.array(size, np.int32)
        return self.op("ShrinkDims", self.size(size), np.zeros(1, np.int32))

    def real(self, size: Size) -> Handle:
        """A float32 without axes with the value of a size, which may pass 32 bits: the number of an array's
        elements, and its square."""
        total: Any = None
        for monomial, factor in size.terms:
            term: Any = np.float32(factor)
            for name in monomial:
                known = self.op("Cast", self.scalar(Size.of(name)), result=("float32", []))
                term = self.op("BroadcastingMul", known, term)
            total = term if total is None else self.op("BroadcastingAdd", total, term)
        return self._operand(total)

    def _polynomial(self, size: Size) -> Handle:
        source = self._source(size)
        if source is not None:
            return source
        scale = int(np.lcm.reduce([factor.denominator for _, factor in size.terms]))
        total: Any = None
        for monomial, factor in size.terms:
            term = self._term(monomial, int(factor * scale))
            total = term if total is None else self.op("BroadcastingAdd", total, term)
        return total if scale == 1 else self.op("BroadcastingFloorDivide", total, self._one(scale))

    def _term(self, monomial: Monomial, factor: int) -> Any:
        total: Any = None
        for name in monomial:
            known = self.size(Size.of(name))
            total = known if total is None else self.op("BroadcastingMul", total, known)
        if total is None:
            return self._one(factor)
        return total if factor == 1 else self.op("BroadcastingMul", total, self._one(factor))

    def _one(self, number: int) -> np.ndarray:
        return np.array([number], np.int32)

    def _source(self, size: Size) -> Handle | None:
        """The size read from an input's shape, where it stands there (or can be solved for a single name)."""
        for value in self.graph.inputs:
            if size in value.shape:
                return self._axis(value, value.shape.index(size))
        if len(size.names()) == 1 and size == Size.of(next(iter(size.names()))):
            return self._solved(*size.names())
        return None

    def _axis(self, value: Value, axis: int) -> Handle:
        """All sizes of an array come apart at once: Core AI's optimiser moves slices of them behind what they
        are added to, joins what then is equal, and the runtime loses that after its first use."""
        rank = len(value.shape)
        sizes = self.op("Cast", self.op("GetShape", self.handles[value]), result=("int32", [rank]))
        if rank == 1:
            return sizes
        return self.op("Split", sizes, np.ones(rank, np.uint32), np.int32(0))[axis]

    def _solved(self, name: str) -> Handle:
        """A name that stands alone nowhere: from a size in which the others are known."""
        self._solving.add(name)
        slope, rest, value, axis = isolated(self.graph, name, self._solving)
        size = self._axis(value, axis)
        if rest != 0:
            size = self.op("BroadcastingSub", size, self.size(rest))
        if slope != 1:
            size = self.op("BroadcastingFloorDivide", size, self.size(slope))
        self._solving.remove(name)
        return size

    def transposed(self, handle: Handle, axes: Sequence[int]) -> Handle:
        """The axes in another order."""
        if list(axes) == list(range(len(axes))):
            return handle
        return self.op("Transpose", handle, np.array(axes, np.uint32))

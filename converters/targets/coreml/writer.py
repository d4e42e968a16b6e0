"""Building one MIL function: names, constants, operations, and sizes that are computed when the model runs.

Every parameter is written out as a constant, also where Core ML documents a default: loaders of some
systems insist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.graph import Graph, Node, Value, isolated
from converters.sizes import AnySize, Shape, Size, is_static
from converters.targets.coreml.blob import NARROW, BlobFile, packed_codes
from converters.targets.coreml.schema import mil_schema

DATA_TYPES = {
    "bool": "BOOL",
    "string": "STRING",
    "float16": "FLOAT16",
    "float32": "FLOAT32",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    **{f"uint{bits}": f"UINT{bits}" for bits in NARROW},
}
CAST_NAMES = {"float16": "fp16", "float32": "fp32", "int32": "int32", "bool": "bool"}
IN_BLOB = ("float16", "float32", "int8", "uint8")
BLOB_LIMIT = 10  # elements; smaller tensors stand in the program itself


class Ref(str):
    """The name of a value in the program, as opposed to a string constant."""


def identifier(name: str) -> str:
    """`name` as Core ML takes it: letters, digits and underscores, no digit in front."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{text}" if not text or text[0].isdigit() else text


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Original names to identifiers; ConversionError where two become one."""
    chosen: dict[str, str] = {}
    for name in names:
        text = identifier(name)
        for other, taken in chosen.items():
            if taken == text and other != name:
                raise ConversionError(
                    f"{other!r} and {name!r} are both {text!r} in Core ML", hint="rename one of them"
                )
        chosen[name] = text
    return chosen


class Writer:
    """One function being written. Rules call `emit` and `op`.

    Attributes:
        ios: the oldest system that must run it.
        public: identifiers of the inputs and outputs by their original names.
    """

    def __init__(self, graph: Graph, ios: int, blob: BlobFile, public: Mapping[str, str]):
        self.graph, self.ios, self.blob, self.public = graph, ios, blob, public
        self.mil = mil_schema()
        self.operations: list[Any] = []
        self.names: dict[Value, Ref] = {}
        self._taken = set(public.values())
        self._constants: dict[tuple[Any, ...], Ref] = {}
        self._held: list[Any] = []
        self._solving: set[str] = set()
        self._sizes: dict[Any, Ref] = {}
        reserved = {value: public[name] for name, value in graph.outputs.items() if value in graph.producers}
        for value, wish in graph.names.items():
            if value in graph.inputs:
                self.names[value] = Ref(public[value.name])
            elif value in reserved:
                self.names[value] = Ref(reserved[value])
            else:
                self.names[value] = Ref(self.unique(identifier(wish)))

    def unique(self, wish: str) -> str:
        """A name that nothing has yet."""
        name, index = wish, 1
        while name in self._taken:
            name, index = f"{wish}_{index}", index + 1
        self._taken.add(name)
        return name

    def ref(self, value: Value) -> Ref:
        """The name of a value; a constant is written when it is first used."""
        if value in self.graph.constants:
            return self.constant(self.graph.constants[value], self.names[value])
        return self.names[value]

    def emit(self, kind: str, node: Node, **inputs: Any) -> None:
        """One operation that computes the outputs of `node`."""
        outputs = [(self.names[v], v.shape, v.dtype) for v in node.outputs]
        self._operation(kind, inputs, outputs)

    def op(self, kind: str, shape: Shape, dtype: str, /, name: str = "", **inputs: Any) -> Ref:
        """An operation in between; gives the name of its output."""
        output = Ref(self.unique(name or kind))
        self._operation(kind, inputs, [(output, shape, dtype)])
        return output

    def act(self, kind: str, name: str, /, **inputs: Any) -> None:
        """An operation that gives nothing."""
        self._operation(kind, inputs, [], name)

    def _operation(
        self, kind: str, inputs: Mapping[str, Any], outputs: Sequence[tuple[str, Shape, str]], name: str = ""
    ) -> None:
        bindings = {}
        for parameter, given in inputs.items():
            items = given if isinstance(given, list) and given and isinstance(given[0], Ref) else [given]
            wish = f"{name or outputs[0][0]}_{parameter}"
            bindings[parameter] = [i if isinstance(i, Ref) else self.constant(i, wish) for i in items]
        operation = self.mil.Operation(type=kind)
        for parameter, refs in bindings.items():
            for ref in refs:
                operation.inputs[parameter].arguments.add(name=ref)
        for output, shape, dtype in outputs:
            operation.outputs.add(name=output, type=self.tensor_type(shape, dtype))
        operation.attributes["name"].CopyFrom(self.immediate(np.array(name or outputs[0][0])))
        self.operations.append(operation)

    def constant(self, given: Any, wish: str = "const") -> Ref:
        """The name of a const operation; equal small ones are shared. Numbers are int32 and float32."""
        array = np.asarray(given)
        if array.dtype == np.int64:
            array = array.astype(np.int32)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        small = array.size < 64
        key = (array.shape, array.dtype.str, array.tobytes()) if small else (id(given),)
        if key not in self._constants:
            self._held.append(given)  # as long as it lives, its id is nobody else's
            name = Ref(wish if isinstance(wish, Ref) else self.unique(wish))
            self._const(name, self.stored(array))
            self._constants[key] = name
        return self._constants[key]

    def compressed(self, kind: str, node: Node, codes: str, bits: int = 8, **parameters: np.ndarray) -> None:
        """A constexpr operation that computes the output of `node`, a weight; its parameters are attributes
        before iOS 18 and operands from there on.

        Args:
            codes: the parameter that holds the codes, which take `bits` bits each.
        """
        operation = self.mil.Operation(type=kind)
        name = self.names[node.output]
        for parameter, array in parameters.items():
            narrow = bits if array.dtype == np.uint8 and parameter in (codes, "offset") else 8
            value = self.stored(array) if narrow == 8 else self._narrow(array, narrow)
            if self.ios < 18:
                operation.attributes[parameter].CopyFrom(value)
                continue
            wish = name if parameter == codes else f"{name}_{parameter}"
            operation.inputs[parameter].arguments.add(name=self._const(self.unique(f"{wish}_const"), value))
        operation.outputs.add(name=name, type=self.tensor_type(node.output.shape, node.output.dtype))
        operation.attributes["name"].CopyFrom(self.immediate(np.array(str(name))))
        self.operations.append(operation)

    def _narrow(self, codes: np.ndarray, bits: int) -> Any:
        value = self.mil.Value(type=self.tensor_type(codes.shape, NARROW[bits][0]))
        if codes.size < BLOB_LIMIT:
            value.immediateValue.tensor.bytes.values = packed_codes(codes, bits).tobytes()
        else:
            value.blobFileValue.fileName = "@model_path/weights/weight.bin"
            value.blobFileValue.offset = self.blob.add_narrow(codes, bits)
        return value

    def _const(self, name: str, value: Any) -> str:
        operation = self.mil.Operation(type="const")
        operation.outputs.add(name=name, type=value.type)
        operation.attributes["val"].CopyFrom(value)
        operation.attributes["name"].CopyFrom(self.immediate(np.array(name)))
        self.operations.append(operation)
        return name

    def stored(self, array: np.ndarray) -> Any:
        """A Value whose elements lie in the blob file, or in the program where they are few."""
        if array.size < BLOB_LIMIT or array.dtype.name not in IN_BLOB:
            return self.immediate(array)
        value = self.mil.Value(type=self.tensor_type(array.shape, array.dtype.name))
        value.blobFileValue.fileName = "@model_path/weights/weight.bin"
        value.blobFileValue.offset = self.blob.add(array)
        return value

    def immediate(self, array: np.ndarray) -> Any:
        """A Value with its elements in the program."""
        dtype = _dtype(array)
        value = self.mil.Value(type=self.tensor_type(array.shape, dtype))
        tensor = value.immediateValue.tensor
        if dtype == "string":
            tensor.strings.values.extend([str(array)])
        elif dtype == "bool":
            tensor.bools.values.extend(array.ravel().tolist())
        elif dtype == "float32":
            tensor.floats.values.extend(array.ravel().tolist())
        elif dtype in ("int32", "int16", "uint16"):
            tensor.ints.values.extend(array.ravel().tolist())
        else:
            tensor.bytes.values = np.ascontiguousarray(array).tobytes()
        return value

    def tensor_type(self, shape: Shape, dtype: str) -> Any:
        """A ValueType; named sizes are unknown dimensions."""
        kind = self.mil.ValueType()
        kind.tensorType.dataType = self.mil.DataType.Value(DATA_TYPES[dtype])
        kind.tensorType.rank = len(shape)
        for size in shape:
            dimension = kind.tensorType.dimensions.add()
            if isinstance(size, int):
                dimension.constant.size = size
            else:
                dimension.unknown.variadic = False
        return kind

    def widened(self, source: Ref, before: Shape, after: Shape, dtype: str) -> Ref:
        """The array `source` broadcast from one shape to another; as it is where they are equal."""
        if before == after:
            return source
        wide = (1,) * (len(after) - len(before)) + before
        if wide != before:
            source = self.op("reshape", wide, dtype, x=source, shape=self.shape(wide))
        repeats = tuple(1 if old == new else new for old, new in zip(wide, after, strict=True))
        return self.op("tile", after, dtype, x=source, reps=self.shape(repeats))

    def shape(self, shape: Shape) -> Ref:
        """An int32 vector of the sizes, computed from the inputs' shapes where they are named."""
        if is_static(shape):
            return self.constant(np.array(shape, np.int32), "shape")
        if ("shape", shape) not in self._sizes:
            parts = [self.size(size) for size in shape]
            joined = self.op("concat", (len(shape),), "int32", values=parts, axis=0, interleave=False)
            self._sizes["shape", shape] = joined
        return self._sizes["shape", shape]

    def size(self, size: AnySize) -> Ref:
        """An int32 vector of one element with the value of a size."""
        if isinstance(size, int):
            return self.constant(np.array([size], np.int32), "size")
        if size not in self._sizes:
            self._sizes[size] = self._source(size) or self._polynomial(size)
        return self._sizes[size]

    def _source(self, size: Size) -> Ref | None:
        for value in self.graph.inputs:
            if size in value.shape:
                return self._read(value, value.shape.index(size))
        if len(size.terms) == 1 and size == Size.of(next(iter(size.names()))):
            return self._solved(*size.names())
        return None

    def _read(self, value: Value, axis: int) -> Ref:
        sizes = self.op("shape", (len(value.shape),), "int32", x=self.names[value])
        bounds = {"begin": np.array([axis], np.int32), "end": np.array([axis + 1], np.int32)}
        return self.op("slice_by_index", (1,), "int32", name="size", x=sizes, **bounds, **slice_defaults(1))

    def _solved(self, name: str) -> Ref:
        self._solving.add(name)
        slope, rest, value, axis = isolated(self.graph, name, self._solving)
        size = self._read(value, axis)
        if rest != 0:
            size = self.op("sub", (1,), "int32", name="size", x=size, y=self.size(rest))
        if slope != 1:
            size = self.op("floor_div", (1,), "int32", name="size", x=size, y=self.size(slope))
        self._solving.remove(name)
        return size

    def _polynomial(self, size: Size) -> Ref:
        scale = int(np.lcm.reduce([factor.denominator for _, factor in size.terms]))
        total: Ref | None = None
        for monomial, factor in size.terms:
            term = self.constant(np.array([int(factor * scale)], np.int32), "factor")
            for name in monomial:
                term = self.op("mul", (1,), "int32", name="size", x=term, y=self.size(Size.of(name)))
            total = term if total is None else self.op("add", (1,), "int32", name="size", x=total, y=term)
        assert total is not None
        if scale == 1:
            return total
        return self.op("floor_div", (1,), "int32", name="size", x=total, y=np.array([scale], np.int32))


def slice_defaults(rank: int) -> dict[str, Any]:
    """The parameters of slice_by_index that leave everything as it is."""
    off = np.zeros(rank, bool)
    return {"stride": np.ones(rank, np.int32), "begin_mask": off, "end_mask": off, "squeeze_mask": off}


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype.kind == "U" else array.dtype.name

"""The program of a package, decoded: functions, blocks, operations, with their constants as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from converters.errors import LoadError
from converters.targets.coreml.package import BITS, Package, elements, storage_dtype

VERSIONS = {"CoreML5": 15, "CoreML6": 16, "CoreML7": 17, "CoreML8": 18, "CoreML9": 26}  # opset -> iOS

# Number of MIL's DataType -> its name.
DATA_TYPES = {
    1: "bool", 2: "string", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16", 21: "int8",
    22: "int16", 23: "int32", 24: "int64", 25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64",
    35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3", 40: "float8e4m3fn", 41: "float8e5m2",
}  # fmt: skip

# Field of TensorValue -> the types that it may hold; `bytes` may hold any.
FIELDS = {
    "floats": {"float32"},
    "doubles": {"float64"},
    "ints": {"int8", "uint8", "int16", "uint16", "int32"},
    "longInts": {"int64", "uint64"},
    "bools": {"bool"},
    "strings": {"string"},
}


@dataclass(frozen=True)
class Type:
    """What a value is declared to be.

    Attributes:
        kind: "tensor", "state", "list", "dictionary" or "tuple".
        dtype: of a tensor's or state's elements, of a list's or dictionary's entries.
        shape: of a tensor or state, of a list's entries; None is an unknown size, and instead of the tuple an
            unknown rank.
    """

    kind: str
    dtype: str
    shape: tuple[int | None, ...] | None = ()

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("?" if s is None else str(s) for s in self.shape)
        return f"{self.dtype} ({sizes})"


@dataclass(frozen=True)
class Constant:
    """An argument that is written into the operation: an array, a string, or a list of labels."""

    value: Any


Argument = tuple["str | Constant", ...]  # names of values, or constants; most parameters have exactly one


@dataclass(frozen=True)
class Operation:
    """One operation; `last_uses` are the values that nothing needs after it."""

    type: str
    name: str
    arguments: Mapping[str, Argument]
    outputs: tuple[tuple[str, Type], ...]
    blocks: tuple[Block, ...] = ()
    last_uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A sequence of operations with inputs of its own; it sees the values around it too."""

    inputs: tuple[tuple[str, Type], ...]
    constants: Mapping[str, Any]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def blocks(self) -> Iterator[Block]:
        """This block and those of its operations."""
        yield self
        for operation in self.operations:
            for block in operation.blocks:
                yield from block.blocks()

    def walk(self) -> Iterator[Operation]:
        """Every operation, those of nested blocks included."""
        for block in self.blocks():
            yield from block.operations


@dataclass(frozen=True)
class Function:
    """A function of the program; `ios` is the version whose operations it uses."""

    name: str
    ios: int
    inputs: Mapping[str, Type]
    body: Block


def read_function(package: Package, name: str) -> Function:
    """Decode one function.

    Raises:
        LoadError: an unknown opset, a value that is used before it is made, a constant that is not what it
            says.
    """
    proto = package.model.mlProgram.functions[name]
    where = f"{package.path}, function {name}"
    if proto.opset not in VERSIONS:
        raise LoadError(f"{where} needs opset {proto.opset!r}", hint=f"known are {', '.join(VERSIONS)}")
    if proto.opset not in proto.block_specializations:
        raise LoadError(f"{where} has no body for its opset {proto.opset}")
    reader = _Reader(package, where)
    inputs = {value.name: reader.type(value.type) for value in proto.inputs}
    body = reader.block(proto.block_specializations[proto.opset], set(inputs), dict(inputs))
    return Function(name, VERSIONS[proto.opset], inputs, body)


class _Reader:
    def __init__(self, package: Package, where: str):
        self.package, self.where = package, where

    def type(self, proto: Any) -> Type:
        kind = proto.WhichOneof("type")
        if kind == "tensorType":
            return self._tensor(proto.tensorType)
        if kind == "stateType":
            inner = self.type(proto.stateType.wrappedType)
            return Type("state", inner.dtype, inner.shape)
        if kind == "listType":
            inner = self.type(proto.listType.type)
            return Type("list", inner.dtype, inner.shape)
        if kind == "dictionaryType":
            return Type("dictionary", self.type(proto.dictionaryType.keyType).dtype)
        if kind == "tupleType":
            return Type("tuple", "tuple")
        raise LoadError(f"{self.where}: a value has no type")

    def _tensor(self, proto: Any) -> Type:
        dtype = DATA_TYPES.get(proto.dataType)
        if dtype is None:
            raise LoadError(f"{self.where}: element type {proto.dataType} is unknown")
        sizes: list[int | None] = []
        for dimension in proto.dimensions:
            if dimension.WhichOneof("dimension") == "constant":
                sizes.append(dimension.constant.size)
            elif dimension.unknown.variadic:
                return Type("tensor", dtype, None)
            else:
                sizes.append(None)
        if proto.rank not in (-1, len(sizes)):
            raise LoadError(f"{self.where}: a tensor of rank {proto.rank} has {len(sizes)} dimensions")
        return Type("tensor", dtype, tuple(sizes) if proto.rank >= 0 else None)

    def block(self, proto: Any, visible: set[str], inputs: Mapping[str, Type]) -> Block:
        known = visible | set(inputs)
        made: set[str] = set()
        constants: dict[str, Any] = {}
        operations = []
        for operation in proto.operations:
            if operation.type == "const":
                constants |= self._constant(operation)
            else:
                operations.append(self._operation(operation, known))
            new = {output.name for output in operation.outputs}
            if new & known or len(new) != len(operation.outputs):
                names = ", ".join(sorted(new & known)) or operation.type
                raise LoadError(f"{self.where}: {names} is made twice")
            known |= new
            made |= new - set(constants)
        outputs = tuple(proto.outputs)
        missing = [name for name in outputs if name not in known]
        if missing:
            raise LoadError(f"{self.where}: nothing makes the output {', '.join(missing)}")
        return Block(
            tuple(inputs.items()), constants, _with_last_uses(operations, made - set(outputs)), outputs
        )

    def _constant(self, proto: Any) -> dict[str, Any]:
        where = f"{self.where}: const {proto.outputs[0].name if proto.outputs else ''}".rstrip()
        if "val" not in proto.attributes or len(proto.outputs) != 1:
            raise LoadError(f"{where} has no value")
        declared = self.type(proto.outputs[0].type)
        value, actual = self.value(proto.attributes["val"], where)
        if (declared.dtype, declared.kind) != (actual.dtype, actual.kind) or not _fits(actual, declared):
            raise LoadError(f"{where} is declared {declared}, its value is {actual}")
        return {proto.outputs[0].name: value}

    def _operation(self, proto: Any, known: set[str]) -> Operation:
        outputs = tuple((output.name, self.type(output.type)) for output in proto.outputs)
        where = f"{self.where}: {proto.type} {outputs[0][0] if outputs else ''}".rstrip()
        attributes = {key: value for key, value in proto.attributes.items() if key != "name"}
        arguments: dict[str, Argument] = {}
        for key, value in attributes.items():  # constexpr operations before iOS 18 keep their operands here
            arguments[key] = (Constant(self.value(value, where)[0]),)
        for key, argument in proto.inputs.items():
            arguments[key] = tuple(self._binding(binding, known, where) for binding in argument.arguments)
        blocks = tuple(
            self.block(block, known, {v.name: self.type(v.type) for v in block.inputs})
            for block in proto.blocks
        )
        return Operation(proto.type, where, arguments, outputs, blocks)

    def _binding(self, proto: Any, known: set[str], where: str) -> str | Constant:
        if proto.WhichOneof("binding") == "value":
            return Constant(self.value(proto.value, where)[0])
        if proto.name not in known:
            raise LoadError(f"{where} needs {proto.name!r}, which nothing before it makes")
        return proto.name

    def value(self, proto: Any, where: str) -> tuple[Any, Type]:
        """A written value and its type: an array, for a rank-0 string the string, for a list a list."""
        declared = self.type(proto.type)
        if proto.WhichOneof("value") == "immediateValue":
            kind = proto.immediateValue.WhichOneof("value")
            if declared.kind == "list" and kind == "list":
                return [self.value(entry, where)[0] for entry in proto.immediateValue.list.values], declared
            if declared.kind == "tensor" and kind == "tensor":
                return self._immediate(proto.immediateValue.tensor, declared, where), declared
            raise LoadError(f"{where}: a {declared.kind} is written as {kind}")
        if proto.WhichOneof("value") != "blobFileValue" or declared.kind != "tensor":
            raise LoadError(f"{where} has no value")
        blob = proto.blobFileValue
        shape = _static(declared, where)
        if declared.dtype not in BITS:
            raise LoadError(f"{where}: {declared.dtype} cannot be in a weights file")
        return self.package.weight(blob.fileName, blob.offset, declared.dtype, shape), declared

    def _immediate(self, proto: Any, declared: Type, where: str) -> Any:
        shape, dtype = _static(declared, where), declared.dtype
        kind = proto.WhichOneof("value")
        count = math.prod(shape)
        if kind is None and count:
            raise LoadError(f"{where}: {declared} has no value")
        if kind is None:
            return np.zeros(shape, object if dtype == "string" else storage_dtype(dtype))
        values = getattr(proto, kind).values
        if kind == "bytes" and dtype in BITS:
            if len(values) != -(-count * BITS[dtype] // 8):
                raise LoadError(f"{where}: {declared} is written in {len(values)} bytes")
            return elements(np.frombuffer(values, np.uint8), dtype, shape)
        if dtype not in FIELDS.get(kind, ()):
            raise LoadError(f"{where}: {dtype} is written as {kind}")
        if len(values) != count:
            raise LoadError(f"{where}: {declared} is written with {len(values)} elements")
        if dtype == "string":
            return str(values[0]) if shape == () else np.array(list(values), object).reshape(shape)
        try:
            array = np.array(values, storage_dtype(dtype)).reshape(shape)
        except OverflowError as error:
            raise LoadError(f"{where}: {error}") from error
        array.flags.writeable = False
        return array


def _static(declared: Type, where: str) -> tuple[int, ...]:
    if declared.shape is None or None in declared.shape:
        raise LoadError(f"{where}: a constant of unknown shape")
    return tuple(size for size in declared.shape if size is not None)


def _fits(actual: Type, declared: Type) -> bool:
    if declared.shape is None or declared.kind != "tensor":
        return True
    sizes = actual.shape or ()
    return len(sizes) == len(declared.shape) and all(
        wanted in (None, size) for size, wanted in zip(sizes, declared.shape, strict=True)
    )


def _with_last_uses(operations: list[Operation], free: set[str]) -> tuple[Operation, ...]:
    """The operations, each with the values of `free` that it is the last to read (or that nobody reads)."""
    done = []
    for operation in reversed(operations):
        ends = [name for name in _reads(operation) if name in free]
        ends += [name for name, _ in operation.outputs if name in free]
        free = free - set(ends)
        done.append(replace(operation, last_uses=tuple(dict.fromkeys(ends))))
    return tuple(reversed(done))


def _reads(operation: Operation) -> Iterator[str]:
    for argument in operation.arguments.values():
        yield from (entry for entry in argument if isinstance(entry, str))
    for block in operation.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _reads(inner)

"""The only file that knows coreai-core's Python interface, which changes with every beta: `VERSION` is the
one it was written for.

Values of the dialect are opaque here and outside (`Handle`). An element type is given by its NumPy name, a
dimension that varies as None. `codes` packs what is smaller than a byte: the package's own constants of such
types hold other numbers.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError

VERSION = "1.0.0b3"
WRITTEN = ".written"  # ends the name of an output that only says that a state was written
SMALL = 1024  # bytes of a constant that each function has for itself
COLUMNS = 64  # of a matrix that are copied together, so that its lines stay in the processor's cache
PROGRAM, HASH, METADATA = "main.mlirb", "main.hash", "metadata.json"
Handle = Any
Sizes = Sequence[int | None]

# Operations whose result is not inferred: the adapter states it.
STATED = {
    "Cast": "output",
    "MaxPool2d": "output",
    "MaxPool3d": "output",
    "ScatterAlongAxis": "output",
    "ScatterNd": "output",
    "ConvTranspose2d": "output",
    "ConvTranspose3d": "output",
    "Sort": "result",
}


def require() -> None:
    """ConversionError with the command where the package is missing, or another version of it is there."""
    hint = "pip install 'edgevision[coreai]' (Linux on x86_64, macOS 26 or later on Apple silicon)"
    if find_spec("coreai") is None:
        raise ConversionError("Core AI needs the package coreai-core", hint=hint)
    from coreai._version import __version__ as found

    if found != VERSION:
        raise ConversionError(f"Core AI needs coreai-core {VERSION}, found {found}", hint=hint)


@cache
def _dialect() -> Any:
    """The operations. `coreai.authoring` comes first: the other order is a circular import."""
    require()
    import coreai.authoring  # noqa: F401
    from coreai._compiler.dialects import coreai as dialect

    return dialect


class Program:
    """A module being written: `with program.open(): with program.function(…) as arguments: …`."""

    def __init__(self) -> None:
        _dialect()
        from coreai.authoring import Module

        self._module = Module.create()
        self._stored: dict[tuple[str, tuple[int, ...], bytes], list[Any]] = {}  # arrays, in order, attributes
        self._composites: dict[tuple[str, ...], Any] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Functions are added inside; the package optimises the module on the way out, and checks it when it
        is saved.

        Raises:
            ConversionError: what it refuses, which is a mistake of this compiler.
        """
        try:
            with self._module:
                yield
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConversionError(f"the model that was made is no valid Core AI: {error}") from error

    @contextmanager
    def function(
        self, name: str, inputs: Mapping[str, tuple[str, Sizes]], states: Collection[str] = ()
    ) -> Iterator[Function]:
        """A function with named inputs, of which `states` are buffers of the caller that it changes; its
        outputs are set with `give`."""
        from coreai.authoring.graph_builder import GraphOp

        handle = _dialect().HandleType.get
        types = [
            handle(tensor_type(*kind)) if key in states else tensor_type(*kind)
            for key, kind in inputs.items()
        ]
        graph: Any = GraphOp(name, types, [], list(inputs), [])
        with graph.block:
            arguments = dict(zip(inputs, graph.arguments, strict=True))
            yield Function(graph, arguments, states, self._stored)

    def composite(
        self, declaration: str, operands: Mapping[str, Handle], fill: Callable[[Function], None]
    ) -> Handle:
        """What a private function gives that a backend may know by its declaration; `fill` writes its body
        where no function of these types is there yet."""
        from coreai._compiler.ir import Attribute, InsertionPoint
        from coreai.authoring.graph_builder import GraphOp

        types = [handle.type for handle in operands.values()]
        key = (declaration, *map(str, types))
        if key not in self._composites:
            name = f"composite_{len(self._composites)}"
            known = Attribute.parse(declaration)
            with InsertionPoint(self._module._mlir_module.body):
                graph: Any = GraphOp(
                    name, types, [], list(operands), [], private=True, no_inline=True, composite_decl=known
                )
            with graph.block:
                inputs = dict(zip(operands, graph.arguments, strict=True))
                fill(Function(graph, inputs, (), self._stored))
            self._composites[key] = graph
        (result,) = self._composites[key](*operands.values())
        return result

    def in_order(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        """The arrays, in the place of a transposed one the copy that was made of it."""
        copies = {id(array): copy for same in self._stored.values() for array, copy, _ in same}
        return [copies.get(id(array), array) for array in arrays]

    def save(self, folder: Path) -> None:
        """Write the program into an empty folder. `seal` and `describe` complete the asset: together they do
        what `AIProgram.save_asset` does, but for its second copy in memory.

        Raises:
            ConversionError: what the package refuses, which is a mistake of this compiler.
        """
        from coreai.authoring.asset import AIProgram

        try:
            AIProgram(self._module)._save_bytecode(folder / PROGRAM)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConversionError(f"the model that was made is no valid Core AI: {error}") from error

    def __str__(self) -> str:
        return str(self._module)


def digest(folder: Path) -> bytes:
    """The hash of the program in a folder, as its asset keeps it."""
    with open(folder / PROGRAM, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def seal(folder: Path) -> None:
    """Write the hash of the program that `Program.save` left in the folder."""
    (folder / HASH).write_bytes(digest(folder))


def describe(folder: Path, metadata: Mapping[str, str], custom: Mapping[str, str]) -> None:
    """Write what the asset in the folder says of itself."""
    from coreai.authoring.asset import _COREAI_PRODUCER
    from coreai.runtime import AIModelAssetMetadata, _AIModelAsset

    described = AIModelAssetMetadata()
    for key, text in metadata.items():
        setattr(described, key, text)
    for key, text in custom.items():
        described.set_custom(key, text)
    described.creation_date, described._producer = time.time(), _COREAI_PRODUCER
    inner = folder / "asset.aimodel"
    _AIModelAsset._create(path=str(inner), metadata=described)
    (inner / METADATA).rename(folder / METADATA)
    inner.rmdir()


class Function:
    """One function being written."""

    def __init__(
        self, graph: Any, arguments: dict[str, Handle], states: Collection[str], stored: dict[Any, Any]
    ):
        self._graph, self.arguments, self._stored = graph, arguments, stored
        self._buffers: dict[str, tuple[Any, Any]] = {}
        for name in states:
            buffer = arguments[name]
            arguments[name], token = _dialect().read_handle(buffer, _dialect().create_token())
            self._buffers[name] = buffer, token

    def constant(self, array: np.ndarray) -> Handle:
        """A constant of whole bytes; functions share those with the same elements."""
        if array.nbytes <= SMALL:
            return _dialect().constant(np.array(array, order="C", copy=None))
        same = self._stored.setdefault((array.dtype.name, array.shape, _sample(array)), [])
        for known, _, value in same:
            bits = f"u{array.itemsize}"
            if known is array or np.array_equal(known.view(bits), array.view(bits)):
                return _dialect().ConstantOp(value=value).result
        from coreai._compiler.ir import DenseResourceElementsAttr

        # the array's own memory, where the package's function would copy and hash it
        ordered = array if array.flags.c_contiguous else _in_order(array)
        name, kind = f"weight_{len(self._stored)}", tensor_type(array.dtype.name, array.shape)
        value = DenseResourceElementsAttr.get_from_buffer(ordered.reshape(-1).view(np.uint8).data, name, kind)
        same.append((array, ordered, value))
        return _dialect().ConstantOp(value=value).result

    def codes(self, array: np.ndarray, bits: int) -> Handle:
        """Unsigned codes of 1, 2, 3, 4, 6 or 8 bits, packed into bytes with the first one lowest."""
        from coreai._compiler._mlir_libs._coreaiIR._bindings.mlir.dialects.coreai import create_elements_attr
        from coreai._compiler.ir import Location

        if bits == 8:
            return self.constant(array.astype(np.uint8))
        stream = (array.astype(np.uint8).reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
        packed = np.packbits(stream.reshape(-1), bitorder="little")
        same = self._stored.setdefault((f"uint{bits}", array.shape, _sample(packed)), [])
        for known, _, value in same:
            if np.array_equal(known, packed):
                return _dialect().ConstantOp(value=value).result
        value = create_elements_attr(Location.unknown(), tensor_type(f"uint{bits}", array.shape), packed)
        same.append((packed, packed, value))
        return _dialect().ConstantOp(value=value).result

    def give(self, outputs: Mapping[str, Handle], states: Mapping[str, Handle] | None = None) -> None:
        """Set the outputs, and what the states become. What writes a state hangs on an output of its own,
        without which it would be taken away."""
        written = {
            f"{name}{WRITTEN}": _dialect().write_handle(self._buffers[name][0], value, self._buffers[name][1])
            for name, value in (states or {}).items()
        }
        self._graph.outputs_spec = [*outputs.items(), *written.items()]


def _in_order(array: np.ndarray) -> np.ndarray:
    """A copy with its last axis innermost, of a transposed matrix three times as fast as NumPy's own."""
    ordered = np.empty(array.shape, array.dtype)
    for first in range(0, array.shape[-1], COLUMNS):
        part = slice(first, first + COLUMNS)
        np.copyto(ordered[..., part], array[..., part])
    return ordered


def _sample(array: np.ndarray) -> bytes:
    """Some of the elements, which arrays of equal shape seldom share."""
    flat = array.ravel(order="K")
    return flat[:: max(1, flat.size // 64)].tobytes()


def operation(
    kind: str, *operands: Any, result: tuple[str, Sizes] | None = None, **attributes: Any
) -> Handle | list[Handle]:
    """The result of one operation (a list where there are several); attributes are texts or integers."""
    dialect = _dialect()
    found = getattr(dialect, f"{kind}Op", None) or getattr(dialect, kind)
    given: list[Any] = list(operands)
    if result is not None:
        given.insert(0, tensor_type(*result))
    made = found(*given, **{name: _attribute(value) for name, value in attributes.items()})
    if kind == "ScatterNd":
        _replacing(dialect, made, operands[0])
    results = list(made.results)
    return results[0] if len(results) == 1 else results


def _attribute(value: Any) -> Any:
    from coreai._compiler.ir import Attribute, IntegerAttr, IntegerType

    if isinstance(value, str):
        return Attribute.parse(value)
    return IntegerAttr.get(IntegerType.get_signless(32), value)


def _replacing(dialect: Any, made: Any, x: Handle) -> None:
    """The body of a scatter that replaces what is there."""
    from coreai._compiler.ir import InsertionPoint, RankedTensorType

    scalar = RankedTensorType.get([], x.type.element_type)
    block = made.regions[0].blocks.append(scalar, scalar)
    with InsertionPoint.at_block_begin(block):
        dialect.YieldOp([block.arguments[1]])


def tensor_type(dtype: str, shape: Sizes) -> Any:
    """The type of an array."""
    from coreai._compiler.ir import RankedTensorType, ShapedType

    sizes = [ShapedType.get_dynamic_size() if size is None else size for size in shape]
    return RankedTensorType.get(sizes, _element(dtype))


@cache
def _constructors() -> dict[str, Any]:
    from coreai._compiler.type_mapping import _NUMPY_TO_MLIR_DTYPE

    return {np.dtype(kind).name: make for kind, make in _NUMPY_TO_MLIR_DTYPE.items()}


def _element(dtype: str) -> Any:
    from coreai._compiler.ir import IntegerType

    if dtype.startswith("uint") and dtype not in _constructors():
        return IntegerType.get_unsigned(int(dtype[4:]))
    return _constructors()[dtype]()


def shape_of(handle: Handle) -> tuple[int | None, ...]:
    """The sizes that the package inferred; None where it knows none."""
    return tuple(size if size >= 0 else None for size in handle.type.shape)


def sized(handle: Handle, sizes: Sizes) -> Handle:
    """The same array with sizes that the package did not infer."""
    from coreai._compiler.ir import RankedTensorType

    kind = RankedTensorType.get(tensor_type("bool", sizes).shape, handle.type.element_type)
    return _dialect().CastOp(kind, handle).result


def widen(path: Path, out: Path) -> int:
    """Write an asset's twin in which products of float16 are computed in float32; the number of those.

    All else, the weights too, is as it is in the asset; without such products nothing is written.
    """
    from coreai._compiler.ir import InsertionPoint, Location
    from coreai.authoring import AIProgram

    require()
    program = AIProgram._load_bytecode(path / PROGRAM)
    module = program._module._mlir_module
    with module.context, Location.unknown():
        products = [op for op in _operations(module.operation) if _adds_up_halves(op)]
        for op in products:
            with InsertionPoint(op):
                wide = [operation("Cast", v, result=("float32", shape_of(v))) for v in op.operands]
                kind = "BatchMatmul" if op.name == "coreai.batch_matmul" else "BroadcastingBatchMatmul"
                total: Any = operation(kind, *wide)
                narrow: Any = operation("Cast", total, result=("float16", shape_of(op.results[0])))
            op.results[0].replace_all_uses_with(narrow)
            op.erase()
        if products:
            program.save_asset(out)
    return len(products)


def _operations(parent: Any) -> Iterator[Any]:
    for region in parent.regions:
        for block in region.blocks:
            for op in block.operations:
                yield op.operation
                yield from _operations(op.operation)


def _adds_up_halves(op: Any) -> bool:
    return op.name.endswith("batch_matmul") and str(op.results[0].type.element_type) == "f16"


class Runtime:
    """An asset opened for running in this process, which Apple's runtime ends where an input is wrong; on
    Linux its float32 twin, where it has products of float16 (`widened` of them)."""

    def __init__(self, path: Path):
        import asyncio

        require()
        from coreai.authoring import AIModelAsset

        self._loop = asyncio.new_event_loop()
        twin = Path(tempfile.mkdtemp(), path.name)
        self.widened = 0 if sys.platform == "darwin" else widen(path, twin)
        self._asset = AIModelAsset.load(path)
        opened = AIModelAsset.load(twin) if self.widened else self._asset
        self._context = opened.executable()
        self._model: Any = self._loop.run_until_complete(self._context.__aenter__())
        self._functions: dict[str, Any] = {}

    def run(
        self, function: str, inputs: Mapping[str, np.ndarray], states: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Outputs and states by name."""
        from coreai.runtime import NDArray

        if function not in self._functions:
            self._functions[function] = self._model.load_function(function)
        held = {name: NDArray(array) for name, array in states.items()}
        fed = {name: NDArray(array) for name, array in inputs.items()}
        results = self._loop.run_until_complete(self._functions[function](fed, held))
        given = {n: a.numpy() for n, a in results.items() if not n.endswith(WRITTEN)}
        return given, {n: a.numpy() for n, a in held.items()}

    def operations(self) -> dict[str, Any]:
        """What the asset is made of."""
        summary = self._asset.summary(include_statistics=True)
        assert summary is not None, "it was opened"
        return {
            "operations": dict(summary.operation_distribution),
            "system": summary._compatibility_version,
        }

    def close(self) -> None:
        """Remove what was compiled for it."""
        self._loop.run_until_complete(self._context.__aexit__(None, None, None))
        self._loop.close()

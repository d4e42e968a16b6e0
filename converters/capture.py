"""From an MLX function to a Graph. The only file that knows the record format of `mx.export_function`.

The function is traced, not run: MLX streams one record per primitive. Named dimensions are found by tracing
at several
sizes and fitting every integer that differs (`converters.fit`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from traceback import extract_tb
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from converters.complex_numbers import Operand, complex_constant, real_parts, unknown
from converters.dtypes import dtype_name, is_float
from converters.errors import CaptureError, ConversionError, UnsupportedOp
from converters.graph import Builder, Dim, Graph, Value, bind_sizes
from converters.patches import recordable
from converters.records import decode, refusal
from converters.sampling import general_traces
from converters.sizes import Shape, sizes_in, substitute
from converters.snapshot import (
    Snapshot,
    address,
    modules_of,
    refuse_training,
    to_numpy,
    uncompiled,
    weight_names,
)
from converters.specs import Image, Spec

DimLike = Dim | tuple[int, int] | int
ELEMENT_WORK = 50  # multiplications of a product in the time of one element of another operation


def capture(
    fn: Callable[..., Any],
    inputs: Mapping[str, Spec | Image],
    outputs: Sequence[str] | Mapping[str, Image | None] | None = None,
    dims: Mapping[str, DimLike] | None = None,
    states: Mapping[str, str] | None = None,
    module: nn.Module | None = None,
) -> Graph:
    """Trace `fn(*arrays)`, the arrays in the order of `inputs`, into a Graph. The user's modules stay as
    they are.

    Args:
        fn: takes `mx.array`s; returns an array or nested tuples, lists and dicts of arrays.
        inputs: name to `Spec` (strings in a shape are dynamic dimensions) or `Image`.
        outputs: names of the results in leaf order; default "output", "output_0", or the dict's keys. A
            mapping says which are pictures: {"scores": None, "painted": Image(size=(64, 64))}.
        dims: bounds of the dynamic dimensions: a `Dim`, (low, high), or one size; default 1 to any.
        states: which input carries which output on.
        module: whose weights to name; default: those found in `fn`.

    Raises:
        CaptureError: where the function cannot be traced, or its structure depends on a dimension.
    """
    specs = {name: spec.spec if isinstance(spec, Image) else spec for name, spec in inputs.items()}
    for name, spec in specs.items():
        if not isinstance(spec, Spec):
            raise CaptureError(
                f"input {name!r} is described by {spec!r}", hint="use a converters.Spec or Image"
            )
    bounds = _bounds(specs, dims or {})
    modules = modules_of(fn, module)
    refuse_training(modules)
    snapshot = Snapshot(modules)
    with uncompiled():
        tracer = Tracer(
            fn, specs, snapshot, weight_names(modules), None if outputs is None else list(outputs)
        )
        general = general_traces(tracer, bounds)
        graph = tracer.build(general.trace)
        bounds = general.check_special_sizes(graph, set(dims or {}))
    images = {name: spec for name, spec in inputs.items() if isinstance(spec, Image)}
    if isinstance(outputs, Mapping):
        images |= _pictures(outputs, graph, states or {})
    return graph.replace(dims=bounds, states=_states(states or {}, graph), images=images)


def _pictures(
    outputs: Mapping[str, Image | None], graph: Graph, states: Mapping[str, str]
) -> dict[str, Image]:
    """The outputs that are pictures."""
    pictures = {name: spec for name, spec in outputs.items() if spec is not None}
    for name, spec in pictures.items():
        if not isinstance(spec, Image):
            raise CaptureError(
                f"output {name!r} is described by {spec!r}", hint="use a converters.Image or None"
            )
        value = graph.outputs[name]
        if value.shape != spec.spec.shape or not is_float(value.dtype) or name in states.values():
            what = "a state" if name in states.values() else f"{value}"
            wanted = f"{spec.color} picture of {spec.size} is float32{list(spec.spec.shape)}"
            raise CaptureError(
                f"a {wanted}, output {name!r} is {what}",
                hint="return one picture with its channels last",
            )
    return pictures


def _bounds(specs: Mapping[str, Spec], dims: Mapping[str, DimLike]) -> dict[str, Dim]:
    named = {name for spec in specs.values() for size in sizes_in(spec.shape) for name in size.names()}
    unknown = sorted(set(dims) - named)
    if unknown:
        raise CaptureError(
            f"dims names {', '.join(unknown)}, the inputs have {', '.join(sorted(named)) or 'none'}"
        )
    some = {name: size for size, name in enumerate(sorted(named), 7)}
    bind_sizes((spec.shape, substitute(spec.shape, some)) for spec in specs.values())
    bounds = {}
    for name in sorted(named):
        given = dims.get(name, Dim())
        bounds[name] = (
            Dim(sizes=[given]) if isinstance(given, int) else given if isinstance(given, Dim) else Dim(*given)
        )
    return bounds


def _states(states: Mapping[str, str], graph: Graph) -> dict[str, str]:
    by_name = {value.name: value for value in graph.inputs}
    for source, result in states.items():
        if source not in by_name:
            raise CaptureError(f"state {source!r} is not an input; there are {', '.join(by_name)}")
        if result not in graph.outputs:
            raise CaptureError(
                f"state output {result!r} is not an output; there are {', '.join(graph.outputs)}"
            )
        if by_name[source].dtype != graph.outputs[result].dtype:
            raise CaptureError(
                f"state {source!r} is {by_name[source]}, {result!r} is {graph.outputs[result]}"
            )
    return dict(states)


@dataclass
class Trace:
    """What one call of `mx.export_function` streamed, in plain tuples."""

    inputs: list[tuple[str, Shape, str]] = field(default_factory=list)
    outputs: list[tuple[str, Shape, str]] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    records: list[tuple[str, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] = field(default_factory=list)

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "inputs":
            self.inputs = [_plain(item) for item in event["inputs"]]
        elif kind == "outputs":
            self.outputs = [_plain(item) for item in event["outputs"]]
        elif kind == "constants":
            self.constants = dict(event["constants"])
        elif kind == "primitive":
            names = tuple(name for name, *_ in event["inputs"])
            results = tuple(_plain(item) for item in event["outputs"])
            self.records.append((event["name"], _plain(event["arguments"]), names, results))

    def order(self) -> None:
        """Put each record after those it reads: where MLX joins equal computations, one may come too late."""
        known = {name for name, *_ in self.inputs} | set(self.constants)
        made = {name for *_, results in self.records for name, *_ in results}
        waiting, ordered = self.records, []
        while waiting:
            later = []
            for record in waiting:
                if all(name in known or name not in made for name in record[2]):
                    ordered.append(record)
                    known.update(name for name, *_ in record[3])
                else:
                    later.append(record)
            if len(later) == len(waiting):
                raise CaptureError("what MLX traced reads itself")
            waiting = later
        self.records = ordered

    def lost(self) -> list[int]:
        """The outputs that nothing computes: MLX joins equal computations, and forgets that both are read."""
        known = {name for name, *_ in self.inputs} | set(self.constants)
        known |= {name for *_, results in self.records for name, *_ in results}
        return [index for index, (name, *_) in enumerate(self.outputs) if name not in known]

    def work(self) -> int:
        """About how many multiplications of a product take as long as computing the trace in NumPy."""
        shapes: dict[str, Any] = {name: shape for name, shape, _ in self.inputs}
        shapes |= {name: array.shape for name, array in self.constants.items()}
        total = 0
        for op, _, operands, results in self.records:
            shapes |= {name: shape for name, shape, _ in results}
            each = shapes[operands[0]][-1] if "MM" in op or "Mat" in op else ELEMENT_WORK
            total += each * sum(prod(shape) for _, shape, _ in results)
        return total


def _plain(item: Any) -> Any:
    if isinstance(item, list | tuple):
        return tuple([part if type(part) is int else _plain(part) for part in item])
    return dtype_name(item) if isinstance(item, mx.Dtype) else item


class Tracer:
    """Traces one function at given sizes; keeps the names of its outputs."""

    def __init__(
        self,
        fn: Callable[..., Any],
        specs: Mapping[str, Spec],
        snapshot: Snapshot,
        names: Mapping[int, str],
        outputs: Sequence[str] | None,
    ):
        self.fn, self.specs, self.names, self.outputs = fn, specs, names, outputs
        self.snapshot = snapshot
        self.output_names: list[str] = []

    def build(self, trace: Trace, sizes: Mapping[str, int] | None = None) -> Graph:
        """The Graph of a trace of this function: of all traces, or of the one at `sizes`."""
        specs = self.specs
        if sizes is not None:
            specs = {name: Spec(substitute(s.shape, sizes), s.dtype) for name, s in specs.items()}
        return build(trace, specs, self.names, self.outputs, self.output_names)

    def arrays(self, sizes: Mapping[str, int]) -> list[mx.array]:
        """Zeros of the inputs' shapes."""
        return [
            mx.zeros(
                substitute(spec.shape, sizes), getattr(mx, spec.dtype if spec.dtype != "bool" else "bool_")
            )
            for spec in self.specs.values()
        ]

    def elements(self, sizes: Mapping[str, int]) -> int:
        """How many elements the inputs have together."""
        return sum(prod(substitute(spec.shape, sizes)) for spec in self.specs.values())

    def __call__(self, sizes: Mapping[str, int]) -> Trace:
        """Trace at `sizes`; CaptureError explains what the function did that cannot be traced."""
        trace = self._recorded(self.flat, sizes)
        if trace.lost():
            trace = self._lost_first(trace, sizes)
        lost, kept = trace.lost(), list(trace.outputs)
        for index in lost:
            alike = (i for i, other in enumerate(kept) if i not in lost and other[1:] == kept[index][1:])
            twin = next((i for i in alike if self._are_one(i, index, sizes)), None)
            if twin is None:
                raise CaptureError(f"MLX lost output {self.output_names[index]} while it traced the function")
            trace.outputs[index] = kept[twin]
        return trace

    def _lost_first(self, trace: Trace, sizes: Mapping[str, int]) -> Trace:
        """The trace with the lost outputs asked for first: one that others begin with is kept then."""
        order = sorted(range(len(trace.outputs)), key=lambda index: index not in trace.lost())

        def turned(*arrays: mx.array) -> list[mx.array]:
            leaves = self.flat(*arrays)
            return [leaves[index] for index in order]

        other = self._recorded(turned, sizes)
        other.outputs = [other.outputs[order.index(index)] for index in range(len(order))]
        return other if len(other.lost()) < len(trace.lost()) else trace

    def _recorded(self, fn: Callable[..., list[mx.array]], sizes: Mapping[str, int]) -> Trace:
        trace = Trace()
        with mx.stream(mx.cpu), recordable():
            try:
                self.snapshot.lend()
                mx.export_function(trace, fn, *self.arrays(sizes))
            except ConversionError:
                raise
            except Exception as error:
                raise CaptureError(_explain(error) + _where(error), hint=_cure(error)) from error
            finally:
                self.snapshot.restore()
        trace.order()
        return trace

    def _are_one(self, first: int, second: int, sizes: Mapping[str, int]) -> bool:
        """Whether two outputs come from the same computation: MLX then loses one of them, as where one
        is what the other begins with."""

        def both(*arrays: mx.array) -> list[mx.array]:
            leaves = self.flat(*arrays)
            return [leaves[first], leaves[second]]

        if not self._recorded(both, sizes).lost():
            return False
        one, other = (self._recorded(lambda *a, i=i: [self.flat(*a)[i]], sizes) for i in (first, second))
        return [(op, results) for op, _, _, results in one.records] == [
            (op, results) for op, _, _, results in other.records
        ]

    def run(self, *arrays: mx.array) -> list[mx.array]:
        """What the function computes, evaluated."""
        try:
            self.snapshot.lend()
            results = self.flat(*arrays)
            mx.eval(results)
        finally:
            self.snapshot.restore()
        return results

    def flat(self, *arrays: mx.array) -> list[mx.array]:
        """The function with its results as a flat list."""
        leaves = list(flat_results(self.fn(*arrays)))
        for name, leaf in leaves:
            if not isinstance(leaf, mx.array):
                raise CaptureError(
                    f"{f'output {name}' if name else 'what the function returns'} is {type(leaf).__name__}, "
                    "not an mx.array",
                    hint="return arrays, or nested tuples, lists and dicts of arrays",
                )
        if not leaves:
            raise CaptureError("the function returns no array")
        self.output_names = [name or "output" for name, _ in leaves]
        return [leaf for _, leaf in leaves]


def flat_results(result: Any, path: str = "") -> Any:
    """(name, leaf) of nested tuples, lists and dicts, in order."""
    if isinstance(result, dict):
        for key, part in result.items():
            yield from flat_results(part, f"{path}.{key}" if path else str(key))
    elif isinstance(result, list | tuple):
        for index, part in enumerate(result):
            yield from flat_results(part, f"{path}.{index}" if path else f"output_{index}")
    else:
        yield path, result


def _explain(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if "Attempting to eval" in text:
        return "the function needs an array's value while it is traced (.item(), a Python `if`, or NumPy)"
    if "convert" in text and "Python scalars" in text:
        return "the function turns an array into a Python number (.item(), int() or float() of an array)"
    if "Unable to get state for primitive" in text:
        return f"MLX cannot export one of the function's operations: {text}"
    return f"the function failed while it was traced: {type(error).__name__}: {text}"


def _where(error: Exception) -> str:
    """The last line of the user's own code that was running."""
    inner = (str(Path(__file__).parent), str(Path(str(nn.__file__)).parents[1]))
    frames = [f for f in extract_tb(error.__traceback__) if not f.filename.startswith(inner)]
    return (
        f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, {frames[-1].name})" if frames else ""
    )


def _cure(error: Exception) -> str | None:
    text = str(error)
    if "Attempting to eval" in text or "Python scalars" in text:
        return "use mx.where, mx.take and other array operations instead of Python values"
    if isinstance(error, TypeError) and "argument" in text and "missing" in text:
        return (
            "every array is an entry of `inputs`, in this order; bind what is no array with functools.partial"
        )
    if "boolean indices" in text:
        return "how many places a mask picks is not known: use mx.where, or positions of a known number"
    return None


def build(
    trace: Trace,
    specs: Mapping[str, Spec],
    names: Mapping[int, str],
    outputs: Sequence[str] | None,
    found: list[str],
) -> Graph:
    """The Graph of a (merged) trace."""
    b = Builder()
    values: dict[str, Any] = {}  # a Value, or a Complex
    inputs = []
    for (key, _, _), (name, spec) in zip(trace.inputs, specs.items(), strict=True):
        values[key] = Value(name, spec.shape, spec.dtype)
        inputs.append(values[key])
    for key, constant in trace.constants.items():
        values[key] = _constant(b, constant, names)
    missing: dict[str, str] = {}
    for op, arguments, operands, results in trace.records:
        inferred = [(shape, dtype) for _, shape, dtype in results]
        read = tuple(values[key] for key in operands)
        reason = refusal(b, op, arguments, read, inferred)
        if reason is None:
            computed = decode(b, op, arguments, read, inferred)
        else:
            computed = tuple(unknown(op, shape, dtype) for shape, dtype in inferred)
            missing.setdefault(reason, _nearest_weight(b, real_parts(read)))
        values.update(zip((key for key, _, _ in results), computed, strict=True))
    if missing:
        raise UnsupportedOp.listing(missing)
    chosen = list(outputs) if outputs is not None else found
    if len(chosen) != len(trace.outputs):
        raise CaptureError(f"outputs names {len(chosen)} arrays, the function returns {len(trace.outputs)}")
    if len(set(chosen)) != len(chosen) or set(chosen) & set(specs):
        repeated = sorted({n for n in chosen if chosen.count(n) > 1 or n in specs})
        raise CaptureError(
            f"the name {', '.join(repeated)} stands for two inputs or outputs", hint="give outputs=[...]"
        )
    results = {name: values[key] for name, (key, _, _) in zip(chosen, trace.outputs, strict=True)}
    ends = {**{value.name: value for value in inputs}, **results}
    pairs = [name for name, value in ends.items() if value.dtype == "complex64"]
    if pairs:
        raise CaptureError(
            f"{', '.join(pairs)} is of complex numbers, which no target passes in or out",
            hint="take and return the real and the imaginary part as two arrays",
        )
    graph = Graph(tuple(inputs), results, tuple(b.nodes), b.constants)
    graph.verify()
    return graph


def _nearest_weight(b: Builder, operands: Sequence[Value]) -> str:
    """The named constant that is the fewest operations upstream: where in the user's model an operation
    is."""
    producers = {value: node for node in b.nodes for value in node.outputs}
    front, seen = list(operands), set(operands)
    while front:
        for value in front:
            if value in b.constants and value.name != "constant":
                return value.name
        front = [v for value in front if value in producers for v in producers[value].inputs if v not in seen]
        seen.update(front)
    return ""


def _constant(b: Builder, constant: Any, names: Mapping[int, str]) -> Operand:
    if isinstance(constant, mx.array):
        mx.eval(constant)
        name = names.get(address(constant), "constant") if constant.size else "constant"
        array = to_numpy(constant)
        return complex_constant(b, array, name) if array.dtype.kind == "c" else b.constant(array, name)
    return constant.build(b)

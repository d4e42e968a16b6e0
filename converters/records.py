"""MLX's primitives, as `mx.export_function` records them, in the vocabulary of `converters.ops`.

Enums become words, positional arguments become named attributes, and the many ways to change a shape
(Flatten,
Unflatten, ExpandDims, Squeeze) become Reshape. Part of capture: nothing else knows MLX's positions and
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from converters import complex_numbers, large_records
from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import size_as
from converters.sizes import AnySize, Shape, product
from converters.windows import gather, scatter, signed

Results = list[tuple[Shape, str]]
Decoder = Callable[[Builder, tuple[Any, ...], tuple[Value, ...], Results], "Value | tuple[Value, ...]"]

REDUCE_KINDS = ("and", "or", "sum", "prod", "min", "max")
SCAN_KINDS = ("max", "min", "sum", "prod", "logaddexp")
SCATTER_KINDS = ("max", "min", "sum", "prod", "set")
BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift")
LOGARITHMS = ("Log2", "Log10", "Log")
LARGE = 2**20  # a size that shows the sign of a formula


def _plain(op: str, *names: str) -> Decoder:
    """The arguments are the attributes, in this order."""

    def decode_one(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Any:
        return b.outputs(op, *inputs, **dict(zip(names, args, strict=True)))

    return decode_one


def _reshape(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    ((shape, _),) = results
    return inputs[0] if shape == inputs[0].shape else b("Reshape", inputs[0], shape=shape)


def _broadcast(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    ((shape, _),) = results
    return inputs[0] if shape == inputs[0].shape else b("Broadcast", inputs[0], shape=shape)


def _identity(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Any:
    return inputs[: len(results)]


def _split(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Any:
    axis = args[1]
    return b.outputs("Split", inputs[0], sizes=tuple(shape[axis] for shape, _ in results), axis=axis)


def _pad(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    axes, low, high = args
    before, after = [0] * len(inputs[0].shape), [0] * len(inputs[0].shape)
    for axis, a, z in zip(axes, low, high, strict=True):
        before[axis], after[axis] = a, z
    return b("Pad", *inputs, low=tuple(before), high=tuple(after))


def _bounds(x: Value, taken: Shape, start: Shape, end: Shape, strides: tuple[int, ...]) -> dict[str, Any]:
    """The bounds of a slice that has the shape `taken`.

    MLX counts a negative end from the back; backwards, an end before the first element becomes -1. Where
    nothing is taken, the bounds may be anything: they become 0 and 0.
    """
    ends = []
    for stop, size in zip(end, x.shape, strict=True):
        from_back = _is_negative(stop)
        stop = stop + size if from_back else stop
        ends.append(min(stop, size) if isinstance(stop, int) and isinstance(size, int) else stop)
    nothing = [size == 0 for size in taken]
    return {
        "start": tuple(0 if none else first for none, first in zip(nothing, start, strict=True)),
        "end": tuple(0 if none else stop for none, stop in zip(nothing, ends, strict=True)),
        "strides": tuple(1 if none else step for none, step in zip(nothing, strides, strict=True)),
    }


def _is_negative(size: AnySize) -> bool:
    """Whether it is where the dimensions are large."""
    if isinstance(size, int):
        return size < 0
    return sum(factor * LARGE ** len(monomial) for monomial, factor in size.terms) < 0


def _slice(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    return b("Slice", inputs[0], **_bounds(inputs[0], results[0][0], *args))


def _arange(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    (((size,), dtype),) = results
    return b("Arange", start=args[0], step=args[2], size=size, dtype=dtype)


def _convolution(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    names = ("strides", "low", "high", "dilation", "input_dilation", "groups", "flip")
    return b("Convolution", *inputs, **dict(zip(names, args, strict=True)), channels_first=False)


def _reduce(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    kind, axes = args
    return b(
        "Reduce",
        *inputs,
        kind=REDUCE_KINDS[kind],
        axes=tuple(sorted(axes)),
        keepdims=True,
        dtype=results[0][1],
    )


def _arg_reduce(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    return b("ArgReduce", *inputs, kind=("min", "max")[args[0]], axis=args[1], keepdims=True)


def _scan(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    kind, axis, reverse, inclusive = args
    attrs = {"axis": axis, "reverse": reverse, "inclusive": inclusive, "dtype": results[0][1]}
    return b("Scan", *inputs, kind=SCAN_KINDS[kind], **attrs)


def _last_axis(op: str) -> Decoder:
    def decode_one(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
        return b(op, *inputs, axis=len(inputs[0].shape) - 1)

    return decode_one


def _renamed(choose: Callable[[tuple[Any, ...]], str]) -> Decoder:
    """An argument that picks the op, such as the base of a logarithm."""

    def decode_one(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
        return b(choose(args), *inputs)

    return decode_one


def _gather(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    axes, sizes = args
    return gather(b, inputs[0], inputs[1:], axes, sizes)


def _scatter(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    kind, axes = args
    return scatter(b, inputs[0], inputs[1:-1], inputs[-1], axes, SCATTER_KINDS[kind])


def _gather_axis(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    return b("GatherAxis", inputs[0], signed(b, inputs[1]), axis=args[0])


def _scatter_axis(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    x, indices, updates = inputs
    return b("ScatterAxis", x, signed(b, indices), updates, kind=("sum", "set")[args[0]], axis=args[1])


def _slice_update(b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results) -> Value:
    return b(
        "SliceUpdate", *inputs, kind=SCATTER_KINDS[args[0]], **_bounds(inputs[0], inputs[1].shape, *args[1:])
    )


def _number_of_elements(
    b: Builder, args: tuple[Any, ...], inputs: tuple[Value, ...], results: Results
) -> Value:
    axes, inverted, dtype = args
    count = product(inputs[0].shape[axis] for axis in axes)
    if not inverted:
        return size_as(b, count, dtype)
    return b("Divide", b.constant(1, dtype=dtype), size_as(b, count, dtype))


SAME_NAME = [
    "Abs",
    "Add",
    "ArcCos",
    "ArcCosh",
    "ArcSin",
    "ArcSinh",
    "ArcTan",
    "ArcTan2",
    "ArcTanh",
    "BitwiseInvert",
    "Ceil",
    "Cos",
    "Cosh",
    "Divide",
    "DivMod",
    "Erf",
    "ErfInv",
    "Exp",
    "Expm1",
    "Floor",
    "FloorDivide",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "Log1p",
    "LogAddExp",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "Matmul",
    "Maximum",
    "Minimum",
    "Multiply",
    "Negative",
    "NotEqual",
    "Power",
    "Remainder",
    "Round",
    "Select",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Square",
    "Subtract",
    "Tan",
    "Tanh",
]

DECODERS: dict[str, Decoder] = {
    **{name: _plain(name) for name in SAME_NAME},
    **large_records.DECODERS,
    **dict.fromkeys(("Reshape", "Flatten", "Unflatten", "ExpandDims", "Squeeze"), _reshape),
    **dict.fromkeys(("Broadcast", "BroadcastAxes", "Full"), _broadcast),
    **dict.fromkeys(("Copy", "StopGradient", "Contiguous", "Depends"), _identity),
    "AddMM": _plain("AddMM", "alpha", "beta"),
    "Arange": _arange,
    "ArgPartition": _plain("ArgPartition", "kth", "axis"),
    "ArgReduce": _arg_reduce,
    "ArgSort": _plain("ArgSort", "axis"),
    "AsStrided": _plain("AsStrided", "shape", "strides", "offset"),
    "AsType": _plain("AsType", "dtype"),
    "BitwiseBinary": _renamed(lambda args: BITWISE[args[0]]),
    "Concatenate": _plain("Concatenate", "axis"),
    "Convolution": _convolution,
    "DynamicSlice": _plain("DynamicSlice", "axes", "sizes"),
    "DynamicSliceUpdate": _plain("DynamicSliceUpdate", "axes"),
    "Equal": _plain("Equal", "equal_nan"),
    "Gather": _gather,
    "GatherAxis": _gather_axis,
    "Log": _renamed(lambda args: LOGARITHMS[args[0]]),
    "LogSumExp": _last_axis("LogSumExp"),
    "MaskedScatter": _plain("MaskedScatter"),
    "NumberOfElements": _number_of_elements,
    "Pad": _pad,
    "Partition": _plain("Partition", "kth", "axis"),
    "RandomBits": _plain("RandomBits", "shape", "width"),
    "Reduce": _reduce,
    "Scan": _scan,
    "Scatter": _scatter,
    "ScatterAxis": _scatter_axis,
    "SearchSorted": _plain("SearchSorted", "right"),
    "Slice": _slice,
    "SliceUpdate": _slice_update,
    "Softmax": _last_axis("Softmax"),
    "Sort": _plain("Sort", "axis"),
    "Split": _split,
    "Sqrt": _renamed(lambda args: "Rsqrt" if args[0] else "Sqrt"),
    "Transpose": _plain("Transpose", "axes"),
    "View": _plain("View", "dtype"),
}


def refusal(
    b: Builder, name: str, arguments: tuple[Any, ...], inputs: tuple[Any, ...], results: Results
) -> str | None:
    """Why there is no op for a record, with the primitive's name, or None where `decode` has one."""
    if complex_numbers.is_complex(inputs, results):
        return complex_numbers.refusal(name, arguments, inputs)
    if name not in DECODERS:
        return name
    reason = large_records.refusal(b, name, arguments, inputs, results)
    return None if reason is None else f"{name} ({reason})"


def decode(
    b: Builder, name: str, arguments: tuple[Any, ...], inputs: tuple[Any, ...], results: Results
) -> tuple[Any, ...]:
    """Add the nodes for one record to `b`; results are the recorded shapes and types of the outputs."""
    if complex_numbers.is_complex(inputs, results):
        return complex_numbers.decode(b, name, arguments, inputs, results, decode)
    computed = DECODERS[name](b, arguments, inputs, results)
    computed = computed if isinstance(computed, tuple) else (computed,)
    for value, (shape, dtype) in zip(computed, results, strict=True):
        if value.shape != shape:
            raise ShapeError(f"{name} gives {value.shape} where MLX has {shape}")
        assert value.dtype == dtype, (name, arguments, str(value), dtype)
    return computed

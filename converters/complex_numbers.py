"""Complex numbers as pairs of real arrays: no target has a complex type.

MLX's primitives that make, move or compute complex arrays become real ones on both parts; a part that is zero
everywhere is left out. Part of capture, as `converters.records`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import scalar
from converters.sizes import Shape, divide

Results = list[tuple[Shape, str]]
Part = Value | None


@dataclass(frozen=True)
class Complex:
    """A complex array; `imag` is None where it is zero everywhere."""

    real: Value
    imag: Part

    @property
    def shape(self) -> Shape:
        """The shape of both parts."""
        return self.real.shape

    dtype = "complex64"


Operand = Value | Complex
MOVING = {
    "AsStrided", "Broadcast", "BroadcastAxes", "Concatenate", "Copy", "Contiguous", "Depends", "ExpandDims",
    "Flatten", "Full", "Gather", "GatherAxis", "Reshape", "Select", "Slice", "SliceUpdate", "Split",
    "Squeeze", "StopGradient", "Transpose", "Unflatten",
}  # fmt: skip
LINEAR = {"Negative", "Reduce", "Scan", "Pad"}
SUM, NATURAL = 2, 2  # of the kinds of Reduce and Scan, of the bases of Log


def complex_constant(b: Builder, array: np.ndarray, name: str) -> Complex:
    """The parts of a constant."""
    real, imag = (np.ascontiguousarray(part(array)) for part in (np.real, np.imag))
    return Complex(b.constant(real, name), b.constant(imag, name) if np.any(imag) else None)


def parts(x: Operand) -> tuple[Value, Part]:
    """The real and the imaginary part."""
    return (x.real, x.imag) if isinstance(x, Complex) else (x, None)


def real_parts(operands: Sequence[Operand]) -> list[Value]:
    """The real part of each."""
    return [parts(x)[0] for x in operands]


def unknown(name: str, shape: Shape, dtype: str) -> Operand:
    """What stands for a result that cannot be computed."""
    return Complex(Value(name, shape, "float32"), None) if dtype == "complex64" else Value(name, shape, dtype)


def zeros(b: Builder, like: Value) -> Value:
    """The imaginary part of a real array."""
    zero = scalar(b, 0, like)
    return zero if not like.shape else b("Broadcast", zero, shape=like.shape)


def _added(b: Builder, x: Part, y: Part, op: str = "Add") -> Part:
    if y is None:
        return x
    if x is None:
        return y if op == "Add" else b("Negative", y)
    return b(op, x, y)


def _times(b: Builder, x: Part, y: Part, op: str = "Multiply") -> Part:
    return None if x is None or y is None else b(op, x, y)


def _product(b: Builder, x: Operand, y: Operand, op: str = "Multiply") -> Complex:
    (a, c), (d, e) = parts(x), parts(y)
    real = _added(b, _times(b, a, d, op), _times(b, c, e, op), "Subtract")
    imag = _added(b, _times(b, a, e, op), _times(b, c, d, op))
    assert real is not None
    return Complex(real, imag)


def _magnitude(b: Builder, x: Operand) -> Value:
    real, imag = parts(x)
    if imag is None:
        return b("Abs", real)
    return b("Sqrt", b("Add", b("Square", real), b("Square", imag)))


def _quotient(b: Builder, x: Operand, y: Operand) -> Complex:
    (real, imag), (below, more) = parts(x), parts(y)
    if more is None:
        return Complex(b("Divide", real, below), None if imag is None else b("Divide", imag, below))
    total = b("Add", b("Square", below), b("Square", more))
    over = _product(b, x, Complex(below, b("Negative", more)))
    return _quotient(b, over, total)


def _exp(b: Builder, x: Operand) -> Complex:
    real, imag = parts(x)
    size = b("Exp", real)
    if imag is None:
        return Complex(size, None)
    return Complex(b("Multiply", size, b("Cos", imag)), b("Multiply", size, b("Sin", imag)))


def _log(b: Builder, x: Operand) -> Complex:
    real, imag = parts(x)
    return Complex(
        b("Log", _magnitude(b, x)), b("ArcTan2", imag if imag is not None else zeros(b, real), real)
    )


def _cast(b: Builder, x: Operand, dtype: str) -> Operand:
    real, imag = parts(x)
    wanted = "float32" if dtype == "complex64" else dtype
    real = real if real.dtype == wanted else b("AsType", real, dtype=wanted)
    return Complex(real, imag) if dtype == "complex64" else real


def _alike(b: Builder, x: Operand, y: Operand, op: str) -> Value:
    (a, c), (d, e) = parts(x), parts(y)
    attrs: dict[str, Any] = {"equal_nan": False} if op == "Equal" else {}
    real = b(op, a, d, **attrs)
    if c is None and e is None:
        return real
    other = b(op, c if c is not None else zeros(b, a), e if e is not None else zeros(b, d), **attrs)
    return b("LogicalAnd" if op == "Equal" else "LogicalOr", real, other)


def _view(b: Builder, x: Operand) -> Operand:
    """Pairs of float32 along the last axis, either way."""
    real, imag = parts(x)
    if isinstance(x, Complex):
        both = [
            b("Reshape", p, shape=(*x.shape, 1)) for p in (real, zeros(b, real) if imag is None else imag)
        ]
        joined = b("Concatenate", *both, axis=len(x.shape))
        return b("Reshape", joined, shape=(*x.shape[:-1], 2 * x.shape[-1]))
    rank, size = len(real.shape), divide(real.shape[-1], 2)
    pairs = b("Reshape", real, shape=(*real.shape[:-1], size, 2))
    halves = b.outputs("Split", pairs, sizes=(1, 1), axis=rank)
    first, second = (b("Reshape", p, shape=(*real.shape[:-1], size)) for p in halves)
    return Complex(first, second)


def transform(b: Builder, args: tuple[Any, ...], x: Operand, results: Results) -> Operand:
    """An FFT over several axes, one after the other; real arrays lose or gain their half in the last one."""
    axes, inverse, real, _ = args
    ((shape, _),) = results
    *others, last = axes
    pair: tuple[Part, ...] = parts(x)
    if real and not inverse:
        pair = b.outputs("FFT", parts(x)[0], axis=last, form="half", size=shape[last])
    form = "inverse" if inverse else "forward"
    for axis in others if real else axes:
        given = [part for part in pair if part is not None]
        pair = b.outputs("FFT", *given, axis=axis, form=form, size=x.shape[axis])
    if real and inverse:
        given = [part for part in pair if part is not None]
        return b("FFT", *given, axis=last, form="real", size=shape[last])
    first, second = pair
    assert first is not None
    return Complex(first, second)


def is_complex(inputs: Sequence[Operand], results: Results) -> bool:
    """Whether a record reads or makes complex numbers."""
    return any(isinstance(x, Complex) or x.dtype == "complex64" for x in inputs) or any(
        dtype == "complex64" for _, dtype in results
    )


def refusal(name: str, args: tuple[Any, ...], inputs: Sequence[Operand]) -> str | None:
    """Why a record of complex numbers cannot be converted, or None."""
    if any(isinstance(x, Value) and x.dtype == "complex64" for x in inputs):
        return f"{name} (an input of complex numbers: pass real and imaginary part)"
    other_base = name == "Log" and args[0] != NATURAL
    if name in LINEAR and name in ("Reduce", "Scan"):
        return None if args[0] == SUM else f"{name} (complex numbers)"
    known = name == "FFT" or name in MOVING or name in LINEAR or name in RULES
    return None if known and not other_base else f"{name} (complex numbers)"


def decode(
    b: Builder,
    name: str,
    args: tuple[Any, ...],
    inputs: Sequence[Operand],
    results: Results,
    decoder: Callable[..., Any],
) -> tuple[Operand, ...]:
    """What a record with complex operands or results computes.

    Args:
        decoder: decodes a record of real numbers.
    """
    if name == "FFT":
        return (transform(b, args, inputs[0], results),)
    if name in RULES:
        return (RULES[name](b, args, *inputs),)
    return _of_parts(b, name, args, inputs, results, decoder)


def _of_parts(
    b: Builder, name: str, args: tuple[Any, ...], inputs: Sequence[Operand], results: Results, decoder: Any
) -> tuple[Operand, ...]:
    """A record applied to the real parts and to the imaginary parts; indices and conditions go to both."""
    halves = [(shape, "float32" if dtype == "complex64" else dtype) for shape, dtype in results]
    real = decoder(b, name, args, tuple(parts(x)[0] for x in inputs), halves)
    if all(isinstance(x, Value) or x.imag is None for x in inputs):
        made = tuple(Complex(part, None) for part in real)
    else:
        imag = [x if isinstance(x, Value) else zeros(b, x.real) if x.imag is None else x.imag for x in inputs]
        made = tuple(
            Complex(*pair) for pair in zip(real, decoder(b, name, args, tuple(imag), halves), strict=True)
        )
    return made


RULES: dict[str, Callable[..., Any]] = {
    "Abs": lambda b, args, x: Complex(_magnitude(b, x), None),
    "Add": lambda b, args, x, y: Complex(
        b("Add", parts(x)[0], parts(y)[0]), _added(b, parts(x)[1], parts(y)[1])
    ),
    "AsType": lambda b, args, x: _cast(b, x, args[0]),
    "Conjugate": lambda b, args, x: Complex(x.real, None if x.imag is None else b("Negative", x.imag)),
    "Divide": lambda b, args, x, y: _quotient(b, x, y),
    "Equal": lambda b, args, x, y: _alike(b, x, y, "Equal"),
    "Exp": lambda b, args, x: _exp(b, x),
    "Imag": lambda b, args, x: zeros(b, x.real) if x.imag is None else x.imag,
    "Log": lambda b, args, x: _log(b, x),
    "Matmul": lambda b, args, x, y: _product(b, x, y, "Matmul"),
    "Multiply": lambda b, args, x, y: _product(b, x, y),
    "NotEqual": lambda b, args, x, y: _alike(b, x, y, "NotEqual"),
    "Power": lambda b, args, x, y: _exp(b, _product(b, _log(b, x), y)),
    "Real": lambda b, args, x: x.real,
    "Square": lambda b, args, x: _product(b, x, x),
    "Subtract": lambda b, args, x, y: Complex(
        b("Subtract", parts(x)[0], parts(y)[0]), _added(b, parts(x)[1], parts(y)[1], "Subtract")
    ),
    "View": lambda b, args, x: _view(b, x),
}

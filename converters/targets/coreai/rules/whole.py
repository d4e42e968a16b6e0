"""Whole numbers as processors compute them: they wrap around.

Core AI's casts end at the limits of the new type; its powers go through floating point; running sums and
powers end the process where a result passes the limits, divisions where the divisor is 0, or the least number
is divided by -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import UNSIGNED, is_float, is_integer, numpy_dtype
from converters.graph import Node, Value
from converters.targets.coreai.beta import Handle
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.writer import Writer


def converted(w: Writer, x: Handle, before: str, after: str) -> Handle:
    """The elements as another type; integers wrap around, where Core AI's own cast ends at the limits."""
    if before == after:
        return x
    if is_float(before) and is_integer(after):
        through = "int64" if numpy_dtype(after).itemsize >= 4 and after != "int32" else "int32"
        # the maxima keep casts apart, which Core AI's optimiser drops in pairs: 2.5 would come back
        held = w.op("BroadcastingMaximum", x, w.constant(-np.inf, before))
        cut = w.op("BroadcastingMaximum", w.cast(held, through), w.constant(np.iinfo(through).min, through))
        return converted(w, cut, through, after)
    if not (is_integer(before) and is_integer(after)):
        return w.cast(x, after)
    source, target = np.iinfo(before), np.iinfo(after)
    if target.min <= source.min and source.max <= target.max:
        return w.cast(x, after)
    if target.bits < source.bits:
        return _lower_bits(w, x, before, after)
    signed = f"int{target.bits}"
    return _same_bits(w, x if before.startswith("u") else converted(w, x, before, signed), before, after)


def _lower_bits(w: Writer, x: Handle, before: str, after: str) -> Handle:
    bits = np.iinfo(after).bits
    low = w.op("BroadcastingBitwiseAnd", x, w.constant(2**bits - 1, before))
    if after in UNSIGNED:
        return w.cast(low, after)
    signed = f"int{np.iinfo(before).bits}"
    low = w.cast(low, signed) if before in UNSIGNED else low
    above = w.op("BroadcastingGreater", low, w.constant(2 ** (bits - 1) - 1, signed))
    wrapped = w.op("BroadcastingSub", low, w.constant(2**bits, signed))
    return w.cast(_where(w, above, wrapped, low), after)


def _same_bits(w: Writer, x: Handle, before: str, after: str) -> Handle:
    """Between signed and unsigned of one size, through the complement where the other has no such number."""
    bits = np.iinfo(after).bits
    source = f"int{bits}" if after in UNSIGNED else f"uint{bits}"
    if after in UNSIGNED:
        low, outside = w.constant(0, source), w.op("BroadcastingGreater", w.constant(0, source), x)
    else:
        low = w.constant(0, source)
        outside = w.op("BroadcastingGreater", x, w.constant(2 ** (bits - 1) - 1, source))
    inside = w.cast(_where(w, outside, low, x), after)
    ones = -1 if source.startswith("int") else 2**bits - 1
    complement = w.op("BroadcastingBitwiseXor", x, w.constant(ones, source))
    other = w.cast(_where(w, outside, complement, low), after)
    most = 2**bits - 1 if after in UNSIGNED else -1
    turned = w.op("BroadcastingBitwiseXor", other, w.constant(most, after))
    return _where(w, outside, turned, inside)


def _safe_divisor(w: Writer, node: Node) -> tuple[Handle, Any, Any]:
    """A divisor by which the processor can divide, and where it was 0 or -1: dividing by 0, and the least
    integer by -1, ends the process."""
    y, dtype = node.inputs[1], node.output.dtype
    signed = dtype not in UNSIGNED
    if y in w.known:
        array = w.known[y]
        zeros, ones = array == 0, (array == -1) if signed else np.zeros(array.shape, bool)
        safe = w.constant(np.where(zeros | ones, np.ones_like(array), array))
        return safe, w.constant(zeros) if zeros.any() else None, w.constant(ones) if ones.any() else None
    handle, one = w.ref(y), w.constant(1, dtype)
    zero = w.op("BroadcastingEqual", handle, w.constant(0, dtype))
    safe = _where(w, zero, one, handle)
    if not signed:
        return safe, zero, None
    negated = w.op("BroadcastingEqual", handle, w.constant(-1, dtype))
    return _where(w, negated, one, safe), zero, negated


def _where(w: Writer, condition: Handle, x: Handle, y: Handle) -> Handle:
    return w.op("BroadcastingWhere", condition, x, y)


def quotient(w: Writer, node: Node) -> Handle:
    """0 by a divisor of 0; by -1 the negative."""
    x, dtype = w.ref(node.inputs[0]), node.output.dtype
    divisor, zero, negated = _safe_divisor(w, node)
    found = w.op("BroadcastingFloorDivide", x, divisor)
    if negated is not None:
        found = _where(w, negated, w.op("BroadcastingSub", w.constant(0, dtype), x), found)
    return found if zero is None else _where(w, zero, w.constant(0, dtype), found)


def remainder(w: Writer, node: Node) -> Handle:
    """With the divisor's sign; 0 by 0."""
    x, dtype = w.ref(node.inputs[0]), node.output.dtype
    divisor, *without_rest = _safe_divisor(w, node)
    times = w.op("BroadcastingFloorDivide", x, divisor)
    rest = w.op("BroadcastingSub", x, w.op("BroadcastingMul", times, divisor))
    for condition in without_rest:
        rest = rest if condition is None else _where(w, condition, w.constant(0, dtype), rest)
    return rest


def power(w: Writer, node: Node) -> Handle:
    """By squaring, a step for each bit that the exponent may have; 1 where it is below 0."""
    x, y = node.inputs
    dtype, exponents = node.output.dtype, w.known.get(y)
    largest = int(np.iinfo(dtype).max if exponents is None else exponents.max())
    one, total = w.constant(1, dtype), None
    for bit in range(largest.bit_length()):
        if exponents is not None:
            chosen = w.constant((exponents > 0) & (exponents >> bit & 1 == 1))
        else:
            found = w.op("BroadcastingBitwiseAnd", w.ref(y), w.constant(1 << bit, dtype))
            positive = w.op("BroadcastingGreater", w.ref(y), w.constant(0, dtype))
            chosen = w.op("And", positive, w.op("BroadcastingNotEqual", found, w.constant(0, dtype)))
        factor = _where(w, chosen, _squared(w, x, bit), one)
        total = factor if total is None else w.op("BroadcastingMul", total, factor)
    return w.op("BroadcastTo", one, w.shape(node.output.shape, unsigned=True)) if total is None else total


def _squared(w: Writer, x: Value, times: int) -> Handle:
    if x in w.known:
        array = w.known[x]
        for _ in range(times):
            array = array * array
        return w.constant(array)
    handle = w.ref(x)
    for _ in range(times):
        handle = w.op("Mul", handle, handle)
    return handle


def _shift(w: Writer, node: Node) -> tuple[Handle, Any, Handle]:
    """How far, between 0 and the last bit; whether it is more than that; and two to its power."""
    y, dtype = node.inputs[1], node.output.dtype
    bits = np.iinfo(dtype).bits
    if y in w.known:
        steps = w.known[y]
        beyond = (steps < 0) | (steps >= bits)
        steps = np.where(beyond, 0, steps)
        powers = np.left_shift(np.ones_like(steps), steps)
        return w.constant(steps), w.constant(beyond) if beyond.any() else None, w.constant(powers)
    last = w.constant(bits - 1, dtype)
    beyond = w.op("BroadcastingGreater", w.ref(y), last)
    if dtype not in UNSIGNED:
        beyond = w.op("Or", beyond, w.op("BroadcastingGreater", w.constant(0, dtype), w.ref(y)))
    steps = _where(w, beyond, w.constant(0, dtype), w.ref(y))
    return steps, beyond, _power_of_two(w, steps, dtype)


def _power_of_two(w: Writer, steps: Handle, dtype: str) -> Handle:
    total: Any = None
    for bit in range(np.iinfo(dtype).bits.bit_length() - 1):
        found = w.op("BroadcastingBitwiseAnd", steps, w.constant(1 << bit, dtype))
        chosen = w.op("BroadcastingNotEqual", found, w.constant(0, dtype))
        factor = np.array(1).astype(dtype) << np.array(1 << bit).astype(dtype)
        part = _where(w, chosen, w.constant(factor), w.constant(1, dtype))
        total = part if total is None else w.op("Mul", total, part)
    return total


def _left_shift(w: Writer, node: Node) -> None:
    _, beyond, powers = _shift(w, node)
    y = w.op("BroadcastingMul", w.ref(node.inputs[0]), powers)
    w.give(node.output, y if beyond is None else _where(w, beyond, w.like(0, node.output), y))


def _right_shift(w: Writer, node: Node) -> None:
    """A division that rounds down; of a negative number by its complement."""
    x, dtype = w.ref(node.inputs[0]), node.output.dtype
    _, beyond, powers = _shift(w, node)
    zero = w.constant(0, dtype)
    if dtype in UNSIGNED:
        y = w.op("BroadcastingFloorDivide", x, powers)
        return w.give(node.output, y if beyond is None else _where(w, beyond, zero, y))
    minus = w.constant(-1, dtype)
    negative = w.op("BroadcastingGreater", zero, x)
    size = _where(w, negative, w.op("BroadcastingSub", minus, x), x)
    past, safe = _positive(w, node, powers)
    y = w.op("BroadcastingFloorDivide", size, safe)
    for condition in (beyond, past):
        y = y if condition is None else _where(w, condition, zero, y)
    return w.give(node.output, _where(w, negative, w.op("BroadcastingSub", minus, y), y))


def _positive(w: Writer, node: Node, powers: Handle) -> tuple[Any, Handle]:
    """Where the power is that of the sign, and the powers with 1 there."""
    y, dtype = node.inputs[1], node.output.dtype
    bits = np.iinfo(dtype).bits
    if y not in w.known:
        past = w.op("BroadcastingGreater", w.constant(0, dtype), powers)
        return past, _where(w, past, w.constant(1, dtype), powers)
    steps = w.known[y]
    past = steps == bits - 1
    inside = np.where((steps < 0) | (steps >= bits - 1), 0, steps)
    return w.constant(past) if past.any() else None, w.constant(np.left_shift(np.ones_like(steps), inside))


RULES = {"LeftShift": Lowering(_left_shift), "RightShift": Lowering(_right_shift)}

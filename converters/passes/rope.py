"""Rotary positions: pairs of elements of the last axis turn by angles that depend on the position.

    one, two = x[..., :h], x[..., h:]
    a = Subtract(Multiply(one, cos), Multiply(two, sin))
    b = Add(Multiply(one, sin), Multiply(two, cos))
    y = Concatenate(a, b)                           ->      y = RoPE(x, cos, sin)

In the traditional form neighbours make the pairs (one = x[..., ::2], two = x[..., 1::2]) and a and b are
interleaved. The form with a rotated half, `x * cos + concatenate(-two, one) * sin` with doubled tables, is
the same. What follows the pairs on the axis passes through. How the angles are computed (from an offset, a
size, an input) is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.graph import Builder, Value
from converters.pattern import Match, Rule, op, var
from converters.sizes import AnySize

Part = tuple[Value, AnySize, AnySize, int]  # source, start, end, step along the last axis

_REAL = op("Subtract", op("Multiply", var("one"), var("cos")), op("Multiply", var("two"), var("sin")))
_IMAGINARY = op("Add", op("Multiply", var("one"), var("sin")), op("Multiply", var("two"), var("cos")))
_COLUMNS = op("Concatenate", op("Reshape", _REAL, name="a"), op("Reshape", _IMAGINARY), name="c")
_ROTATED = op("Concatenate", op("Negative", var("two")), var("one"), name="c")


def part(m: Match, value: Value) -> Part | None:
    """Which part of the last axis of which value this is, or None."""
    node = m.graph.producers.get(value)
    if node is None or not value.shape:
        return None
    source, last = node.inputs[0], len(value.shape) - 1
    if node.op == "Slice":
        start, end, steps = (node.attrs[name] for name in ("start", "end", "strides"))
        others = [(start[i], end[i], steps[i]) == (0, source.shape[i], 1) for i in range(last)]
        return (source, start[last], end[last], steps[last]) if all(others) and steps[last] > 0 else None
    if node.op == "Split" and node.attrs["axis"] == last:
        begin: AnySize = 0
        for output, size in zip(node.outputs, node.attrs["sizes"], strict=True):
            if output is value:
                return source, begin, begin + size, 1
            begin = begin + size
    if node.op == "Reshape" and source.shape == (*value.shape, 1):
        return _column(m, source)
    return None


def _column(m: Match, value: Value) -> Part | None:
    """One of the two columns of a source whose last axis was split in pairs."""
    found = part(m, value)
    pairs = m.graph.producers.get(found[0]) if found else None
    if found is None or pairs is None or pairs.op != "Reshape" or found[0].shape[-1] != 2 or found[3] != 1:
        return None
    source, width = pairs.inputs[0], 2 * found[0].shape[-2]
    return (source, found[1], width, 2) if source.shape == (*found[0].shape[:-2], width) else None


def _source(m: Match, traditional: bool) -> Value | None:
    """What is rotated, where `one` and `two` are its first pairs."""
    one, two = part(m, m["one"]), part(m, m["two"])
    half = m["one"].shape[-1]
    if one is None or two is None or one[0] is not two[0] or not isinstance(half, int):
        return None
    wanted = ((0, 2 * half, 2), (1, 2 * half, 2)) if traditional else ((0, half, 1), (half, 2 * half, 1))
    if traditional:  # the last even place may be left out of the bounds
        one, two = (*one[:2], 2 * half, one[3]), (*two[:2], 2 * half, two[3])
    return one[0] if (one[1:], two[1:]) == wanted else None


def _check(traditional: bool) -> Callable[[Match], str | None]:
    def check(m: Match) -> str | None:
        x = _source(m, traditional)
        last, half = len(m.root.output.shape) - 1, m["one"].shape[-1]
        if x is None:
            return "not the pairs of one value"
        if m["cos"].shape != m["sin"].shape or m["cos"].shape[-1:] != (half,):
            return "tables of another width"
        if traditional and (m.node("c").attrs["axis"] != last + 1 or m["a"].shape != (*m["one"].shape, 1)):
            return "the pairs are not interleaved again"
        if m.root.op == "Concatenate" and m.root.attrs["axis"] != last:
            return "joined along another axis"
        if "rest" in m.bound:
            rest = part(m, m["rest"])
            if rest is None or rest[0] is not x or rest[1:] != (2 * half, x.shape[-1], 1):
                return "what follows the pairs changes"
        return None if m.root.output.shape == x.shape else "a part is left out, or a table widens the result"

    return check


def _rope(traditional: bool) -> Callable[[Builder, Match], Value]:
    def replace(b: Builder, m: Match) -> Value:
        x = _source(m, traditional)
        assert x is not None
        return b("RoPE", x, m["cos"], m["sin"], traditional=traditional, heads=0)

    return replace


def _half_table(m: Match, name: str, b: Builder | None = None) -> Value | None:
    """The first half of a table whose halves are equal, or None where they are not."""
    value = m[name]
    node = m.graph.producers.get(value)
    array = m.graph.constants.get(value)
    width = value.shape[-1] if value.shape else 0
    if array is not None and isinstance(width, int) and width % 2 == 0:
        one, two = array[..., : width // 2], array[..., width // 2 :]
        if not np.array_equal(one, two):
            return None
        return value if b is None else b.constant(np.ascontiguousarray(one), value.name)
    chain = []
    while node is not None and node.op in ("Cos", "Sin", "AsType", "Multiply", "Reshape"):
        if node.op == "Multiply" and (node.inputs[1] not in m.graph.constants or node.inputs[1].shape):
            return None
        if node.op == "Reshape" and node.inputs[0].shape[-1] != node.output.shape[-1]:
            return None
        chain.append(node)
        node = m.graph.producers.get(node.inputs[0])
    if (
        node is None
        or node.op != "Concatenate"
        or len(node.inputs) != 2
        or node.inputs[0] is not node.inputs[1]
    ):
        return None
    if node.attrs["axis"] != len(node.output.shape) - 1:
        return None
    result = node.inputs[0]
    if b is None:
        return result
    for step in reversed(chain):
        attrs = dict(step.attrs)
        if step.op == "Reshape":
            attrs["shape"] = (*attrs["shape"][:-1], result.shape[-1])
        result = b(step.op, result, *step.inputs[1:], **attrs)
    return result


def _check_rotated(m: Match) -> str | None:
    last, half = len(m["x"].shape) - 1, m["one"].shape[-1]
    if _source(m, False) is not m["x"] or m.node("c").attrs["axis"] != last or m["x"].shape[-1] != 2 * half:
        return "not a rotated half of the same value"
    if m["cos"].shape != m["sin"].shape or m["cos"].shape[-1:] != m["x"].shape[-1:]:
        return "tables of another width"
    if m.root.output.shape != m["x"].shape:
        return "a table widens the result"
    known = all(_half_table(m, name) is not None for name in ("cos", "sin"))
    return None if known else "the halves of the tables may differ"


def _rotated(b: Builder, m: Match) -> Value:
    cos, sin = _half_table(m, "cos", b), _half_table(m, "sin", b)
    assert cos is not None
    assert sin is not None
    return b("RoPE", m["x"], cos, sin, traditional=False, heads=0)


def _check_partial(m: Match) -> str | None:
    rotated, rest = part(m, m["x"]), part(m, m["rest"])
    if rotated is None or rest is None or rotated[0] is not rest[0]:
        return "not two parts of one value"
    width = m["x"].shape[-1]
    whole = rotated[1:] == (0, width, 1) and rest[1:] == (width, rest[0].shape[-1], 1)
    if not whole or m.root.attrs["axis"] != len(m["x"].shape) - 1 or m.node("r").attrs["heads"]:
        return "the parts are not put together as they were"
    return None


def _partial(b: Builder, m: Match) -> Value:
    found = part(m, m["x"])
    assert found is not None
    return b("RoPE", found[0], *m.node("r").inputs[1:], **m.node("r").attrs)


RULES = (
    Rule("rope", op("Concatenate", _REAL, _IMAGINARY), _rope(False), _check(False)),
    Rule("rope-partial", op("Concatenate", _REAL, _IMAGINARY, var("rest")), _rope(False), _check(False)),
    Rule("rope-traditional", op("Reshape", _COLUMNS), _rope(True), _check(True)),
    Rule(
        "rope-traditional-partial",
        op("Concatenate", op("Reshape", _COLUMNS), var("rest")),
        _rope(True),
        _check(True),
    ),
    Rule(
        "rope-rotated-half",
        op("Add", op("Multiply", var("x"), var("cos")), op("Multiply", _ROTATED, var("sin"))),
        _rotated,
        _check_rotated,
    ),
    Rule(
        "rope-then-rest",
        op("Concatenate", op("RoPE", var("x"), var("cos"), var("sin"), name="r"), var("rest")),
        _partial,
        _check_partial,
    ),
)

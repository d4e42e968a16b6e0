"""Poolings, which MLX traces as reshapes or strided views and a reduction.

    a = Reshape(x, shape=(N, H/2, 2, W/2, 2, C))
    b = Transpose(a, axes=(0, 1, 3, 2, 4, 5))
    y = Reduce(b, kind=max, axes=(3, 4))           ->      y = MaxPool(x, kernel=(2, 2), strides=(2, 2), ...)

    p = Pad(x, -inf, ...)
    a = AsStrided(p, shape=(N, H', W', 3, 3, C), strides of a contiguous p)
    y = Reduce(a, kind=max, axes=(3, 4))             ->      y = MaxPool(x, kernel=(3, 3), low=(1, 1), ...)

A sum becomes AvgPool where it is multiplied with one over the kernel's size.
"""

from __future__ import annotations

from math import prod
from typing import Any

from converters.dtypes import is_float
from converters.errors import ShapeError
from converters.graph import Builder, Node, Value
from converters.pattern import Match, Rule, const, op, var
from converters.sizes import AnySize, divide, product


def _tiles(m: Match) -> dict[str, Any] | None:
    """Attributes of the pooling that Reshape, Transpose and Reduce spell, or None."""
    x, reduce = m["x"], m.node("r")
    shape = m.node("s").attrs["shape"]
    axes = m.node("t").attrs["axes"] if "t" in m.bound else tuple(range(len(shape)))
    count = len(x.shape) - 2
    if len(shape) != 2 + 2 * count or count < 1 or shape[0] != x.shape[0] or shape[-1] != x.shape[-1]:
        return None
    kernel = shape[2:-1:2]
    if not all(isinstance(k, int) for k in kernel):
        return None
    if any(n * k != size for n, k, size in zip(shape[1:-1:2], kernel, x.shape[1:-1], strict=True)):
        return None
    if sorted(axes[axis] for axis in reduce.attrs["axes"]) != list(range(2, 2 + 2 * count, 2)):
        return None
    left = [axis for position, axis in enumerate(axes) if position not in reduce.attrs["axes"]]
    if left != sorted(left):
        return None
    return {
        "kernel": kernel,
        "strides": kernel,
        "low": (0,) * count,
        "high": (0,) * count,
        "channels_first": False,
    }


def contiguous_strides(shape: tuple[AnySize, ...]) -> list[AnySize]:
    """Elements from one index to the next along each axis."""
    return [product(shape[axis + 1 :]) for axis in range(len(shape))]


def _view(m: Match) -> dict[str, Any] | None:
    """Attributes of the pooling that AsStrided and Reduce spell, or None."""
    view, reduce = m.node("v"), m.node("r")
    source = m["x"]
    shape, strides = view.attrs["shape"], view.attrs["strides"]
    count = len(source.shape) - 2
    if view.attrs["offset"] != 0 or count < 1 or len(shape) != 2 + 2 * count:
        return None
    if reduce.attrs["axes"] != tuple(range(1 + count, 1 + 2 * count)):
        return None
    kernel = shape[1 + count : -1]
    steps = contiguous_strides(source.shape)
    if not all(isinstance(k, int) for k in kernel):
        return None
    if strides[0] != steps[0] or strides[-1] != 1 or list(strides[1 + count : -1]) != steps[1:-1]:
        return None
    try:
        jumps = tuple(divide(a, s) for a, s in zip(strides[1 : 1 + count], steps[1:-1], strict=True))
    except ShapeError:
        return None
    if (
        not all(isinstance(j, int) for j in jumps)
        or shape[0] != source.shape[0]
        or shape[-1] != source.shape[-1]
    ):
        return None
    return {
        "kernel": kernel,
        "strides": jumps,
        "low": (0,) * count,
        "high": (0,) * count,
        "channels_first": False,
    }


def _pool(b: Builder, m: Match, attrs: dict[str, Any], kind: str, pad_value: float) -> Value:
    """The pooling op; a Pad before it with the right value and on spatial axes only is taken in."""
    source = m["x"]
    node: Node | None = m.graph.producers.get(source)
    if node is not None and node.op == "Pad" and node.inputs[1] in m.graph.constants:
        low, high = node.attrs["low"], node.attrs["high"]
        ends = (low[0], low[-1], high[0], high[-1])
        padded = float(m.graph.constants[node.inputs[1]].reshape(-1)[0])
        small = all(
            isinstance(p, int) and p < k
            for p, k in zip((*low[1:-1], *high[1:-1]), attrs["kernel"] * 2, strict=True)
        )
        if padded == pad_value and ends == (0, 0, 0, 0) and small:
            attrs = {**attrs, "low": low[1:-1], "high": high[1:-1]}
            source = node.inputs[0]
    return b(kind, source, **attrs)


def _attrs(m: Match) -> dict[str, Any] | None:
    reduce = m.node("r")
    wanted = "max" if m.root is reduce or reduce.output is m.root.output else "sum"
    if reduce.attrs["kind"] != wanted or not is_float(m["x"].dtype) or reduce.attrs["dtype"] != m["x"].dtype:
        return None
    attrs = _view(m) if "v" in m.bound else _tiles(m)
    if attrs is None or wanted == "max":
        return attrs
    scale = m.number("scale")
    return attrs if scale is not None and abs(scale * prod(attrs["kernel"]) - 1) < 1e-6 else None


def _replace_max(b: Builder, m: Match) -> Value:
    attrs = _attrs(m)
    assert attrs is not None
    return _shaped(b, _pool(b, m, attrs, "MaxPool", float("-inf")), m)


def _replace_mean(b: Builder, m: Match) -> Value:
    attrs = _attrs(m)
    assert attrs is not None
    return _shaped(b, _pool(b, m, attrs, "AvgPool", 0.0), m)


def _shaped(b: Builder, y: Value, m: Match) -> Value:
    return y if y.shape == m.root.output.shape else b("Reshape", y, shape=m.root.output.shape)


def _check(m: Match) -> str | None:
    if 0 in m.node("r").inputs[0].shape:
        return "no window at all, where runtimes make one"
    return None if _attrs(m) is not None else "not the windows of a pooling"


_TILED = op("Transpose", op("Reshape", var("x"), name="s"), name="t")
_ROWS = op("Reshape", var("x"), name="s")
_STRIDED = op("AsStrided", op("Reshape", var("x")), name="v")
_FLAT = op("AsStrided", var("x"), name="v")

RULES = tuple(
    rule
    for windows in (_TILED, _ROWS, _STRIDED, _FLAT)
    for rule in (
        Rule("max-pool", op("Reduce", windows, name="r", kind="max"), _replace_max, _check),
        Rule(
            "average-pool",
            op("Multiply", op("Reduce", windows, name="r", kind="sum"), const("scale")),
            _replace_mean,
            _check,
        ),
    )
)

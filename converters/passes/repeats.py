"""Nearest-neighbour upsampling and `mx.repeat`, which MLX traces as a broadcast along new axes.

a = Reshape(x, shape=(N, H, 1, W, 1, C))
b = Broadcast(a, shape=(N, H, 2, W, 2, C))
y = Reshape(b, shape=(N, 2·H, 2·W, C))              ->      y = Repeat(x, repeats=(1, 2, 2, 1))
"""

from __future__ import annotations

from converters.graph import Builder, Value
from converters.passes import reshapes
from converters.pattern import Match, Rule, op, var


def _repeats(m: Match) -> tuple[int, ...] | None:
    """How often each element is repeated along each axis, or None where the shapes say something else."""
    single, wide, left = m["s"].shape, m["t"].shape, 0
    if len(single) != len(wide):
        return None
    repeats: list[int] = []
    for size in m["x"].shape:
        if left >= len(single) or single[left] != size or wide[left] != size:
            return None
        times, left = 1, left + 1
        after = wide[left] if left < len(single) and single[left] == 1 else None
        if isinstance(after, int):
            times, left = after, left + 1
        repeats.append(times)
    sizes = [size * times for size, times in zip(m["x"].shape, repeats, strict=True)]
    joined = [size for size in sizes if size != 1] == [size for size in m.root.output.shape if size != 1]
    return tuple(repeats) if left == len(single) and joined and max(repeats, default=1) > 1 else None


def _check(m: Match) -> str | None:
    return None if _repeats(m) is not None else "not each element a number of times"


def _repeat(b: Builder, m: Match) -> Value:
    return b("Reshape", b("Repeat", m["x"], repeats=_repeats(m)), shape=m.root.output.shape)


def _together(b: Builder, m: Match) -> Value:
    both = zip(m.node("r").attrs["repeats"], m.root.attrs["repeats"], strict=True)
    return b("Repeat", m["x"], repeats=tuple(first * second for first, second in both))


_WIDENED = op("Broadcast", op("Reshape", var("x"), name="s", shared=True), name="t")

RULES = (
    *reshapes.RULES,
    Rule("repeat", op("Reshape", _WIDENED), _repeat, _check),
    Rule("repeat-once", op("Repeat", op("Repeat", var("x"), name="r")), _together),
)

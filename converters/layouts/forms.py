"""Which axes of an array become the batch, the channels and the tokens of (B, C, 1, S)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from converters.sizes import AnySize, Shape, product

CHANNELS, TOKENS = 1, 3  # the axes of (B, C, 1, S); the batch is 0


@dataclass(frozen=True)
class Form:
    """The axes of each group, the outermost first; of (B, H, S, D) with heads H and D are channels."""

    batch: tuple[int, ...]
    channels: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def groups(self) -> dict[int, tuple[int, ...]]:
        """The axes by their place in (B, C, 1, S)."""
        return {0: self.batch, CHANNELS: self.channels, TOKENS: self.tokens}

    @property
    def order(self) -> tuple[int, ...]:
        """The permutation that puts the groups one after the other."""
        return (*self.batch, *self.channels, *self.tokens)

    def shape(self, shape: Shape) -> Shape:
        """(B, C, 1, S) of an array of this shape."""
        batch, channels, tokens = (product(shape[axis] for axis in group) for group in self.groups.values())
        return (batch, channels, 1, tokens)

    def bare(self, shape: Shape) -> tuple[tuple[int, ...], ...]:
        """The groups without axes of one element: equal where two forms mean the same."""
        return tuple(tuple(axis for axis in group if shape[axis] != 1) for group in self.groups.values())

    def permuted(self, axes: Sequence[int]) -> Form:
        """The form after a transposition."""
        return Form(*(tuple(axes.index(axis) for axis in group) for group in self.groups.values()))

    def without(self, axes: Iterable[int]) -> Form:
        """The form after some axes are gone."""
        gone = set(axes)
        kept = [axis for axis in range(len(self.order)) if axis not in gone]
        return Form(
            *(tuple(kept.index(axis) for axis in g if axis not in gone) for g in self.groups.values())
        )

    def place(self, axis: int, shape: Shape) -> tuple[int, AnySize] | None:
        """The axis of (B, C, 1, S) of which `axis` is the outermost part, and how many elements one step
        along it is; None where it is no outermost part."""
        for where, group in self.groups.items():
            if axis in group:
                inside = group[group.index(axis) + 1 :]
                before = group[: group.index(axis)]
                if any(shape[other] != 1 for other in before):
                    return None
                return where, product(shape[other] for other in inside)
        raise AssertionError(f"axis {axis} is in no group")

    def reshaped(self, before: Shape, after: Shape) -> Form | None:
        """The form after a reshape that splits or joins axes within a group; None for any other."""
        parts = _parts(before, after)
        if parts is None:
            return None
        owner = {axis: index for index, (old, _) in enumerate(parts) for axis in old}
        taken: set[int] = set()
        groups = []
        for group in self.groups.values():
            axes = [axis for axis in group if before[axis] != 1]
            runs = [(index, list(run)) for index, run in groupby(axes, key=owner.__getitem__)]
            for index, run in runs:
                whole = [axis for axis in parts[index][0] if before[axis] != 1]
                if run != whole or index in taken:
                    return None
                taken.add(index)
            groups.append(tuple(axis for index, _ in runs for axis in parts[index][1]))
        rest = tuple(axis for index, (_, new) in enumerate(parts) if index not in taken for axis in new)
        return Form(groups[0], groups[1], (*groups[2], *rest))


def _parts(before: Shape, after: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """Runs of axes of both shapes with as many elements, as short as they can be."""
    parts = []
    i = j = 0
    while i < len(before) or j < len(after):
        found = _first_run(before[i:], after[j:])
        if found is None:
            return None
        rows, columns = found
        parts.append((tuple(range(i, i + rows)), tuple(range(j, j + columns))))
        i, j = i + rows, j + columns
    return parts


def _first_run(before: Shape, after: Shape) -> tuple[int, int] | None:
    for length in range(2, len(before) + len(after) + 1):
        for rows in range(1, length):
            columns = length - rows
            if rows > len(before) or columns > len(after):
                continue
            if product(before[:rows]) == product(after[:columns]):
                return rows, columns
    if before and before[0] == 1:
        return 1, 0
    return (0, 1) if after and after[0] == 1 else None


def default_form(rank: int) -> Form:
    """The last axis as channels, those between the first and it as tokens."""
    return Form((0,), (rank - 1,), tuple(range(1, rank - 1)))


HEADS = Form((0,), (1, 3), (2,))  # (B, H, S, D)
__all__ = ["CHANNELS", "HEADS", "TOKENS", "Form", "default_form"]

"""MLX's general Gather and Scatter, in terms of the ops of `converters.ops.indexing`.

Both take index arrays of one shape I, the axes of x that they index, and the size over all axes of the
window at
each position; what they move has the shape I + window. Part of capture, as `converters.records`.
"""

from __future__ import annotations

from collections.abc import Sequence

from converters.graph import Builder, Value
from converters.ops.indexing import along
from converters.sizes import AnySize, Shape


class Windows:
    """The windows of one Gather or Scatter.

    Attributes:
        axes: the axes of x whose positions are not simply all of them.
        wide: those of them whose windows have more than one element, in order.
        rest: the other axes of x.
    """

    def __init__(self, b: Builder, x: Value, indices: Sequence[Value], axes: Sequence[int], sizes: Shape):
        self.b, self.x, self.sizes = b, x, sizes
        self.given = dict(zip(axes, indices, strict=True))
        self.shape: Shape = indices[0].shape if indices else ()
        full = [axis for axis in range(len(sizes)) if sizes[axis] == x.shape[axis] and axis not in self.given]
        self.axes = [axis for axis in range(len(sizes)) if axis not in full]
        self.rest = full
        self.wide = [axis for axis in self.axes if sizes[axis] != 1]
        self.dtype = "int64" if any(value.dtype in ("int64", "uint64") for value in indices) else "int32"

    def positions(self, axis: int) -> Value:
        """Where along `axis` each element of I + wide windows lies; broadcasts to that shape."""
        b, rank = self.b, len(self.shape) + len(self.wide)
        index = self.given.get(axis)
        total = None
        if index is not None:
            index = index if index.dtype == self.dtype else b("AsType", index, dtype=self.dtype)
            total = b("Reshape", index, shape=(*self.shape, *(1,) * len(self.wide))) if self.wide else index
        if axis in self.wide or total is None:
            place = len(self.shape) + self.wide.index(axis) if axis in self.wide else 0
            steps = b("Arange", start=0, step=1, size=self.sizes[axis], dtype=self.dtype)
            spread = tuple(self.sizes[axis] if i == place else 1 for i in range(rank))
            steps = b("Reshape", steps, shape=spread)
            total = steps if total is None else b("Add", total, steps)
        return total

    def indices(self) -> Value:
        """The positions along all of `axes`, in a last axis."""
        shape = (*self.shape, *(self.sizes[axis] for axis in self.wide))
        columns = []
        for axis in self.axes:
            column = self.positions(axis)
            column = column if column.shape == shape else self.b("Broadcast", column, shape=shape)
            columns.append(self.b("Reshape", column, shape=(*shape, 1)))
        return columns[0] if len(columns) == 1 else self.b("Concatenate", *columns, axis=len(shape))

    def to_front(self, x: Value) -> Value:
        """x with the indexed axes first."""
        return permuted(self.b, x, (*self.axes, *self.rest))

    def order(self) -> tuple[int, ...]:
        """From I + wide windows + rest to I + the axes in their order."""
        count = len(self.shape)
        labels = [*self.wide, *self.rest]
        return (*range(count), *(count + labels.index(axis) for axis in sorted(labels)))


def signed(b: Builder, indices: Value) -> Value:
    """Positions as int32 or int64, which is what the ops take."""
    if indices.dtype in ("int32", "int64"):
        return indices
    return b("AsType", indices, dtype="int64" if indices.dtype == "uint64" else "int32")


def permuted(b: Builder, x: Value, axes: tuple[int, ...]) -> Value:
    """Transpose, where it changes something."""
    return x if axes == tuple(range(len(axes))) else b("Transpose", x, axes=axes)


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    return tuple(axes.index(axis) for axis in range(len(axes)))


def reshaped(b: Builder, x: Value, shape: Sequence[AnySize]) -> Value:
    """Reshape, where it changes something."""
    return x if x.shape == tuple(shape) else b("Reshape", x, shape=tuple(shape))


def gather(b: Builder, x: Value, indices: Sequence[Value], axes: Sequence[int], sizes: Shape) -> Value:
    """The windows at the given positions: I + sizes."""
    for axis, size in enumerate(sizes):
        if axis not in axes and size != x.shape[axis]:
            x = along(b, x, axis, 0, size, 1)
    if not axes:
        return x
    windows = Windows(b, x, indices, axes, sizes)
    shape = (*windows.shape, *sizes)
    if len(windows.axes) > 1:
        y = b("GatherND", windows.to_front(x), windows.indices())
        return reshaped(b, permuted(b, y, windows.order()), shape)
    (axis,) = windows.axes
    y = b("Gather", x, windows.positions(axis), axis=axis)
    count = len(windows.shape)
    front = (*range(axis, axis + count), *range(axis), *range(axis + count, len(y.shape)))
    return reshaped(b, permuted(b, y, front), shape)


def scatter(
    b: Builder, x: Value, indices: Sequence[Value], updates: Value, axes: Sequence[int], kind: str
) -> Value:
    """x with the windows at the given positions replaced by, or combined with, `updates`."""
    count = len(indices[0].shape) if indices else 0
    sizes = updates.shape[count:]
    windows = Windows(b, x, indices, axes, sizes)
    if not windows.axes:
        return b(
            "SliceUpdate",
            x,
            updates,
            kind=kind,
            start=(0,) * len(sizes),
            end=sizes,
            strides=(1,) * len(sizes),
        )
    kept = [sizes[axis] for axis in sorted([*windows.wide, *windows.rest])]
    updates = reshaped(b, updates, (*windows.shape, *kept))
    updates = permuted(b, updates, inverse(windows.order()))
    y = b("ScatterND", windows.to_front(x), windows.indices(), updates, kind=kind)
    return permuted(b, y, inverse((*windows.axes, *windows.rest)))

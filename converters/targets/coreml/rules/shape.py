"""Reshapes, slices and joins."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.graph import Node
from converters.sizes import AnySize, Size, is_static
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import CAST_NAMES, Writer, slice_defaults


def _reshape(w: Writer, node: Node) -> None:
    shape = node.attrs["shape"]
    x = w.ref(node.inputs[0])
    named = [size for size in shape if not isinstance(size, int)]
    if len(named) <= 1 and 0 not in shape:
        target = [size if isinstance(size, int) else -1 for size in shape]
        w.emit("reshape", node, x=x, shape=np.array(target, np.int32))
    else:
        w.emit("reshape", node, x=x, shape=w.shape(shape))


def _transpose(w: Writer, node: Node) -> None:
    w.emit("transpose", node, x=w.ref(node.inputs[0]), perm=np.array(node.attrs["axes"], np.int32))


def _concatenate(w: Writer, node: Node) -> None:
    values = [w.ref(value) for value in node.inputs]
    w.emit("concat", node, values=values, axis=node.attrs["axis"], interleave=False)


def _slice(w: Writer, node: Node) -> None:
    shape, start, end = node.inputs[0].shape, node.attrs["start"], node.attrs["end"]
    whole = [_whole(*bounds) for bounds in zip(shape, start, end, node.attrs["strides"], strict=True)]
    parameters = slice_defaults(len(shape))
    parameters["stride"] = np.array(node.attrs["strides"], np.int32)
    parameters["begin_mask"] = np.array([first for first, _ in whole])
    parameters["end_mask"] = np.array([last for _, last in whole])
    begin = tuple(0 if first else s for (first, _), s in zip(whole, start, strict=True))
    stop = tuple(0 if last else e for (_, last), e in zip(whole, end, strict=True))
    w.emit(
        "slice_by_index", node, x=w.ref(node.inputs[0]), begin=w.shape(begin), end=w.shape(stop), **parameters
    )


def _whole(size: AnySize, start: AnySize, end: AnySize, stride: int) -> tuple[bool, bool]:
    """Whether a slice begins, and ends, where the axis does in its direction."""
    if stride > 0:
        return start == 0, end == size
    return start == size - 1, isinstance(end, int) and end < 0


def _pad(w: Writer, node: Node) -> None:
    x, value = node.inputs
    pads = tuple(p for pair in zip(node.attrs["low"], node.attrs["high"], strict=True) for p in pair)
    number = w.graph.constants[value].reshape(())
    w.emit("pad", node, x=w.ref(x), pad=w.shape(pads), mode="constant", constant_val=number)


def _refuse_pad(ios: int, node: Node) -> str | None:
    if node.inputs[1].shape != ():
        return "the padding value is no scalar"
    return None if node.output.dtype.startswith("float") else "Core ML pads floating-point arrays only"


def _broadcast(w: Writer, node: Node) -> None:
    x, shape = node.inputs[0], node.attrs["shape"]
    wide = (1,) * (len(shape) - len(x.shape)) + x.shape
    source = w.ref(x)
    if wide != x.shape:
        source = w.op("reshape", wide, x.dtype, x=source, shape=w.shape(wide))
    repeats = tuple(1 if old == new else new for old, new in zip(wide, shape, strict=True))
    w.emit("tile", node, x=source, reps=w.shape(repeats))


def _dimension(w: Writer, node: Node) -> None:
    size, dtype = node.attrs["size"], node.output.dtype
    if isinstance(size, Size) and is_float(dtype):
        w.emit("cast", node, x=_real(w, size), dtype=CAST_NAMES[dtype])
        return
    scalar = w.op("squeeze", (), "int32", x=w.size(size), axes=np.array([0], np.int32))
    if dtype == "int32":
        w.emit("identity", node, x=scalar)
    else:
        w.emit("cast", node, x=scalar, dtype=CAST_NAMES[dtype])


def _real(w: Writer, size: Size) -> Any:
    """A float32 with the value of a size, which may pass 32 bits: the number of elements, and its square."""
    total: Any = None
    for monomial, factor in size.terms:
        term: Any = w.constant(np.float32(factor), "factor")
        for name in monomial:
            known = w.op("squeeze", (), "int32", x=w.size(Size.of(name)), axes=np.array([0], np.int32))
            known = w.op("cast", (), "float32", x=known, dtype="fp32")
            term = w.op("mul", (), "float32", x=term, y=known)
        total = term if total is None else w.op("add", (), "float32", x=total, y=term)
    return total


def _split(w: Writer, node: Node) -> None:
    sizes = np.array(node.attrs["sizes"], np.int32)
    w.emit("split", node, x=w.ref(node.inputs[0]), split_sizes=sizes, axis=node.attrs["axis"])


def _refuse_split(ios: int, node: Node) -> str | None:
    return None if is_static(node.attrs["sizes"]) else "parts of computed sizes"


def _arange(w: Writer, node: Node) -> None:
    """Whole numbers are counted, then scaled, so that rounding adds no element."""
    start, step, size = (node.attrs[name] for name in ("start", "step", "size"))
    dtype, shape = node.output.dtype, node.output.shape
    zero, one = np.array(0, np.int32), np.array(1, np.int32)
    end = w.op("squeeze", (), "int32", x=w.size(size), axes=np.array([0], np.int32))
    y = w.op("range_1d", shape, "int32", start=zero, end=end, step=one)
    if dtype != "int32":
        y = w.op("cast", shape, dtype, x=y, dtype=CAST_NAMES[dtype])
    if step != 1:
        y = w.op("mul", shape, dtype, x=y, y=np.array(step, numpy_dtype(dtype)))
    if isinstance(start, int | float):
        first: Any = np.array(start, numpy_dtype(dtype))
    else:
        first = w.size(start)
        first = first if dtype == "int32" else w.op("cast", (1,), dtype, x=first, dtype=CAST_NAMES[dtype])
    w.emit("add", node, x=y, y=first)


def _refuse_empty(ios: int, node: Node) -> str | None:
    return "an empty array" if is_static(node.output.shape) and 0 in node.output.shape else None


RULES = {
    "Reshape": Lowering(_reshape),
    "Transpose": Lowering(_transpose),
    "Concatenate": Lowering(_concatenate),
    "Slice": Lowering(_slice),
    "Pad": Lowering(_pad, _refuse_pad),
    "Broadcast": Lowering(_broadcast, _refuse_empty),
    "Dimension": Lowering(_dimension),
    "Split": Lowering(_split, _refuse_split),
    "Arange": Lowering(_arange),
}

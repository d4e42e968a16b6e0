"""Reshapes, slices and joins. Sizes that are named are copied from the operand or computed from the inputs'
shapes."""

from __future__ import annotations

from converters.graph import Node
from converters.ops.shape import unit_change
from converters.sizes import AnySize, Shape, Size, is_static
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer


def _reshape(w: Writer, node: Node) -> None:
    before, after = node.inputs[0].shape, node.attrs["shape"]
    units = unit_change(before, after)
    if not is_static(after) and units is not None:
        w.emit("Unsqueeze" if len(after) > len(before) else "Squeeze", node, w.int64(units))
        return
    target = reshape_target(before, after)
    if target is None:
        w.emit("Reshape", node, w.shape(after), allowzero=1)
    elif 0 in after:
        w.emit("Reshape", node, w.int64(target), allowzero=1)
    else:
        w.emit("Reshape", node, w.int64(target))


def reshape_target(before: Shape, after: Shape) -> list[int] | None:
    """Integers with 0 (copy) and at most one -1 (the rest), or None where the sizes must be computed."""
    if is_static(after):
        return [int(size) for size in after]  # type: ignore[arg-type]
    if 0 in after:
        return None
    target = []
    for axis, size in enumerate(after):
        copied = axis < len(before) and before[axis] == size
        target.append(size if isinstance(size, int) else 0 if copied else -1)
    return target if target.count(-1) <= 1 else None


def _broadcast(w: Writer, node: Node) -> None:
    before, after = node.inputs[0].shape, node.attrs["shape"]
    kept = (None,) * (len(after) - len(before)) + tuple(before)
    target: list[AnySize] = [1 if size == old else size for size, old in zip(after, kept, strict=True)]
    w.emit("Expand", node, w.shape(tuple(target)))


def _transpose(w: Writer, node: Node) -> None:
    w.emit("Transpose", node, perm=list(node.attrs["axes"]))


def _concatenate(w: Writer, node: Node) -> None:
    w.emit("Concat", node, axis=node.attrs["axis"])


def _split(w: Writer, node: Node) -> None:
    w.emit("Split", node, w.shape(node.attrs["sizes"]), axis=node.attrs["axis"])


FAR = 2**31 - 1
INT32 = ELEMENT_TYPES["int32"]


def _slice(w: Writer, node: Node) -> None:
    shape = node.inputs[0].shape
    starts, ends, axes, steps = [], [], [], []
    for axis, (size, start, end, step) in enumerate(
        zip(shape, node.attrs["start"], node.attrs["end"], node.attrs["strides"], strict=True)
    ):
        if start == 0 and end == size and step == 1:
            continue
        before_first = step < 0 and isinstance(end, int) and end < 0
        starts.append(start)
        ends.append(-FAR if before_first else FAR if end == size else end)
        axes.append(axis)
        steps.append(step)
    if not axes:
        w.emit("Identity", node)
    elif is_static(tuple(starts)) and is_static(tuple(ends)):
        w.emit("Slice", node, w.int32(starts), w.int32(ends), w.int32(axes), w.int32(steps))
    else:
        w.emit("Slice", node, w.shape(tuple(starts)), w.shape(tuple(ends)), w.int64(axes), w.int64(steps))


def _pad(w: Writer, node: Node) -> None:
    x, value = (w.name(v) for v in node.inputs)
    w.give("Pad", [x, w.shape((*node.attrs["low"], *node.attrs["high"])), value], [w.name(node.output)])


RESIZED = ("float32", "float16", "int32", "int8", "uint8")  # what onnxruntime resizes


def _refuse_repeat(opset: int, node: Node) -> str | None:
    repeats = node.attrs["repeats"]
    if len(repeats) < 3 or repeats[:2] != (1, 1):
        return "repeats of the batch or the channels"
    return None if node.inputs[0].dtype in RESIZED else "an element type that is not resized"


def _repeat(w: Writer, node: Node) -> None:
    scales = w.constant([float(times) for times in node.attrs["repeats"]], "float32", name="scales")
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    w.give("Resize", [w.name(node.inputs[0]), "", scales], [w.name(node.output)], mode="nearest", **how)


def _integer(size: AnySize | float) -> AnySize | None:
    """The size or whole number that an attribute of Arange is, or None."""
    if isinstance(size, Size):
        return size
    return int(size) if float(size).is_integer() and abs(size) < FAR else None


def _scalar(w: Writer, size: AnySize) -> str:
    """An int32 of rank 0."""
    if isinstance(size, int):
        return w.constant(size, "int32")
    vector = w.size(size)
    return w.once(("int32", size), lambda: w.node("Cast", w.node("Squeeze", vector, w.int64([0])), to=INT32))


def _arange(w: Writer, node: Node) -> None:
    """Range of int32 (which browsers' kernels have); what is not whole is multiplied and added behind it."""
    attrs, dtype = node.attrs, node.output.dtype
    start, step = _integer(attrs["start"]), _integer(attrs["step"])
    if start is None or not isinstance(step, int) or step == 0:
        steps = [("Mul", w.constant(attrs["step"], dtype)), ("Add", w.constant(attrs["start"], dtype))]
        start, step = 0, 1
    else:
        steps = []
    bounds = [_scalar(w, start), _scalar(w, start + step * attrs["size"]), w.constant(step, "int32")]
    if dtype == "int32":
        w.give("Range", bounds, [w.name(node.output)])
        return
    casts = [("Cast", ""), *steps]
    y = w.node("Range", *bounds)
    for position, (op_type, operand) in enumerate(casts):
        result = w.name(node.output) if position == len(casts) - 1 else w.unique(op_type.lower())
        attributes = {"to": ELEMENT_TYPES[dtype]} if op_type == "Cast" else {}
        w.give(op_type, [y, operand] if operand else [y], [result], **attributes)
        y = result


def _dimension(w: Writer, node: Node) -> None:
    scalar = w.node("Squeeze", w.size(node.attrs["size"]), w.int64([0]))
    w.give("Cast", [scalar], [w.name(node.output)], to=ELEMENT_TYPES[node.attrs["dtype"]])


RULES = {
    "Reshape": Lowering(_reshape),
    "Broadcast": Lowering(_broadcast),
    "Transpose": Lowering(_transpose),
    "Concatenate": Lowering(_concatenate),
    "Split": Lowering(_split),
    "Repeat": Lowering(_repeat, _refuse_repeat),
    "Slice": Lowering(_slice),
    "Pad": Lowering(_pad),
    "Arange": Lowering(_arange),
    "Dimension": Lowering(_dimension),
}

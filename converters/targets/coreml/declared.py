"""The types that a program declares, checked before it runs: each operation's operands tell what it gives.

Shapes by rules for the operations that make up most programs, unknown sizes fitting all; element types by the
table of meanings. What has no rule here is checked when it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from converters.errors import LoadError
from converters.targets.coreml.meaning import MEANINGS
from converters.targets.coreml.meaning.definition import DTYPES
from converters.targets.coreml.program import Block, Constant, Operation, Type

Sizes = tuple[int | None, ...]  # None is a size that is not known
Known = Mapping[str, Any]  # parameter to the array of a constant, or the Type of what is computed
Rule = Callable[[Known], "Sizes | list[Sizes] | None"]

UNARY = """abs acos asin atan atanh cos cosh sin sinh tan tanh exp exp2 log sqrt rsqrt inverse square erf sign
    ceil floor round clip relu relu6 leaky_relu elu gelu sigmoid silu softplus softsign softmax layer_norm
    batch_norm instance_norm l2_norm cumsum cast identity logical_not argsort reverse band_part slice_update
    threshold scaled_tanh sigmoid_hard clamped_relu prelu"""
VIEWS = "slice_by_index squeeze split depth_to_space space_to_depth"  # computed without memory
BINARY = """add sub mul real_div floor_div mod pow maximum minimum equal not_equal less less_equal greater
    greater_equal logical_and logical_or logical_xor"""
OPERANDS = {"matmul": "x", "cast": "x", "concat": "values"}  # whose type the result has
REDUCED = frozenset(name for name in MEANINGS if name.startswith("reduce_") and "arg" not in name)


def check_declared(inputs: Mapping[str, Type], body: Block) -> None:
    """LoadError where an operation cannot give what the program declares for it; blocks inside are left
    out."""
    known: dict[str, Any] = dict(inputs)
    known |= {name: value for name, value in body.constants.items() if isinstance(value, np.ndarray | str)}
    for operation in body.operations:
        given = {name: _of(argument, known) for name, argument in operation.arguments.items()}
        _check_dtypes(operation, given)
        rule = RULES.get(operation.type)
        if rule is not None:
            _check_shapes(operation, rule, given)
        known.update(operation.outputs)


def _of(argument: tuple[str | Constant, ...], known: Mapping[str, Any]) -> Any:
    found = [entry.value if isinstance(entry, Constant) else known.get(entry) for entry in argument]
    return found[0] if len(found) == 1 else tuple(found)


def _check_dtypes(operation: Operation, given: Known) -> None:
    meaning = MEANINGS.get(operation.type)
    rule = None if meaning is None else OPERANDS.get(operation.type, meaning.dtype)
    if not isinstance(rule, str) or len(operation.outputs) != 1:
        return
    dtype, declared = rule[1:] if rule.startswith("=") else _dtype(given.get(rule)), operation.outputs[0][1]
    if operation.type == "cast":
        dtype = DTYPES.get(str(given.get("dtype")))
    if dtype is not None and declared.kind == "tensor" and dtype != declared.dtype:
        raise LoadError(f"{operation.name} is declared {declared}, its operands give {dtype}")


def _dtype(value: Any) -> str | None:
    if isinstance(value, tuple):
        return _dtype(value[0]) if value else None
    if isinstance(value, Type):
        return value.dtype if value.kind == "tensor" else None
    return value.dtype.name if isinstance(value, np.ndarray) and value.dtype != object else None


def _check_shapes(operation: Operation, rule: Rule, given: Known) -> None:
    try:
        found = rule(given)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return  # operands that the rule does not know: the operation tells when it is computed
    shapes = found if isinstance(found, list) else [found]
    if len(shapes) != len(operation.outputs):
        return
    for shape, (name, declared) in zip(shapes, operation.outputs, strict=True):
        if shape is None or declared.kind != "tensor" or declared.shape is None:
            continue
        if not _match(shape, declared.shape):
            text = ", ".join("?" if size is None else str(size) for size in shape)
            what = operation.name if len(shapes) == 1 else f"{name} of {operation.name}"
            raise LoadError(f"{what} is declared {declared}, its operands give ({text})")


def _match(found: Sizes, declared: Sizes) -> bool:
    return len(found) == len(declared) and all(
        a is None or b is None or a == b for a, b in zip(found, declared, strict=True)
    )


def _shape(value: Any) -> Sizes:
    """Of a constant or of what is computed; TypeError where the rank is not known."""
    shape = value.shape
    if shape is None:
        raise TypeError("unknown rank")
    return tuple(shape)


def _numbers(value: Any) -> list[int]:
    """The elements of a constant; TypeError where it is computed."""
    if not isinstance(value, np.ndarray):
        raise TypeError("not a constant")
    return [int(number) for number in value.reshape(-1)]


def _is_set(given: Known, name: str) -> bool:
    """A switch, which is off where it is not given."""
    return bool(_numbers(given.get(name, np.array(False)))[0])


def _broadcast(*shapes: Sizes) -> Sizes:
    rank = max(map(len, shapes))
    wide = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(map(_joined, zip(*wide, strict=True)))


def _joined(sizes: Iterable[int | None]) -> int | None:
    """The size that several broadcast to; -1, which fits nothing, where they do not."""
    different = set(sizes) - {1}
    numbers = different - {None}
    if len(numbers) > 1:
        return -1
    return numbers.pop() if numbers else (None if different else 1)


def _reshape(given: Known) -> Sizes | None:
    before, wanted = _shape(given["x"]), _numbers(given["shape"])
    if None in before or 0 in wanted or wanted.count(-1) > 1:
        return None
    count, rest = prod(size or 0 for size in before), prod(size for size in wanted if size != -1)
    if -1 in wanted:
        return tuple(count // rest if size == -1 else size for size in wanted)
    return tuple(wanted) if count == rest else (-1,)


def _matmul(given: Known) -> Sizes:
    x, y = _shape(given["x"]), _shape(given["y"])
    x = (*x[:-2], x[-1], x[-2]) if _is_set(given, "transpose_x") else x
    y = (*y[:-2], y[-1], y[-2]) if _is_set(given, "transpose_y") else y
    if len(x) < 2 or len(y) < 2:
        raise TypeError("vectors")
    inner = (x[-2], y[-1]) if None in (x[-1], y[-2]) or x[-1] == y[-2] else (-1, -1)
    return (*_broadcast(x[:-2], y[:-2]), *inner)


def _linear(given: Known) -> Sizes:
    x, weight = _shape(given["x"]), _shape(given["weight"])
    return (*x[:-1], weight[0] if x[-1] in (None, weight[1]) else -1)


def _window(given: Known, kernel: list[int], channels: int | None) -> Sizes | None:
    """What a window that steps over the spatial axes gives."""
    x, kind = _shape(given["x"]), str(given["pad_type"])
    ones = np.ones(len(kernel), int)
    strides, dilations = (_numbers(given.get(name, ones)) for name in ("strides", "dilations"))
    pad = _numbers(given["pad"]) if kind == "custom" else [0] * 2 * len(kernel)
    if kind not in ("valid", "custom") or _is_set(given, "ceil_mode"):
        return None
    sizes: list[int | None] = []
    for axis, (size, window, stride, step) in enumerate(zip(x[2:], kernel, strides, dilations, strict=True)):
        whole = None if size is None else size + pad[2 * axis] + pad[2 * axis + 1] - (window - 1) * step - 1
        sizes.append(None if whole is None else whole // stride + 1)
    return (x[0], channels, *sizes)


def _conv(given: Known) -> Sizes | None:
    weight = _shape(given["weight"])
    (groups,) = _numbers(given.get("groups", np.array(1)))
    fits = _shape(given["x"])[1] in (None, (weight[1] or 0) * groups)
    return _window(given, [size or 0 for size in weight[2:]], weight[0] if fits else -1)


def _reduced(given: Known) -> Sizes:
    x, keep = _shape(given["x"]), _is_set(given, "keep_dims")
    axes = {axis % len(x) for axis in _numbers(given["axes"])}
    return tuple(1 if i in axes else size for i, size in enumerate(x) if keep or i not in axes)


def _concat(given: Known) -> Sizes:
    shapes = [_shape(value) for value in given["values"]]
    (axis,) = _numbers(given["axis"])
    axis %= len(shapes[0])
    parts = [shape[axis] for shape in shapes]
    whole = None if None in parts else sum(size or 0 for size in parts)
    rest = [tuple(size for i, size in enumerate(shape) if i != axis) for shape in shapes]
    same = tuple(
        None if None in sizes else sizes[0] if len(set(sizes)) == 1 else -1
        for sizes in zip(*rest, strict=True)
    )
    return (*same[:axis], whole, *same[axis:])


def _gather(given: Known) -> Sizes | None:
    x, indices = _shape(given["x"]), _shape(given["indices"])
    (axis,), (batch,) = _numbers(given["axis"]), _numbers(given.get("batch_dims", np.array(0)))
    axis %= len(x)
    return None if batch else (*x[:axis], *indices, *x[axis + 1 :])


def _expanded(given: Known) -> Sizes:
    x, axes = _shape(given["x"]), _numbers(given["axes"])
    rank = len(x) + len(axes)
    new, rest = {axis % rank for axis in axes}, iter(x)
    return tuple(1 if i in new else next(rest) for i in range(rank))


def _tiled(given: Known) -> Sizes:
    pairs = zip(_shape(given["x"]), _numbers(given["reps"]), strict=True)
    return tuple(None if size is None else size * count for size, count in pairs)


def _attention(given: Known) -> Sizes:
    query, value = _shape(given["query"]), _shape(given["value"])
    return (*query[:-1], value[-1])


def _whole(value: Any) -> tuple[int, ...]:
    """The shape; TypeError where a size is not known."""
    sizes = _shape(value)
    known = tuple(size for size in sizes if size is not None)
    if len(known) < len(sizes):
        raise TypeError("unknown sizes")
    return known


def _viewed(name: str) -> Rule:
    """What the operation makes of an array that takes no memory."""

    def rule(given: Known) -> Sizes | list[Sizes]:
        constants = {parameter: value for parameter, value in given.items() if parameter != "x"}
        if not all(isinstance(value, np.ndarray) for value in constants.values()):
            raise TypeError("not constants")
        parts = MEANINGS[name].compute(np.broadcast_to(np.int8(0), _whole(given["x"])), **constants)
        return [tuple(part.shape) for part in parts] if isinstance(parts, tuple) else tuple(parts.shape)

    return rule


def _padded(given: Known) -> Sizes:
    x, pad = _shape(given["x"]), _numbers(given["pad"])
    around = [0] * (2 * len(x) - len(pad)) + pad
    return tuple(
        None if size is None else size + around[2 * axis] + around[2 * axis + 1]
        for axis, size in enumerate(x)
    )


def _points(given: Known) -> Sizes | None:
    x, indices = _shape(given["x"]), _shape(given["indices"])
    (batch,) = _numbers(given.get("batch_dims", np.array(0)))
    return None if batch or indices[-1] is None else (*indices[:-1], *x[indices[-1] :])


def _sliced(given: Known) -> Sizes:
    """From a begin that may be computed; -1 goes to the end."""
    x, sizes = _shape(given["x"]), _numbers(given["size"])
    begin = _numbers(given["begin"]) if isinstance(given["begin"], np.ndarray) else [None] * len(x)
    rests = [None if whole is None or at is None else whole - at for whole, at in zip(x, begin, strict=True)]
    return tuple(rest if size == -1 else size for size, rest in zip(sizes, rests, strict=True))


def _extreme(given: Known) -> Sizes:
    """Of a reduction to positions, along one axis."""
    return _reduced({**given, "axes": given.get("axis", np.array(-1)), "keep_dims": given["keep_dims"]})


def _stacked(given: Known) -> Sizes:
    shapes = [_shape(value) for value in given["values"]]
    (axis,) = _numbers(given["axis"])
    axis %= len(shapes[0]) + 1
    joined = _broadcast(*shapes)
    return (*joined[:axis], len(shapes), *joined[axis:])


def _resized(given: Known) -> Sizes:
    sizes = [_numbers(given[f"target_size_{side}"])[0] for side in ("height", "width")]
    return (*_shape(given["x"])[:-2], *sizes)


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY.split(), lambda given: _shape(given["x"])),
    **dict.fromkeys(BINARY.split(), lambda given: _broadcast(_shape(given["x"]), _shape(given["y"]))),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(
        ("max_pool", "avg_pool"),
        lambda given: _window(given, _numbers(given["kernel_sizes"]), _shape(given["x"])[1]),
    ),
    **dict.fromkeys(("resize_bilinear", "resize_nearest_neighbor"), _resized),
    **dict.fromkeys(("scatter", "scatter_along_axis", "scatter_nd"), lambda given: _shape(given["data"])),
    **dict.fromkeys(("reduce_argmax", "reduce_argmin"), _extreme),
    **{name: _viewed(name) for name in VIEWS.split()},
    "concat": _concat,
    "conv": _conv,
    "conv_transpose": lambda given: tuple(_numbers(given["output_shape"])),
    "expand_dims": _expanded,
    "fill": lambda given: tuple(_numbers(given["shape"])),
    "gather": _gather,
    "gather_along_axis": lambda given: _shape(given["indices"]),
    "gather_nd": _points,
    "linear": _linear,
    "matmul": _matmul,
    "pad": _padded,
    "reshape": _reshape,
    "scaled_dot_product_attention": _attention,
    "slice_by_size": _sliced,
    "shape": lambda given: (len(_shape(given["x"])),),
    "stack": _stacked,
    "select": lambda given: _broadcast(*(_shape(given[name]) for name in ("cond", "a", "b"))),
    "tile": _tiled,
    "transpose": lambda given: tuple(_shape(given["x"])[axis] for axis in _numbers(given["perm"])),
}

__all__ = ["check_declared"]

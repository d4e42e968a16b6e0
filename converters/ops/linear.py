"""Matrix products."""

from __future__ import annotations

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, broadcast, in_float32, scalar
from converters.ops.shape import inverse_permutation
from converters.sizes import product


def _matmul_shape(a: Value, b: Value) -> Inferred:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"inner sizes of a product differ: {a.shape} @ {b.shape}")
    return [((*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)]


def _addmm_shape(a: Value, b: Value, c: Value, alpha: float, beta: float) -> Inferred:
    ((shape, dtype),) = _matmul_shape(a, b)
    return [(broadcast(shape, c.shape), dtype)]


def _addmm(a: np.ndarray, b: np.ndarray, c: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return alpha * (a @ b) + beta * c


def _expand_addmm(b: Builder, left: Value, right: Value, bias: Value, alpha: float, beta: float) -> Value:
    product = b("Matmul", left, right)
    if alpha != 1:
        product = b("Multiply", product, scalar(b, alpha, product))
    if beta != 1:
        bias = b("Multiply", bias, scalar(b, beta, bias))
    return b("Add", product, bias)


def _linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    return x @ weight.T if bias is None else x @ weight.T + bias


def _linear_shape(x: Value, weight: Value, bias: Value | None = None) -> Inferred:
    if x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"a linear layer of {weight.shape} does not take {x.shape}")
    return [((*x.shape[:-1], weight.shape[0]), x.dtype)]


def transposed(b: Builder, x: Value) -> Value:
    """The last two axes exchanged."""
    axes = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    return b("Transpose", x, axes=inverse_permutation(axes))


def _expand_linear(b: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    y = b("Matmul", x, transposed(b, weight))
    return y if bias is None else b("Add", y, bias)


def gathered(b: Builder, x: Value, indices: Value) -> Value:
    """The matrices of x (…, M, K) at positions into all its leading axes: indices.shape + (M, K)."""
    matrices = b("Reshape", x, shape=(product(x.shape[:-2]), *x.shape[-2:]))
    return b("Gather", matrices, indices, axis=0)


def _gather_mm(a: np.ndarray, b: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    rows, columns = (m.reshape(-1, *m.shape[-2:]) for m in (a, b))
    return rows[left.astype(np.int64)] @ columns[right.astype(np.int64)]


def _gather_mm_shape(a: Value, b: Value, left: Value, right: Value) -> Inferred:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"inner sizes of a product differ: {a.shape} @ {b.shape}")
    return [((*broadcast(left.shape, right.shape), a.shape[-2], b.shape[-1]), a.dtype)]


def _expand_gather_mm(b: Builder, x: Value, y: Value, left: Value, right: Value) -> Value:
    return b("Matmul", gathered(b, x, left), gathered(b, y, right))


def _spread(mask: np.ndarray, block: int, rows: int, columns: int) -> np.ndarray:
    return np.repeat(np.repeat(mask, block, axis=-2), block, axis=-1)[..., :rows, :columns]


def _block_masked(
    a: np.ndarray, b: np.ndarray, *masks: np.ndarray, block: int, masked: tuple[str, ...]
) -> np.ndarray:
    given = dict(zip(masked, masks, strict=True))

    def apply(x: np.ndarray, name: str) -> np.ndarray:
        if name not in given:
            return x
        spread = _spread(given[name], block, *x.shape[-2:])
        return np.where(spread, x, 0) if spread.dtype == bool else x * spread

    return apply(apply(a, "left") @ apply(b, "right"), "out")


def _expand_block_masked(
    b: Builder, x: Value, y: Value, *masks: Value, block: int, masked: tuple[str, ...]
) -> Value:
    given = dict(zip(masked, masks, strict=True))

    def apply(value: Value, name: str) -> Value:
        if name not in given:
            return value
        mask = given[name]
        *lead, rows, columns = mask.shape
        mask = b("Reshape", mask, shape=(*lead, rows, 1, columns, 1))
        mask = b("Broadcast", mask, shape=(*lead, rows, block, columns, block))
        mask = b("Reshape", mask, shape=(*lead, rows * block, columns * block))
        end = (*lead, *value.shape[-2:])
        mask = b("Slice", mask, start=(0,) * len(end), end=end, strides=(1,) * len(end))
        if mask.dtype == "bool":
            return b("Select", mask, value, scalar(b, 0, value))
        return b("Multiply", value, mask)

    return apply(b("Matmul", apply(x, "left"), apply(y, "right")), "out")


OPS = (
    Op("GatherMM", (), in_float32(_gather_mm), _gather_mm_shape, _expand_gather_mm),
    Op(
        "BlockMaskedMM",
        ("block", "masked"),
        in_float32(_block_masked),
        lambda a, b, *_, **__: _matmul_shape(a, b),
        _expand_block_masked,
    ),
    Op("Matmul", (), in_float32(np.matmul), _matmul_shape),
    Op("AddMM", ("alpha", "beta"), in_float32(_addmm), _addmm_shape, _expand_addmm),
    Op("Linear", (), in_float32(_linear), _linear_shape, _expand_linear),
)

"""The interpreter's compressed constants, in every form and element type, and quantized activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb, mil_types

RNG = np.random.default_rng(4)
Array = np.ndarray


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def narrow(values: Any, dtype: str) -> Array:
    """An array that coremltools takes for one of that element type."""
    return np.array(values).astype(getattr(mil_types(), f"np_{dtype}_dtype"))


def added(constant: Any, x: Any) -> Any:
    return mb.add(x=constant, y=x)


def compressed() -> Iterator[Case]:
    """Constants of more than nine elements are in the weights file, the others in the program."""
    codes = RNG.integers(0, 256, (3, 4), np.uint8)
    scale, zero = f32(0.5, 2, 0.25), np.array([1, 128, 255], np.uint8)
    zeros = np.zeros((3, 4), np.float32)
    exact: dict[str, Any] = {"rtol": 0, "atol": 0}
    yield Case(
        "affine_dequantize",
        lambda x: added(
            mb.constexpr_affine_dequantize(quantized_data=codes, zero_point=zero, scale=scale, axis=0), x
        ),
        (zeros,),
        (codes.astype(np.float32) - zero[:, None]) * scale[:, None],
        (16, 17),
        **exact,
    )
    for bits in (1, 2, 4, 6, 8):
        table = random(1 << bits)
        indices = RNG.integers(0, 1 << bits, 15)
        stream = [(int(i) >> bit) & 1 for i in indices for bit in range(bits)]
        packed = np.packbits(stream, bitorder="little")
        yield Case(
            f"lut_to_dense {bits}, packed",
            lambda x, p=packed, t=table: added(
                mb.constexpr_lut_to_dense(indices=p, lut=t, shape=np.array([3, 5], np.uint32)), x
            ),
            (np.zeros((3, 5), np.float32),),
            table[indices].reshape(3, 5),
            (16, 17),
            **exact,
        )
    mask = RNG.uniform(size=(4, 5)) < 0.5
    values = random(int(mask.sum()))
    dense = np.zeros((4, 5), np.float32)
    dense[mask] = values
    yield Case(
        "sparse_to_dense, packed",
        lambda x: added(
            mb.constexpr_sparse_to_dense(
                nonzero_data=values,
                mask=np.packbits(mask, bitorder="little"),
                shape=np.array([4, 5], np.uint32),
            ),
            x,
        ),
        (np.zeros((4, 5), np.float32),),
        dense,
        (16, 17),
        **exact,
    )
    yield Case(
        "sparse_to_dense",
        lambda x: added(mb.constexpr_sparse_to_dense(nonzero_data=values, mask=narrow(mask, "uint1")), x),
        (np.zeros((4, 5), np.float32),),
        dense,
        **exact,
    )
    halves = np.array([1.5, -0.1, 65504], np.float16)
    yield Case(
        "constexpr_cast",
        lambda x: added(mb.constexpr_cast(source_val=halves, output_dtype="fp32"), x),
        (np.zeros(3, np.float32),),
        halves.astype(np.float32),
        (16, 18),
        **exact,
    )
    for dtype, low, high in [("int4", -8, 8), ("uint4", 0, 16), ("int8", -128, 128), ("uint8", 0, 256)]:
        data, offset = RNG.integers(low, high, (4, 6)), RNG.integers(low, high, (2, 3))
        scales = RNG.integers(1, 9, (2, 3)).astype(np.float32) / 8
        kind = (lambda v, d=dtype: narrow(v, d)) if "4" in dtype else (lambda v, d=dtype: v.astype(d))
        big = (data - np.repeat(np.repeat(offset, 2, 0), 2, 1)) * np.repeat(np.repeat(scales, 2, 0), 2, 1)
        yield Case(
            f"blockwise {dtype}",
            lambda x, k=kind, d=data, s=scales, o=offset: added(
                mb.constexpr_blockwise_shift_scale(data=k(d), scale=s, offset=k(o)), x
            ),
            (np.zeros((4, 6), np.float32),),
            big,
            **exact,
        )
    for bits in (1, 2, 3, 4, 6, 8):
        indices, table = RNG.integers(0, 1 << bits, (4, 3)), random(2, 1, 1 << bits, 1)
        wanted = np.array([[table[i // 2, 0, indices[i, j], 0] for j in range(3)] for i in range(4)])
        kind = (lambda v, b=bits: narrow(v, f"uint{b}")) if bits < 8 else (lambda v: v.astype(np.uint8))
        yield Case(
            f"lut_to_dense {bits}",
            lambda x, k=kind, i=indices, t=table: added(mb.constexpr_lut_to_dense(indices=k(i), lut=t), x),
            (np.zeros((4, 3), np.float32),),
            wanted,
            **exact,
        )
    yield from vectors()


def vectors() -> Iterator[Case]:
    indices, table = RNG.integers(0, 4, (2, 3)), random(1, 1, 4, 2)
    down = np.zeros((4, 3), np.float32)
    for i, j in np.ndindex(2, 3):
        down[2 * i : 2 * i + 2, j] = table[0, 0, indices[i, j]]
    yield Case(
        "lut of vectors",
        lambda x: added(
            mb.constexpr_lut_to_dense(indices=narrow(indices, "uint2"), lut=table, vector_axis=0), x
        ),
        (np.zeros((4, 3), np.float32),),
        down,
        rtol=0,
        atol=0,
    )
    mask = np.array([[1, 1, 0], [0, 1, 1]])
    picked = RNG.integers(0, 4, 4)
    scalars = table[..., :1].copy()
    sparse = np.zeros((2, 3), np.float32)
    sparse[mask == 1] = scalars[0, 0, picked, 0]

    def lut(x: Any) -> Any:
        kept, values = mb.constexpr_lut_to_sparse(
            indices_mask=narrow(mask, "uint1"), indices_nonzero_data=narrow(picked, "uint2"), lut=scalars
        )
        return added(mb.constexpr_sparse_to_dense(nonzero_data=values, mask=kept), x)

    yield Case("lut_to_sparse", lut, (np.zeros((2, 3), np.float32),), sparse, rtol=0, atol=0)
    data, scale, offset = (
        np.array([10, -11, 3, 4], np.int8),
        f32([0.5, 0.25, 2]),
        np.array([[1, 2, -3]], np.int8),
    )
    shifted = np.zeros((2, 3), np.float32)
    shifted[mask == 1] = [(10 - 1) * 0.5, (-11 - 2) * 0.25, (3 - 2) * 0.25, (4 + 3) * 2]

    def shift(x: Any) -> Any:
        kept, values = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=narrow(mask, "uint1"), nonzero_data=data, scale=scale, offset=offset
        )
        return added(mb.constexpr_sparse_to_dense(nonzero_data=values, mask=kept), x)

    yield Case("sparse_blockwise", shift, (np.zeros((2, 3), np.float32),), shifted, rtol=0, atol=0)


def quantizations() -> Iterator[Case]:
    x = f32([-1.25, 0.25, 0.75, 100], [0.5, -0.5, 1.5, -200])
    zero, scale = np.array([10, -3], np.int8), f32(0.5, 1)
    codes = np.array([[10 - 2, 10, 12, 127], [-3, -3, -1, -128]], np.int32)  # halves to even, then clipped
    yield Case(
        "quantize",
        lambda x: mb.quantize(input=x, zero_point=zero, scale=scale, axis=0, output_dtype="int8"),
        (x,),
        codes,
        (17, 18),
        rtol=0,
        atol=0,
    )
    yield Case(
        "quantize uint8",
        lambda x: mb.quantize(input=x, scale=np.float32(0.5), output_dtype="uint8"),
        (x,),
        np.array([[0, 0, 2, 200], [1, 0, 3, 0]], np.int32),
        (17, 18),
        rtol=0,
        atol=0,
    )
    yield Case(
        "dequantize",
        lambda c: mb.dequantize(input=mb.cast(x=c, dtype="int8"), zero_point=zero, scale=scale, axis=0),
        (codes,),
        (codes - zero[:, None]) * scale[:, None],
        (17, 18),
        rtol=0,
        atol=0,
    )


CASES = [*compressed(), *quantizations()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))

"""Rows for matrix products, plain, chosen by index, masked and quantised, and for convolutions."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from case_table import FLOATS, Arg, Case, case, to_mlx, typed

I4 = Arg((4,), "uint32", [2, 0, 1, 1])
PRODUCTS = (
    *typed(case("Matmul", mx.matmul, Arg((2, 3)), Arg((3, 4))), *FLOATS),
    case("Matmul batch", mx.matmul, Arg(("n", 2, 3)), Arg(("n", 3, 4))),
    case("Matmul broadcast", mx.matmul, Arg(("n", 1, 2, 3)), Arg((5, 3, 4))),
    case("Matmul vector", mx.matmul, Arg((3,)), Arg((3, "n"))),
    case("Matmul by vector", mx.matmul, Arg(("n", 2, 3)), Arg((3,))),
    case("Matmul nothing", mx.matmul, Arg((2, 0)), Arg((0, 3))),
    case("Matmul inner", mx.inner, Arg(("n", 3)), Arg((2, 3))),
    case("Matmul einsum", lambda x, y: mx.einsum("bij,bkj->bik", x, y), Arg(("n", 2, 3)), Arg(("n", 4, 3))),
    case("Matmul tensordot", lambda x, y: mx.tensordot(x, y, axes=2), Arg((2, 3, 4)), Arg((3, 4, "n"))),
    case("AddMM", mx.addmm, Arg((4,)), Arg(("n", 3)), Arg((3, 4))),
    case("AddMM scaled", lambda c, a, b: mx.addmm(c, a, b, 2.0, 0.5), Arg((2, 4)), Arg((2, 3)), Arg((3, 4))),
    *typed(case("AddMM", mx.addmm, Arg((2, 4)), Arg((2, 3)), Arg((3, 4))), "float16", "bfloat16"),
    case("GatherMM", lambda x, y, i: mx.gather_mm(x, y, rhs_indices=i), Arg((4, 1, 3)), Arg((3, 3, 5)), I4),
    case(
        "GatherMM both",
        lambda x, y, i, j: mx.gather_mm(x, y, lhs_indices=i, rhs_indices=j),
        Arg((3, "n", 3)),
        Arg((3, 3, 5)),
        I4,
        I4,
    ),
    case(
        "GatherMM experts",
        lambda x, y, i: mx.gather_mm(x[:, None, None], y.swapaxes(-1, -2), rhs_indices=i),
        Arg(("n", 6)),
        Arg((3, 5, 6)),
        Arg(("n", 2), "uint32", (0, 3)),
    ),
    case(
        "BlockMaskedMM",
        lambda x, y, o, m, k: mx.block_masked_mm(x, y, 32, o, m, k),
        Arg((50, 64)),
        Arg((64, 40)),
        Arg((2, 2), "bool"),
        Arg((2, 2), "bool"),
        Arg((2, 2), "bool"),
    ),
    case(
        "BlockMaskedMM scaled",
        lambda x, y, m, k: mx.block_masked_mm(x, y, 32, mask_lhs=m, mask_rhs=k),
        Arg((2, 50, 64)),
        Arg((64, 40)),
        Arg((2, 2)),
        Arg((2, 2)),
    ),
    case("Matmul of a Hadamard transform", mx.hadamard_transform, Arg(("n", 24))),
    case("Matmul of a Hadamard vector", lambda x: mx.hadamard_transform(x, scale=2.0), Arg((8,))),
)


def weights(bits: int, group: int, *shape: int, dtype: mx.Dtype = mx.float32) -> tuple[mx.array, ...]:
    """Quantised weights, as constants."""
    drawn = np.random.default_rng(bits).normal(size=shape).astype(np.float32)
    parts = mx.quantize(to_mlx(drawn).astype(dtype), group, bits)
    mx.eval(parts)
    return tuple(parts)


def quantized(bits: int, group: int, transpose: bool = True, dtype: str = "float32") -> Case:
    """A product with a quantised matrix."""
    parts = weights(bits, group, 24, 128, dtype=getattr(mx, dtype))
    return case(
        f"QuantizedMatmul {bits} bits in {group}s {'transposed' if transpose else 'plain'} {dtype}",
        lambda x: mx.quantized_matmul(x, *parts, transpose=transpose, group_size=group, bits=bits),
        Arg(("n", 128 if transpose else 24), dtype),
        tolerance=1e-4 if dtype == "float32" else None,
        refused={"onnx": "2-bit weights"} if bits == 2 else {},
    )


EXPERTS = weights(4, 32, 3, 16, 64)
QUANTIZED = (
    *(quantized(bits, 64) for bits in (2, 3, 4, 5, 6, 8)),
    *(quantized(4, group) for group in (32, 128)),
    quantized(8, 32, transpose=False),
    quantized(4, 64, dtype="float16"),
    quantized(4, 64, dtype="bfloat16"),
    case(
        "QuantizedMatmul with the weights as inputs",
        lambda x, w, s, b: mx.quantized_matmul(x, w, s, b, group_size=32, bits=4),
        Arg((3, 64)),
        Arg((5, 8), "uint32", (0, 2**32)),
        Arg((5, 2)),
        Arg((5, 2)),
    ),
    case(
        "GatherQMM",
        lambda x, i: mx.gather_qmm(x[:, None, None], *EXPERTS, rhs_indices=i, group_size=32, bits=4),
        Arg(("n", 64)),
        Arg(("n", 2), "uint32", (0, 3)),
        tolerance=1e-4,
    ),
    case(
        "RightShift of dequantize",
        lambda w, s, b: mx.dequantize(w, s, b, 32, 4),
        Arg((5, 8), "uint32", (0, 2**32)),
        Arg((5, 2)),
        Arg((5, 2)),
    ),
)


def convolution(dims: int, **attrs) -> Case:
    """A convolution over 1, 2 or 3 axes."""
    groups = attrs.get("groups", 1)
    words = " ".join(f"{key}={value}" for key, value in attrs.items())
    kernel = (3, 2, 2)[:dims]
    return case(
        f"Convolution {dims}d {words}",
        lambda x, w: (mx.conv1d, mx.conv2d, mx.conv3d)[dims - 1](x, w, **attrs),
        Arg(("n", *(9, 7, 6)[:dims], 4)),
        Arg((6, *kernel, 4 // groups)),
    )


def transposed(dims: int, **attrs) -> Case:
    """A transposed convolution."""
    groups = attrs.get("groups", 1)
    words = " ".join(f"{key}={value}" for key, value in attrs.items())
    fn = (mx.conv_transpose1d, mx.conv_transpose2d, mx.conv_transpose3d)[dims - 1]
    return case(
        f"Convolution transposed {dims}d {words}",
        lambda x, w: fn(x, w, **attrs),
        Arg(("n", *(5, 4, 3)[:dims], 4)),
        Arg((6, *(3, 2, 2)[:dims], 4 // groups)),
    )


CONVOLUTIONS = (
    *(convolution(dims) for dims in (1, 2, 3)),
    *(convolution(dims, stride=2, padding=1) for dims in (1, 2, 3)),
    *(convolution(dims, dilation=2) for dims in (1, 2, 3)),
    *(convolution(dims, groups=2, padding=2) for dims in (1, 2)),
    *(transposed(dims) for dims in (1, 2, 3)),
    *(transposed(dims, stride=2, padding=1) for dims in (1, 2, 3)),
    *(transposed(dims, stride=3, output_padding=1) for dims in (1, 2)),
    *(transposed(dims, dilation=2) for dims in (1, 2)),
    transposed(1, padding=2),
    transposed(2, padding=1, stride=4, output_padding=2),
    *typed(case("Convolution of", mx.conv2d, Arg((1, 5, 5, 2)), Arg((3, 3, 3, 2))), "float16", "bfloat16"),
    case(
        "Convolution general",
        lambda x, w: mx.conv_general(x, w, stride=(2, 1), padding=([1, 0], [2, 1]), kernel_dilation=(1, 2)),
        Arg((2, 9, 7, 4)),
        Arg((6, 3, 2, 4)),
    ),
    case(
        "Convolution general spread",
        lambda x, w: mx.conv_general(x, w, stride=2, padding=1, input_dilation=(2, 3)),
        Arg((2, 5, 4, 4)),
        Arg((6, 3, 2, 4)),
    ),
    case(
        "Convolution general flipped",
        lambda x, w: mx.conv_general(x, w, padding=1, flip=True, groups=2),
        Arg(("n", 5, 4, 4)),
        Arg((6, 3, 2, 2)),
    ),
    case(
        "Convolution of sequences",
        lambda x, w: mx.conv1d(x, w, padding=2),
        Arg((2, "n + 3", 4)),
        Arg((5, 3, 4)),
    ),
    case("Convolution convolve", lambda x, w: mx.convolve(x, w, mode="same"), Arg((9,)), Arg((4,))),
)

RANDOM = (
    *(
        case(
            f"RandomBits {size}",
            lambda k, s=size: mx.random.split(k, s),
            Arg((2,), "uint32", (0, 2**32)),
        )
        for size in (1, 4, 5)
    ),
    case(
        "RandomBits uniform",
        lambda k: mx.random.uniform(shape=(3, 5), key=k),
        Arg((2,), "uint32", (0, 2**32)),
    ),
    case(
        "RandomBits normal",
        lambda k: mx.random.normal(shape=(3, 4), key=k),
        Arg((2,), "uint32", (0, 2**32)),
        tolerance=1e-4,
    ),
    case(
        "RandomBits half",
        lambda k: mx.random.uniform(shape=(5,), key=k, dtype=mx.float16),
        Arg((2,), "uint32", (0, 2**32)),
    ),
    case(
        "RandomBits categorical",
        lambda x, k: mx.random.categorical(x, key=k),
        Arg((4, 6)),
        Arg((2,), "uint32", (0, 2**32)),
    ),
    case(
        "RandomBits permutation",
        lambda x, k: mx.random.permutation(x, key=k),
        Arg((5, 2)),
        Arg((2,), "uint32", (0, 2**32)),
    ),
)
CASES: tuple[Case, ...] = (*PRODUCTS, *QUANTIZED, *CONVOLUTIONS, *RANDOM)

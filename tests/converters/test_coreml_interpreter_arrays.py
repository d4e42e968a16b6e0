"""The interpreter's operations that move and make elements, against values made by hand or by indexing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
M = np.arange(6, dtype=np.float32).reshape(2, 3)


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def i32(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def case(
    name: str,
    build: Callable[..., Any],
    inputs: tuple[np.ndarray, ...],
    expected: Any,
    ios: tuple[int, ...] = (18,),
) -> Case:
    return Case(name, build, inputs, expected, ios, rtol=0, atol=0)


def shapes() -> Iterator[Case]:
    both = (15, 18)
    yield case("reshape -1", lambda x: mb.reshape(x=x, shape=[4, -1]), (X,), X.reshape(4, 6), both)
    yield case(
        "reshape 0 of equal rank", lambda x: mb.reshape(x=x, shape=[0, -1, 2]), (X,), X.reshape(2, 6, 2), both
    )
    yield case(
        "reshape 0 from the right",
        lambda x: mb.reshape(x=x, shape=[1, 0, -1, 0]),
        (X[0],),
        X[0].reshape(1, 1, 3, 4),
        (17, 18),
    )
    yield case(
        "reshape 0 of lower rank", lambda x: mb.reshape(x=x, shape=[-1, 0]), (X,), X.reshape(6, 4), (17, 18)
    )
    yield case(
        "reshape by data", lambda x, s: mb.reshape(x=x, shape=s), (X, i32(3, 8)), X.reshape(3, 8), both
    )
    yield case(
        "reshape_like",
        lambda x, a, b: mb.reshape_like(
            x=x, ref_tensors=(a, b), begins=(0, 1), ends=(2, 0), end_masks=(False, True)
        ),
        (X, np.zeros((2, 3, 9), np.float32), np.zeros((7, 4), np.float32)),
        X,
        (16, 18),
    )
    yield case("expand_dims", lambda x: mb.expand_dims(x=x, axes=[-1, 0]), (M,), M.reshape(1, 2, 3, 1), both)
    yield case("squeeze", lambda x: mb.squeeze(x=x, axes=[-1, 0]), (M.reshape(1, 2, 3, 1),), M)
    yield case("squeeze all", lambda x: mb.squeeze(x=x), (M.reshape(1, 2, 1, 3),), M)
    yield case(
        "squeeze leaves sizes above 1", lambda x: mb.squeeze(x=x, axes=[0, 1]), (M.reshape(1, 2, 3),), M
    )
    yield case("transpose", lambda x: mb.transpose(x=x, perm=[-1, 0, 1]), (X,), np.moveaxis(X, 2, 0), both)
    yield case("flatten2d", lambda x: mb.flatten2d(x=x, axis=-1), (X,), X.reshape(6, 4))
    yield case("reverse", lambda x: mb.reverse(x=x, axes=[-1, 0]), (X,), X[::-1, :, ::-1])
    yield case("reverse all", lambda x: mb.reverse(x=x), (X,), X[::-1, ::-1, ::-1])
    turned = X.copy()
    turned[0, :2], turned[1, :3] = X[0, 1::-1], X[1, 2::-1]
    yield case(
        "reverse_sequence",
        lambda x: mb.reverse_sequence(x=x, lengths=[2, 3], seq_axis=1, batch_axis=0),
        (X,),
        turned,
    )
    yield case("shape", lambda x: mb.shape(x=x), (X,), i32(2, 3, 4), both)
    yield case("identity", lambda x: mb.identity(x=x), (X,), X)
    yield case(
        "sliding_windows",
        lambda x: mb.sliding_windows(x=x, axis=-2, size=2, stride=1),
        (X,),
        np.stack([X[:, 0:2], X[:, 1:3]], 1),
    )
    yield case(
        "sliding_windows stride",
        lambda x: mb.sliding_windows(x=x, axis=0, size=3, stride=2),
        (f32(1, 2, 3, 4, 5, 6),),
        f32([1, 2, 3], [3, 4, 5]),
    )
    yield case("crop", lambda x: mb.crop(x=x, crop_height=[0, 1], crop_width=[1, 1]), (X,), X[:, :2, 1:3])


def blocks() -> Iterator[Case]:
    """What each layout means: element by element from the documentation of TensorFlow and PyTorch."""
    x = np.arange(2 * 8 * 2 * 3, dtype=np.float32).reshape(2, 8, 2, 3)
    wide = np.zeros((2, 2, 4, 6), np.float32)
    shuffled = np.zeros((2, 2, 4, 6), np.float32)
    for c in range(2):
        for row in range(2):
            for column in range(2):
                wide[:, c, row::2, column::2] = x[:, (row * 2 + column) * 2 + c]
                shuffled[:, c, row::2, column::2] = x[:, c * 4 + row * 2 + column]
    yield case("depth_to_space", lambda x: mb.depth_to_space(x=x, block_size=2), (x,), wide)
    yield case("space_to_depth", lambda x: mb.space_to_depth(x=x, block_size=2), (wide,), x)
    yield case("pixel_shuffle", lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), (x,), shuffled)
    yield case(
        "pixel_unshuffle",
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        (shuffled,),
        x,
        (16, 18),
    )
    y = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4)
    padded = np.pad(y, [(0, 0), (0, 0), (1, 0), (0, 0)])
    parts = np.concatenate([padded[:, :, r::2, c::2] for r in range(2) for c in range(2)])
    yield case(
        "space_to_batch",
        lambda x: mb.space_to_batch(x=x, block_shape=[2, 2], paddings=[[1, 0], [0, 0]]),
        (y,),
        parts,
    )
    yield case(
        "batch_to_space",
        lambda x: mb.batch_to_space(x=x, block_shape=[2, 2], crops=[[1, 0], [0, 0]]),
        (parts,),
        y,
    )


def slices() -> Iterator[Case]:
    def by_index(name: str, expected: np.ndarray, **parameters: Any) -> Case:
        return case(
            f"slice_by_index {name}", lambda x: mb.slice_by_index(x=x, **parameters), (X,), expected, (15, 18)
        )

    yield by_index("plain", X[0:1, 1:3, 1:4], begin=[0, 1, 1], end=[1, 3, 4])
    yield by_index("negative", X[0:1, -2:-1, -3:], begin=[0, -2, -3], end=[1, -1, 4])
    yield by_index("stride", X[:, ::2, 1::2], begin=[0, 0, 1], end=[2, 3, 4], stride=[1, 2, 2])
    yield by_index(
        "masks",
        X[:, 1:, :2],
        begin=[9, 1, 9],
        end=[0, 0, 2],
        begin_mask=[True, False, True],
        end_mask=[True, True, False],
    )
    yield by_index(
        "backwards",
        X[:, ::-1, 2:0:-1],
        begin=[0, 0, 2],
        end=[2, 0, 0],
        stride=[1, -1, -1],
        begin_mask=[False, True, False],
        end_mask=[False, True, False],
    )
    yield by_index(
        "squeeze",
        X[1, :, -1],
        begin=[1, 0, -1],
        end=[0, 0, 0],
        end_mask=[False, True, False],
        begin_mask=[False, True, False],
        squeeze_mask=[True, False, True],
    )
    yield by_index("beyond the end", X[:, 1:], begin=[0, 1, 0], end=[2, 99, 4])
    yield case(
        "slice_by_index by data",
        lambda x, b, e: mb.slice_by_index(x=x, begin=b, end=e),
        (X, i32(0, 1, 2), i32(2, 3, 4)),
        X[:, 1:, 2:],
    )
    yield case(
        "slice_by_size",
        lambda x: mb.slice_by_size(x=x, begin=[0, 1, -2], size=[1, -1, 2]),
        (X,),
        X[:1, 1:, 2:],
    )
    updated = X.copy()
    updated[:, 1:3, ::2] = -1
    yield case(
        "slice_update",
        lambda x, u: mb.slice_update(x=x, update=u, begin=[0, 1, 0], end=[2, 3, 4], stride=[1, 1, 2]),
        (X, np.full((2, 2, 2), -1, np.float32)),
        updated,
    )
    masked = X.copy()
    masked[1, :, 1:] = 7
    yield case(
        "slice_update masks",
        lambda x, u: mb.slice_update(
            x=x,
            update=u,
            begin=[1, 0, 1],
            end=[0, 0, 0],
            begin_mask=[False, True, False],
            end_mask=[False, True, True],
            squeeze_mask=[True, False, False],
        ),
        (X, np.full((3, 3), 7, np.float32)),
        masked,
    )
    yield case(
        "split sizes", lambda x: mb.split(x=x, split_sizes=[1, 3], axis=-1), (X,), [X[..., :1], X[..., 1:]]
    )
    yield case(
        "split even", lambda x: mb.split(x=x, num_splits=3, axis=1), (X,), [X[:, :1], X[:, 1:2], X[:, 2:]]
    )


def joins() -> Iterator[Case]:
    n = M + 10
    yield case("concat", lambda x, y: mb.concat(values=(x, y), axis=-1), (M, n), np.hstack([M, n]), (15, 18))
    yield case("concat of one", lambda x: mb.concat(values=(x,), axis=0), (M,), M)
    yield case(
        "concat interleave",
        lambda x, y: mb.concat(values=(x, y), axis=0, interleave=True),
        (M, n),
        np.array([M[0], n[0], M[1], n[1]]),
    )
    yield case(
        "concat interleave last",
        lambda x, y: mb.concat(values=(x, y), axis=-1, interleave=True),
        (M, n),
        f32([0, 10, 1, 11, 2, 12], [3, 13, 4, 14, 5, 15]),
    )
    yield case("stack", lambda x, y: mb.stack(values=(x, y), axis=-1), (M, n), np.dstack([M, n]))
    yield case("tile", lambda x: mb.tile(x=x, reps=[1, 2]), (M,), np.hstack([M, M]), (15, 18))
    yield case("fill", lambda s: mb.fill(shape=s, value=2.5), (i32(2, 2),), f32([2.5, 2.5], [2.5, 2.5]))
    yield case(
        "fill_like",
        lambda x: mb.fill_like(ref_tensor=x, value=3),
        (M,),
        np.full((2, 3), 3, np.int32),
        (16, 18),
    )
    yield case(
        "range_1d",
        lambda a, b: mb.range_1d(start=mb.squeeze(x=a), end=mb.squeeze(x=b), step=2),
        (i32(1), i32(8)),
        i32(1, 3, 5, 7),
    )
    yield case(
        "range_1d down",
        lambda a: mb.range_1d(start=mb.squeeze(x=a), end=-1.0, step=-0.5),
        (f32(0.5),),
        f32(0.5, 0, -0.5),
    )
    yield case(
        "pad constant",
        lambda x: mb.pad(x=x, pad=[1, 0, 0, 2], mode="constant", constant_val=9.0),
        (M,),
        f32([9, 9, 9, 9, 9], [0, 1, 2, 9, 9], [3, 4, 5, 9, 9]),
        (15, 18),
    )
    yield case("pad last axes", lambda x: mb.pad(x=x, pad=[1, 1]), (X,), np.pad(X, [(0, 0), (0, 0), (1, 1)]))
    yield case(
        "pad reflect",
        lambda x: mb.pad(x=x, pad=[2, 1], mode="reflect"),
        (M,),
        f32([2, 1, 0, 1, 2, 1], [5, 4, 3, 4, 5, 4]),
    )
    yield case(
        "pad replicate",
        lambda x: mb.pad(x=x, pad=[1, 0, 0, 2], mode="replicate"),
        (M,),
        f32([0, 1, 2, 2, 2], [0, 1, 2, 2, 2], [3, 4, 5, 5, 5]),
    )
    square = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    yield case("band_part upper", lambda x: mb.band_part(x=x, lower=0, upper=-1), (square,), np.triu(square))
    yield case("band_part lower", lambda x: mb.band_part(x=x, lower=-1, upper=0), (square,), np.tril(square))
    yield case(
        "band_part band",
        lambda x: mb.band_part(x=x, lower=1, upper=2),
        (square,),
        np.tril(np.triu(square, -1), 2),
    )
    yield case(
        "one_hot",
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=3),
        (i32(2, 0, 5),),
        i32([0, 0, 1], [1, 0, 0], [0, 0, 0]),
    )
    yield case(
        "one_hot axis and values",
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=3, axis=0, on_value=5.0, off_value=-1.0),
        (i32(2, 0),),
        f32([-1, 5], [-1, -1], [5, -1]),
    )
    yield case("non_zero", lambda x: mb.non_zero(x=x), (f32([3, 0], [0, -1]),), i32([0, 0], [1, 1]))


CASES = [*shapes(), *blocks(), *slices(), *joins()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))

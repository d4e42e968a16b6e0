"""The interpreter's convolutions and pooling, against loops written from their definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb

RNG = np.random.default_rng(1)
Array = np.ndarray


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def convolved(
    x: Array, w: Array, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int], groups: int = 1
) -> Array:
    """Each output element as the sum that defines it; `pads` are (before, after) for each axis."""
    rank = x.ndim - 2
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(pads[::2], pads[1::2], strict=True)])
    out = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(rank)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for n, o, *place in np.ndindex(*y.shape):
        first = o // per_out * per_in
        for c, *k in np.ndindex(*w.shape[1:]):
            at = [p * s + q * d for p, s, q, d in zip(place, strides, k, dilations, strict=True)]
            y[(n, o, *place)] += x[(n, first + c, *at)] * w[(o, c, *k)]
    return y


def spread(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], groups: int = 1) -> Array:
    """A transposed convolution without padding: each input element adds its kernel to the output."""
    rank = x.ndim - 2
    out = [(x.shape[2 + i] - 1) * strides[i] + (w.shape[2 + i] - 1) * dilations[i] + 1 for i in range(rank)]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    y = np.zeros((x.shape[0], per_out * groups, *out))
    for n, c, *place in np.ndindex(*x.shape):
        first = c // per_in * per_out
        for o, *k in np.ndindex(*w.shape[1:]):
            at = [p * s + q * d for p, s, q, d in zip(place, strides, k, dilations, strict=True)]
            y[(n, first + o, *at)] += float(x[(n, c, *place)]) * w[(c, o, *k)]
    return y


def case(
    name: str,
    build: Callable[..., Any],
    inputs: tuple[Array, ...],
    expected: Any,
    ios: tuple[int, ...] = (18,),
) -> Case:
    return Case(name, build, inputs, expected, ios, rtol=2e-5, atol=2e-5)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], list[int], list[int], list[int], int]] = {
    # input, kernel, strides, pads, dilations, groups
    "1-D": ((2, 3, 9), (4, 3, 3), [1], [0, 0], [1], 1),
    "1-D all": ((2, 4, 9), (6, 2, 3), [2], [1, 2], [2], 2),
    "2-D": ((2, 3, 6, 7), (4, 3, 3, 2), [1, 1], [0, 0, 0, 0], [1, 1], 1),
    "2-D asymmetric pads": ((1, 2, 5, 6), (3, 2, 3, 3), [1, 2], [0, 1, 2, 1], [1, 1], 1),
    "2-D dilated groups": ((2, 4, 8, 7), (6, 2, 3, 2), [2, 1], [1, 0, 0, 1], [2, 3], 2),
    "2-D depthwise": ((2, 3, 6, 6), (3, 1, 3, 3), [2, 1], [1, 1, 0, 1], [1, 2], 3),
    "2-D depthwise doubled": ((1, 2, 5, 5), (4, 1, 2, 2), [1, 1], [0, 0, 0, 0], [1, 1], 2),
    "2-D 1x1": ((2, 3, 4, 5), (2, 3, 1, 1), [1, 1], [0, 0, 0, 0], [1, 1], 1),
    "2-D patches": ((1, 3, 8, 8), (5, 3, 4, 4), [4, 4], [0, 0, 0, 0], [1, 1], 1),
    "3-D": ((1, 2, 4, 5, 4), (3, 2, 2, 3, 2), [1, 2, 1], [1, 0, 0, 1, 1, 1], [1, 1, 2], 1),
    "3-D groups": ((1, 4, 3, 4, 3), (2, 2, 2, 2, 2), [1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1], 2),
}


def convolutions() -> Iterator[Case]:
    for name, (shape, kernel, strides, pads, dilations, groups) in CONVOLUTIONS.items():
        x, w, b = random(*shape), random(*kernel), random(kernel[0])
        wanted = convolved(x, w, strides, pads, dilations, groups) + b.reshape(-1, *[1] * (len(shape) - 2))
        build = lambda x, w=w, b=b, s=strides, p=pads, d=dilations, g=groups: mb.conv(  # noqa: E731
            x=x, weight=w, bias=b, strides=s, pad_type="custom", pad=p, dilations=d, groups=g
        )
        yield case(f"conv {name}", build, (x,), wanted, (15, 18))
    x, w = random(1, 2, 5, 6), random(3, 2, 2, 3)
    same = {"same": [0, 1, 0, 1], "same_lower": [1, 0, 1, 0]}  # 5 by 2 and 6 by 2 with kernels of 2 and 3
    for pad_type, pads in same.items():
        build = lambda x, t=pad_type: mb.conv(x=x, weight=w, strides=[2, 2], pad_type=t)  # noqa: E731
        yield case(f"conv {pad_type}", build, (x,), convolved(x, w, [2, 2], pads, [1, 1]), (16, 18))
    yield case(
        "conv computed weight",
        lambda x, w: mb.conv(x=x, weight=w),
        (x, w),
        convolved(x, w, [1, 1], [0] * 4, [1, 1]),
    )
    big = random(1, 2, 20, 20), random(2, 1, 9, 9)  # more kernel elements than are summed one by one
    yield case(
        "conv depthwise large",
        lambda x: mb.conv(x=x, weight=big[1], groups=2),
        (big[0],),
        convolved(*big, [1, 1], [0] * 4, [1, 1], 2),
    )


TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], list[int], list[int], int]] = {
    # input, kernel, strides, dilations, groups
    "1-D": ((2, 3, 5), (3, 2, 3), [2], [1], 1),
    "2-D": ((1, 3, 3, 4), (3, 2, 3, 2), [1, 2], [1, 1], 1),
    "2-D dilated groups": ((2, 4, 3, 3), (4, 3, 2, 3), [2, 3], [2, 1], 2),
    "3-D": ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), [2, 1, 2], [1, 2, 1], 1),
}


def transposed() -> Iterator[Case]:
    for name, (shape, kernel, strides, dilations, groups) in TRANSPOSED.items():
        x, w, b = random(*shape), random(*kernel), random(kernel[1] * groups)
        full = spread(x, w, strides, dilations, groups) + b.reshape(-1, *[1] * (len(shape) - 2))
        settings = {"weight": w, "bias": b, "strides": strides, "dilations": dilations, "groups": groups}
        yield case(
            f"conv_transpose {name}", lambda x, s=settings: mb.conv_transpose(x=x, **s), (x,), full, (15, 18)
        )
        pads = [1, 0] * (len(shape) - 2)
        cut = full[(..., *[slice(1, None)] * (len(shape) - 2))]
        yield case(
            f"conv_transpose {name} padded",
            lambda x, s=settings, p=pads: mb.conv_transpose(x=x, pad_type="custom", pad=p, **s),
            (x,),
            cut,
            (15, 18),
        )
    x, w = random(1, 2, 3, 3), random(2, 1, 3, 3)
    full = spread(x, w, [2, 2], [1, 1])  # 7 by 7
    yield case(
        "conv_transpose same",
        lambda x: mb.conv_transpose(x=x, weight=w, strides=[2, 2], pad_type="same"),
        (x,),
        full[..., :6, :6],
    )
    wider = np.pad(full[..., 1:, 1:], [(0, 0), (0, 0), (0, 1), (0, 1)])[..., :6, :6]
    yield case(
        "conv_transpose output_shape",
        lambda x: mb.conv_transpose(
            x=x, weight=w, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], output_shape=[1, 1, 6, 6]
        ),
        (x,),
        wider,
    )


def pooled(x: Array, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], ceil: bool,
           function: Callable[[list[float], int], float]) -> Array:  # fmt: skip
    """`function` of the elements of `x` in each window, and of the number of padded places in it."""
    rank = x.ndim - 2
    out = []
    for i in range(rank):
        span = x.shape[2 + i] + pads[2 * i] + pads[2 * i + 1] - kernel[i]
        count = (math.ceil if ceil else math.floor)(span / strides[i]) + 1
        if (
            ceil
            and pads[2 * i] + pads[2 * i + 1]
            and (count - 1) * strides[i] >= x.shape[2 + i] + pads[2 * i]
        ):
            count -= 1
        out.append(count)
    y = np.zeros((*x.shape[:2], *out))
    for n, c, *place in np.ndindex(*y.shape):
        found, places = [], 0
        for k in itertools.product(*(range(size) for size in kernel)):
            at = [p * s + q - pads[2 * i] for i, (p, s, q) in enumerate(zip(place, strides, k, strict=True))]
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                found.append(float(x[(n, c, *at)]))
            places += all(-pads[2 * i] <= a < x.shape[2 + i] + pads[2 * i + 1] for i, a in enumerate(at))
        y[(n, c, *place)] = function(found, places)
    return y


POOLS: dict[str, tuple[tuple[int, ...], list[int], list[int], list[int], bool]] = {
    # input, kernel, strides, pads, ceil_mode
    "1-D": ((2, 2, 7), [2], [2], [0, 0], False),
    "2-D": ((2, 2, 6, 7), [2, 3], [2, 2], [0, 0, 0, 0], False),
    "2-D padded": ((1, 2, 5, 6), [3, 2], [1, 2], [1, 1, 0, 1], False),
    "2-D ceil": ((1, 1, 6, 7), [3, 3], [2, 3], [0, 0, 0, 0], True),
    "2-D ceil padded": ((1, 1, 5, 5), [2, 2], [2, 3], [1, 1, 1, 1], True),
    "2-D global": ((2, 3, 4, 5), [4, 5], [1, 1], [0, 0, 0, 0], False),
    "2-D large": ((1, 1, 12, 13), [9, 9], [2, 1], [1, 1, 1, 1], False),
    "3-D": ((1, 2, 4, 4, 5), [2, 2, 3], [2, 1, 1], [0, 0, 1, 0, 0, 1], False),
}


def pools() -> Iterator[Case]:
    for name, (shape, kernel, strides, pads, ceil) in POOLS.items():
        x = random(*shape)
        settings = {"kernel_sizes": kernel, "strides": strides, "pad_type": "custom", "pad": pads}
        if ceil:
            settings["ceil_mode"] = True
        arguments = (x, kernel, strides, pads, ceil)
        yield case(
            f"max_pool {name}",
            lambda x, s=settings: mb.max_pool(x=x, **s),
            (x,),
            pooled(*arguments, lambda found, places: max(found)),
            (15, 18),
        )
        yield case(
            f"avg_pool {name}",
            lambda x, s=settings: mb.avg_pool(x=x, **s),
            (x,),
            pooled(*arguments, lambda found, places: sum(found) / places),
            (15, 18),
        )
        yield case(
            f"avg_pool excluded {name}",
            lambda x, s=settings: mb.avg_pool(x=x, exclude_padding_from_average=True, **s),
            (x,),
            pooled(*arguments, lambda found, places: sum(found) / len(found)),
        )
        if len(shape) < 5:
            yield case(
                f"l2_pool {name}",
                lambda x, s=settings: mb.l2_pool(x=x, **s),
                (x,),
                pooled(*arguments, lambda found, places: math.sqrt(sum(v * v for v in found))),
            )
    x = random(1, 1, 5, 6)
    wanted = pooled(x, [2, 3], [2, 2], [0, 1, 0, 1], False, lambda found, places: max(found))
    yield case(
        "max_pool same",
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="same"),
        (x,),
        wanted,
    )


CASES = [*convolutions(), *transposed(), *pools()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))

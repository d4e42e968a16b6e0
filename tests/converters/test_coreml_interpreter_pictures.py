"""The interpreter's resizing and normalizations, mostly against outputs that Apple published for Core ML in
coremltools' tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb

RNG = np.random.default_rng(2)
Array = np.ndarray


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def case(
    name: str,
    build: Callable[..., Any],
    inputs: tuple[Array, ...],
    expected: Any,
    ios: tuple[int, ...] = (18,),
) -> Case:
    return Case(name, build, inputs, expected, ios, rtol=2e-5, atol=2e-5)


def resizes() -> Iterator[Case]:
    """From the documentation's table of grid points, and from coremltools' tests of Core ML."""
    line = f32(0, 1).reshape(1, 1, 2)
    for mode, five in {
        "STRICT_ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
        "ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
        "DEFAULT": [0, 0.4, 0.8, 1, 1],
        "OFFSET_CORNERS": [0.1, 0.3, 0.5, 0.7, 0.9],
        "UNALIGN_CORNERS": [0, 0.1, 0.5, 0.9, 1],
    }.items():
        yield case(
            f"resize_bilinear {mode}",
            lambda x, m=mode: mb.resize_bilinear(
                x=x, target_size_height=1, target_size_width=5, sampling_mode=m
            ),
            (line,),
            f32(*five).reshape(1, 1, 5),
            (15, 18),
        )
        yield case(
            f"resize {mode}",
            lambda x, m=mode: mb.resize(
                x=x, shape=[1, 1, 5], resized_dims=np.uint32(1), interpolation_mode="LINEAR", sampling_mode=m
            ),
            (line,),
            f32(*five).reshape(1, 1, 5),
        )
    yield case(
        "resize_bilinear to one",
        lambda x: [
            mb.resize_bilinear(x=x, target_size_height=1, target_size_width=1, sampling_mode=m)
            for m in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS")
        ],
        (f32(0, 1, 4).reshape(1, 1, 3),),
        [f32([[1]]), f32([[0]])],
    )
    pair = f32(-6.174, 9.371).reshape(1, 1, 2, 1)
    yield case(
        "resize nearest",
        lambda x: mb.resize(
            x=x,
            shape=[1, 1, 3, 2],
            resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="DEFAULT",
        ),
        (pair,),
        f32([-6.174, -6.174], [9.371, 9.371], [9.371, 9.371])[None, None],
    )
    yield case(
        "resize keeps",
        lambda x: mb.resize(x=x, shape=[0, 4], resized_dims=np.uint32(2)),
        (f32([1, 3], [5, 7]),),
        f32([1, 2, 3, 3], [5, 6, 7, 7]),
    )
    three = f32(1.5, -2.5, 3.5).reshape(1, 1, 1, 3)
    for height, width, wanted in [
        (1.0, 1.0, three),
        (3.17, 0.67, np.tile(three[..., :2], (1, 1, 3, 1))),
        (2.0, 1.12, np.tile(three, (1, 1, 2, 1))),
        (1, 2, np.repeat(three, 2, 3)),
    ]:
        yield case(
            f"upsample_nearest {height} {width}",
            lambda x, h=height, w=width: mb.upsample_nearest_neighbor(
                x=x, scale_factor_height=h, scale_factor_width=w
            ),
            (three,),
            wanted,
            (15, 18),
        )
    yield case(
        "resize_nearest",
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=2, target_size_width=3),
        (f32(0.37, 6.17).reshape(1, 1, 2, 1),),
        f32([0.37] * 3, [6.17] * 3)[None, None],
    )
    wide = f32(1, 2).reshape(1, 1, 1, 2)
    for corners, half, row in [
        (True, False, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        (False, True, [1, 1, 4 / 3, 5 / 3, 2, 2]),
        (False, False, [1, 4 / 3, 5 / 3, 2, 2, 2]),
    ]:
        yield case(
            f"upsample_bilinear {corners} {half}",
            lambda x, c=corners, h=half: mb.upsample_bilinear(
                x=x, scale_factor_height=2, scale_factor_width=3, align_corners=c, half_pixel_centers=h
            ),
            (wide,),
            f32(row, row)[None, None],
            (16, 18),
        )
    yield case(
        "upsample_bilinear fraction",
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=1.0, scale_factor_width=2.6, align_corners=False
        ),
        (line,),
        f32(0, 0.1, 0.5, 0.9, 1)[None, None],
    )


def samples() -> Iterator[Case]:
    """Outputs of Core ML, from coremltools' tests."""
    x = f32(11, 22, 33, 44).reshape(1, 1, 2, 2)
    places = f32(-1, -2, -3.7, -1, 0, 0, 3.5, 1.2).reshape(1, 2, 2, 2)
    for sampling, padding, value, mode, corners, wanted in [
        ("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True, [8.585, 6.17, 27.5, 6.17]),
        ("nearest", "border", -1.0, "unnormalized", False, [11, 11, 11, 44]),
        ("bilinear", "reflection", -1.0, "normalized_zero_to_one", True, [22, 36.3, 11, 34.1]),
        ("nearest", "symmetric", -1.0, "normalized_zero_to_one", False, [22, 33, 11, 33]),
    ]:
        settings = {
            "sampling_mode": sampling,
            "padding_mode": padding,
            "padding_value": value,
            "coordinates_mode": mode,
            "align_corners": corners,
        }
        yield case(
            f"resample {sampling} {padding}",
            lambda x, p, s=settings: mb.resample(x=x, coordinates=p, **s),
            (x, places),
            f32(*wanted).reshape(1, 1, 2, 2),
            (15, 18),
        )
    matrix = f32([-1, -2, -3.7, -1, 3.5, 1.2])
    for height, width, wanted in [
        (3, 3, [10.752501, 2.5025, 0, 1.9799997, 0, 0, 0, 0, 0]),
        (2, 5, [10.752501, 5.94, 2.5025, 0.44000006, 0, 0, 0, 0, 0, 0]),
    ]:
        yield case(
            f"affine {height} {width}",
            lambda x, m, h=height, w=width: mb.affine(
                x=x,
                transform_matrix=m,
                output_height=h,
                output_width=w,
                sampling_mode="bilinear",
                padding_mode="constant",
                padding_value=0.0,
                coordinates_mode="normalized_minus_one_to_one",
                align_corners=True,
            ),
            (x, matrix),
            f32(*wanted).reshape(1, 1, height, width),
            (15, 18),
        )
    grid = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    corners = {"box_coordinate_mode": "CORNERS_HEIGHT_FIRST", "sampling_mode": "ALIGN_CORNERS"}
    for box, size, normalized, wanted in [
        ([1, 1, 2, 2], 2, False, [6, 7, 10, 11]),
        ([1, 1, 2, 2], 1, False, [8.5]),
        ([2, 2, 1, 1], 2, False, [11, 10, 7, 6]),
        ([0, 0, 0, 1 / 3, 1 / 3], 2, True, [1, 2, 5, 6]),
    ]:
        roi = f32(*box).reshape(1, 1, -1, 1, 1)
        yield case(
            f"crop_resize {box} {size}",
            lambda x, r=roi, s=size, n=normalized: mb.crop_resize(
                x=x, roi=r, target_width=s, target_height=s, normalized_coordinates=n, **corners
            ),
            (grid,),
            f32(*wanted).reshape(1, 1, 1, size, size),
            (15, 16),
        )
    boxes = f32([0.1, 0.3, 1.3, 1], [0.5, 1.8, 1, 0.3], [0, 0.4, 0.6, 0.7])
    wanted = f32(3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3)
    settings = {
        "target_width": 2,
        "target_height": 2,
        "normalized_coordinates": True,
        "pad_value": 10.0,
        **corners,
    }
    indexed = np.hstack([np.zeros((3, 1), np.float32), boxes]).reshape(3, 1, 5, 1, 1)
    yield case(
        "crop_resize padded",
        lambda x: mb.crop_resize(x=x, roi=indexed, **settings),
        (grid,),
        wanted.reshape(3, 1, 1, 2, 2),
        (16,),
    )
    yield case(
        "crop_resize boxes",
        lambda x: mb.crop_resize(x=x, boxes=boxes, box_indices=[0, 0, 0], **settings),
        (grid,),
        wanted.reshape(3, 1, 2, 2),
        (17, 18),
    )


def normalizations() -> Iterator[Case]:
    x = f32(-16, 13, 11, -16, 13, -15, 13, 9, -9, -4, -6, 3).reshape(1, 3, 2, 2)
    mean, variance = f32(9, 6, 3), f32(6, 1, 7)
    yield case(
        "batch_norm",
        lambda x: mb.batch_norm(x=x, mean=mean, variance=variance),
        (x,),
        f32(
            -10.206199,
            1.6329918,
            0.8164959,
            -10.206199,
            6.999965,
            -20.999895,
            6.999965,
            2.9999852,
            -4.53557,
            -2.6457493,
            -3.4016776,
            0,
        ).reshape(1, 3, 2, 2),
        (15, 18),
    )
    yield case(
        "batch_norm scaled",
        lambda x: mb.batch_norm(
            x=x, mean=mean, variance=variance, gamma=f32(1, 1, 1), beta=f32(1, 3, 0), epsilon=1e-4
        ),
        (x,),
        f32(
            -9.206122,
            2.6329796,
            1.8164899,
            -9.206122,
            9.99965,
            -17.998951,
            9.99965,
            5.9998503,
            -4.535541,
            -2.6457324,
            -3.4016557,
            0,
        ).reshape(1, 3, 2, 2),
    )
    y = f32(-16, 13, 11, 16, 13, 15, 13, 9, -9, 4, -6, 3).reshape(1, 3, 2, 2)
    wanted = f32(
        14.63721807,
        -5.71184211,
        -4.30845865,
        -7.8169173,
        4.1333588,
        7.06679399,
        4.1333588,
        -1.73351158,
        -0.42112757,
        2.58953791,
        0.27364139,
        2.35794826,
    ).reshape(1, 3, 2, 2)
    yield case(
        "instance_norm",
        lambda x: mb.instance_norm(x=x, gamma=f32(-9, 3.2, 1.3), beta=f32(-0.8, 3.4, 1.2), epsilon=1e-2),
        (y,),
        wanted,
        (15, 18),
    )
    z = f32([1, -7], [5, -6], [-3, -5])[None]
    yield case(
        "l2_norm",
        lambda x: mb.l2_norm(x=x, epsilon=1e-10),
        (z,),
        f32([0.08304548, -0.58131838], [0.41522741, -0.4982729], [-0.24913645, -0.41522741])[None],
    )
    w = random(2, 3, 4)
    gamma, beta = random(2, 4), random(2, 4)
    flat = w.astype(np.float64).transpose(1, 0, 2).reshape(3, 8)
    scaled = np.array([(row - row.mean()) / math.sqrt(row.var() + 0.1) for row in flat])
    scaled = scaled.reshape(3, 2, 4).transpose(1, 0, 2) * gamma[:, None] + beta[:, None]
    yield case(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=[0, -1], gamma=gamma, beta=beta, epsilon=0.1),
        (w,),
        scaled,
        (15, 18),
    )
    v = random(1, 5, 2, 2)
    for size in (2, 3):
        sums = np.zeros(v.shape)
        for c in range(5):
            near = range(max(0, c - size // 2), min(5, c + (size - 1) // 2 + 1))
            sums[:, c] = sum(v[:, i].astype(np.float64) ** 2 for i in near)
        yield case(
            f"local_response_norm {size}",
            lambda x, s=size: mb.local_response_norm(x=x, size=s, alpha=0.3, beta=0.6, k=1.5),
            (v,),
            v / (1.5 + 0.3 / size * sums) ** 0.6,
        )


CASES = [*resizes(), *samples(), *normalizations()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))

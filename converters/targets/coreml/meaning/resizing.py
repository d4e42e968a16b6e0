"""Resizing and resampling of the last two axes of pictures (…, H, W)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import FLOATS, NUMBERS, Meaning, chosen, ints, limited
from converters.targets.coreml.meaning.elementwise import saturated

Array = np.ndarray
SAMPLING = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def grid(size: float, count: int, mode: str) -> Array:
    """Where `count` samples of `size` elements lie, before they are clipped to [0, size - 1]."""
    chosen(mode, SAMPLING)
    steps = np.arange(count, dtype=np.float64)
    if mode == "DEFAULT":
        return steps * (size / count)
    if mode == "UNALIGN_CORNERS":
        return (steps + 0.5) * (size / count) - 0.5
    if mode == "OFFSET_CORNERS":
        return (steps + 0.5) * (max(1.0, size - 1) / count)
    if count == 1:
        return np.full(1, (size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0)
    return steps * ((size - 1) / (count - 1))


def _linear(x: Array, axis: int, places: Array) -> Array:
    """Linear interpolation along an axis, clipped at its ends."""
    size = x.shape[axis]
    places = np.clip(places, 0, size - 1)
    low = np.minimum(np.floor(places).astype(np.intp), max(0, size - 2))
    weight = (places - low).astype(np.float32).reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))
    first, second = np.take(x, low, axis), np.take(x, np.minimum(low + 1, size - 1), axis)
    return first + (second - first) * weight


def _sized(x: Array, height: Any, width: Any) -> tuple[int, int]:
    if x.ndim < 3 or 0 in x.shape:
        raise ValueError(f"a picture of shape {x.shape}")
    limited([*x.shape[:-2], int(height), int(width)])
    limited([*x.shape[:-1], int(width)])
    return int(height), int(width)


def _resize_bilinear(
    x: Array,
    target_size_height: Any = 1,
    target_size_width: Any = 1,
    sampling_mode: str = "DEFAULT",
) -> Array:
    sizes = _sized(x, target_size_height, target_size_width)
    for axis, count in zip((-1, -2), reversed(sizes), strict=True):
        x = _linear(x, axis, grid(x.shape[axis], count, sampling_mode))
    return x


def _upsample_bilinear(
    x: Array,
    scale_factor_height: Any = 1,
    scale_factor_width: Any = 1,
    align_corners: Any = True,
    half_pixel_centers: Any = None,
) -> Array:
    """The scale is computed again from the whole sizes."""
    sizes = _scaled(x, scale_factor_height, scale_factor_width)
    half = not align_corners if half_pixel_centers is None else bool(half_pixel_centers)
    if align_corners and half:
        raise ValueError("align_corners with half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    return _resize_bilinear(x, *sizes, mode)


def _scaled(x: Array, height: Any, width: Any) -> tuple[int, int]:
    factors = float(height), float(width)
    if not all(math.isfinite(factor) and factor > 0 for factor in factors):
        raise ValueError(f"scales {factors}")
    return tuple(math.floor(factor * size) for factor, size in zip(factors, x.shape[-2:], strict=True))


def _resize_nearest(x: Array, target_size_height: Any, target_size_width: Any) -> Array:
    """The element at floor(place * size / count)."""
    sizes = _sized(x, target_size_height, target_size_width)
    for axis, count in zip((-1, -2), reversed(sizes), strict=True):
        x = np.take(x, np.arange(count) * x.shape[axis] // count, axis)
    return x


def _upsample_nearest(x: Array, scale_factor_height: Any = 1, scale_factor_width: Any = 1) -> Array:
    """The scale is computed again from the whole sizes."""
    return _resize_nearest(x, *_scaled(x, scale_factor_height, scale_factor_width))


def _resize(
    x: Array,
    shape: Any,
    resized_dims: Any,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Array:
    """The last `resized_dims` axes to the last entries of `shape`; 0 keeps a size; nearest rounds places."""
    chosen(interpolation_mode, ("LINEAR", "NEAREST_NEIGHBOR"))
    wanted, count = ints(shape), int(resized_dims)
    if not 0 <= count <= len(wanted) <= x.ndim or 0 in x.shape:
        raise ValueError(f"{count} axes of {wanted} for {x.shape}")
    result = x.astype(np.float32)
    for axis in range(-count, 0):
        size = wanted[axis] or x.shape[axis]
        limited([*result.shape[:axis], size, *result.shape[x.ndim + axis + 1 :]])
        places = grid(x.shape[axis], size, sampling_mode)
        if interpolation_mode == "LINEAR":
            result = _linear(result, axis, places)
        else:
            nearest = np.clip(np.rint(places), 0, x.shape[axis] - 1).astype(np.intp)
            result = np.take(result, nearest, axis)
    return result if x.dtype.kind == "f" else saturated(result, x.dtype.name)


def _at(x: Array, row: Array, column: Array, outside: float | None) -> Array:
    """Elements (C, H, W) -> (C, *places) at whole places; `outside` (None: clipped) where there are none."""
    height, width = x.shape[-2:]
    rows, columns = np.clip(row, 0, height - 1).astype(np.intp), np.clip(column, 0, width - 1).astype(np.intp)
    found = x[:, rows, columns]
    if outside is None:
        return found
    within = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    return np.where(within, found, np.float32(outside))


def _bilinear(x: Array, row: Array, column: Array, outside: float | None) -> Array:
    top, left = np.floor(row), np.floor(column)
    down, right = (row - top).astype(np.float32), (column - left).astype(np.float32)
    upper = _at(x, top, left, outside) * (1 - right) + _at(x, top, left + 1, outside) * right
    lower = _at(x, top + 1, left, outside) * (1 - right) + _at(x, top + 1, left + 1, outside) * right
    return upper * (1 - down) + lower * down


def _reflected(places: Array, low: float, high: float) -> Array:
    """Places folded back at both ends."""
    if high <= low:
        return np.zeros_like(places)
    period = 2 * (high - low)
    folded = np.mod(np.abs(places - low), period)
    return np.minimum(folded, period - folded) + low


def _places(given: Array, size: int, mode: str, align_corners: Any) -> Array:
    chosen(mode, ("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"))
    places = given.astype(np.float64)
    if mode == "unnormalized":
        return places
    if mode == "normalized_minus_one_to_one":
        places = (places + 1) / 2
    return places * (size - 1) if align_corners else places * size - 0.5


def _resample(
    x: Array,
    coordinates: Array,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Any,
    coordinates_mode: str,
    align_corners: Any,
) -> Array:
    """Elements of (B, C, H, W) at coordinates (B, H2, W2, 2), which are (x, y)."""
    chosen(sampling_mode, ("bilinear", "nearest"))
    chosen(padding_mode, ("constant", "border", "reflection", "symmetric"))
    if x.ndim != 4 or coordinates.ndim != 4 or coordinates.shape[::3] != (x.shape[0], 2) or 0 in x.shape:
        raise ValueError(f"{x.shape} at coordinates {coordinates.shape}")
    height, width = x.shape[2:]
    limited([*x.shape[:2], *coordinates.shape[1:3]])
    column = _places(coordinates[..., 0], width, coordinates_mode, align_corners)
    row = _places(coordinates[..., 1], height, coordinates_mode, align_corners)
    if padding_mode in ("reflection", "symmetric"):
        edge = 0.0 if padding_mode == "reflection" else 0.5
        row, column = _reflected(row, -edge, height - 1 + edge), _reflected(column, -edge, width - 1 + edge)
    if padding_mode != "constant":
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    outside = float(padding_value) if padding_mode == "constant" else None
    if sampling_mode == "nearest":
        return np.stack([_at(*one, outside) for one in zip(x, np.rint(row), np.rint(column), strict=True)])
    return np.stack([_bilinear(*one, outside) for one in zip(x, row, column, strict=True)])


def _affine(
    x: Array,
    transform_matrix: Array,
    output_height: Any,
    output_width: Any,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Any,
    coordinates_mode: str,
    align_corners: Any,
) -> Array:
    """x' = a0 x + a1 y + a2 and y' = b0 x + b1 y + b2, in coordinates of [-1, 1] between corners' centres."""
    if (
        not align_corners
        or coordinates_mode != "normalized_minus_one_to_one"
        or transform_matrix.shape[-1] != 6
    ):
        raise ValueError(f"affine in {coordinates_mode}, align_corners {align_corners}")
    limited([int(output_height), int(output_width)])
    y, column = np.meshgrid(_unit(int(output_height)), _unit(int(output_width)), indexing="ij")
    matrices = np.broadcast_to(transform_matrix, (x.shape[0], 6)).reshape(-1, 2, 3)
    points = np.stack([column, y, np.ones_like(y)], -1)
    coordinates = np.einsum("bij,hwj->bhwi", matrices.astype(np.float64), points)
    return _resample(x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, True)


def _unit(count: int) -> Array:
    return np.linspace(-1, 1, count) if count > 1 else np.array([-1.0])


def _crop_resize(
    x: Array,
    roi: Array | None = None,
    target_height: Any = 1,
    target_width: Any = 1,
    normalized_coordinates: Any = False,
    spatial_scale: Any = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Any = 0.0,
    boxes: Array | None = None,
    box_indices: Array | None = None,
    ios: int = 15,
) -> Array:
    """Boxes of (B, C, H, W), each resized: (N, C, h, w) from iOS 17 on, before (N, B or 1, C, h, w).

    Outside of the picture is `pad_value`; before iOS 16, which does not have it, the edge.
    """
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"a picture of shape {x.shape}")
    outside = None if ios < 16 else float(pad_value)
    crop = partial(
        _cropped, size=(int(target_height), int(target_width)), scale=float(spatial_scale), outside=outside,
        normalized=bool(normalized_coordinates), order=box_coordinate_mode, mode=sampling_mode,
    )  # fmt: skip
    if ios >= 17:
        if boxes is None or boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError("boxes are (N, 4)")
        indices = np.arange(len(boxes)) if box_indices is None else np.asarray(box_indices)
        return np.stack([crop(x[int(index)], box) for index, box in zip(indices, boxes, strict=True)])
    if roi is None or roi.ndim != 5 or roi.shape[1:] not in ((1, 4, 1, 1), (1, 5, 1, 1)):
        raise ValueError("roi is (N, 1, 4 or 5, 1, 1)")
    rows = roi.reshape(len(roi), -1)
    if rows.shape[1] == 4:
        return np.stack([np.stack([crop(picture, row) for picture in x]) for row in rows])
    return np.stack([crop(x[int(row[0])], row[1:])[None] for row in rows])


def _cropped(
    x: Array,
    box: Array,
    size: tuple[int, int],
    scale: float,
    normalized: bool,
    order: str,
    mode: str,
    outside: float | None,
) -> Array:
    a, b, c, d = (float(value) * scale for value in box)
    chosen(order, tuple(f"{k}_{s}_FIRST" for k in ("CORNERS", "CENTER_SIZE") for s in ("HEIGHT", "WIDTH")))
    if "WIDTH" in order:
        a, b, c, d = b, a, d, c
    if order.startswith("CENTER"):
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    limited([len(x), *size])
    places = []
    for first, last, whole, count in ((a, c, x.shape[1], size[0]), (b, d, x.shape[2], size[1])):
        start, end = (first * (whole - 1), last * (whole - 1)) if normalized else (first, last)
        if end >= start:
            places.append(start + grid(end - start + 1, count, mode))
        elif mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
            places.append(start - grid(start - end + 1, count, mode))
        else:
            raise ValueError(f"a box from {start} to {end} with {mode}")
    row, column = np.meshgrid(*places, indexing="ij")
    height, width = x.shape[1:]
    result = _bilinear(x, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1), None)
    if outside is None:
        return result
    within = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    return np.where(within, result, np.float32(outside))


MEANINGS = {
    "resize_bilinear": Meaning(_resize_bilinear, allowed=FLOATS),
    "resize_nearest_neighbor": Meaning(_resize_nearest, allowed=FLOATS),
    "upsample_bilinear": Meaning(_upsample_bilinear, allowed=FLOATS),
    "upsample_nearest_neighbor": Meaning(_upsample_nearest, allowed=FLOATS),
    "resize": Meaning(_resize, allowed=NUMBERS),
    "resample": Meaning(_resample, allowed=FLOATS),
    "affine": Meaning(_affine, allowed=FLOATS),
    "crop_resize": Meaning(_crop_resize, allowed=FLOATS, versioned=True),
}

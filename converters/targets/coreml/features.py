"""What a package says about itself: inputs, outputs and states of each function, and their allowed sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.errors import LoadError, ShapeError

# Numbers of ArrayFeatureType.ArrayDataType and ImageFeatureType.ColorSpace.
ARRAY_TYPES = {65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8", 65552: "float16"}
COLORS = {10: "grey", 20: "rgb", 30: "bgr", 40: "grey16"}
Range = tuple[int, int | None]  # lowest and highest size; None where there is no upper bound


@dataclass(frozen=True)
class Feature:
    """An input, output or state.

    Attributes:
        kind: "array", "image", "string", "integer", "number", "dictionary" or "sequence".
        dtype: of an array; of an image "uint8", or "float16" for the half-precision grey.
        shape: of an array, its default; of an image (height, width); None where nothing is declared.
        ranges: lowest and highest size of each dimension, where it is flexible by ranges.
        shapes: the allowed shapes, where they are enumerated.
        color: of an image, "rgb", "bgr", "grey" or "grey16".
        default: what an optional input is filled with where it is not given.
    """

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] | None = None
    ranges: tuple[Range, ...] | None = None
    shapes: tuple[tuple[int, ...], ...] | None = None
    color: str | None = None
    optional: bool = False
    default: float = 0.0
    description: str = ""

    def check(self, shape: Sequence[int]) -> None:
        """ShapeError where `shape` (of an image: height and width) is not allowed."""
        shape = tuple(shape)
        if self.shapes is not None:
            if shape not in self.shapes:
                allowed = ", ".join(str(one) for one in self.shapes)
                raise ShapeError(f"{self.name} has shape {shape}, allowed are {allowed}")
            return
        if self.ranges is not None:
            if len(shape) != len(self.ranges):
                raise ShapeError(
                    f"{self.name} has rank {len(shape)}, the model takes rank {len(self.ranges)}"
                )
            for axis, (size, (low, high)) in enumerate(zip(shape, self.ranges, strict=True)):
                if size < low or (high is not None and size > high):
                    raise ShapeError(
                        f"{self.name} has size {size} in axis {axis}, allowed is {low} to {high or 'any'}"
                    )
            return
        if self.shape is not None and shape != self.shape:
            raise ShapeError(f"{self.name} has shape {shape}, the model takes {self.shape}")


@dataclass(frozen=True)
class Description:
    """A function as its callers see it; `label` and `probabilities` are a classifier's outputs."""

    inputs: Mapping[str, Feature]
    outputs: Mapping[str, Feature]
    states: Mapping[str, Feature] = field(default_factory=dict)
    label: str = ""
    probabilities: str = ""


def read_descriptions(model: Any) -> dict[str, Description]:
    """The functions of a Model message, the default one first.

    Raises:
        LoadError: a function without a body, an unknown kind of feature, sizes that contradict each other.
    """
    proto = model.description
    bodies = set(model.mlProgram.functions)
    described = {entry.name: entry for entry in proto.functions} or {"main": proto}
    if len(proto.functions) != len(described) and proto.functions:
        raise LoadError("two functions have the same name")
    missing = sorted(set(described) - bodies)
    if missing:
        raise LoadError(f"the model describes {', '.join(missing)}, its program has {sorted(bodies)}")
    first = proto.defaultFunctionName or next(iter(described))
    if first not in described:
        raise LoadError(f"the default function {first!r} is not described")
    order = [first, *(name for name in described if name != first)]
    return {name: _description(described[name]) for name in order}


def _description(proto: Any) -> Description:
    inputs, outputs, states = (
        _unique([_feature(entry) for entry in entries])
        for entries in (proto.input, proto.output, proto.state)
    )
    return Description(inputs, outputs, states, proto.predictedFeatureName, proto.predictedProbabilitiesName)


def _unique(features: list[Feature]) -> dict[str, Feature]:
    names = {feature.name: feature for feature in features}
    if len(names) != len(features):
        raise LoadError("two features have the same name")
    return names


def _feature(entry: Any) -> Feature:
    kind = entry.type.WhichOneof("Type")
    if kind == "stateType":
        return _array(entry, entry.type.stateType.arrayType)
    if kind == "multiArrayType":
        return _array(entry, entry.type.multiArrayType)
    if kind == "imageType":
        return _image(entry, entry.type.imageType)
    simple = {
        "stringType": "string",
        "int64Type": "integer",
        "doubleType": "number",
        "dictionaryType": "dictionary",
        "sequenceType": "sequence",
    }
    if kind not in simple:
        raise LoadError(f"{entry.name} is of an unknown kind")
    return Feature(entry.name, simple[kind], description=entry.shortDescription)


def _array(entry: Any, proto: Any) -> Feature:
    dtype = ARRAY_TYPES.get(proto.dataType)
    if dtype is None:
        raise LoadError(f"{entry.name}: array type {proto.dataType} is unknown")
    shape = tuple(proto.shape) or None
    if shape is not None and min(shape) < 0:
        raise LoadError(f"{entry.name} has the shape {shape}")
    ranges = shapes = None
    flexible = proto.WhichOneof("ShapeFlexibility")
    if flexible == "shapeRange":
        ranges = tuple(_range(entry.name, size) for size in proto.shapeRange.sizeRanges)
    elif flexible == "enumeratedShapes":
        shapes = tuple(tuple(one.shape) for one in proto.enumeratedShapes.shapes)
    chosen = proto.WhichOneof("defaultOptionalValue")
    default = getattr(proto, chosen) if chosen else 0.0
    return Feature(
        entry.name,
        "array",
        dtype,
        shape,
        ranges,
        shapes,
        None,
        entry.type.isOptional,
        default,
        entry.shortDescription,
    )


def _image(entry: Any, proto: Any) -> Feature:
    color = COLORS.get(proto.colorSpace)
    if color is None:
        raise LoadError(f"{entry.name}: color space {proto.colorSpace} is unknown")
    ranges = shapes = None
    flexible = proto.WhichOneof("SizeFlexibility")
    if flexible == "imageSizeRange":
        sizes = proto.imageSizeRange
        ranges = (_range(entry.name, sizes.heightRange), _range(entry.name, sizes.widthRange))
    elif flexible == "enumeratedSizes":
        shapes = tuple((one.height, one.width) for one in proto.enumeratedSizes.sizes)
    dtype, size = "float16" if color == "grey16" else "uint8", (proto.height, proto.width)
    optional = entry.type.isOptional
    return Feature(
        entry.name, "image", dtype, size, ranges, shapes, color, optional, 0.0, entry.shortDescription
    )


def _range(name: str, proto: Any) -> Range:
    low, high = proto.lowerBound, proto.upperBound
    if 0 <= high < low:
        raise LoadError(f"{name} has sizes from {low} to {high}")
    return low, None if high < 0 else high


def to_array(feature: Feature, given: Any) -> np.ndarray:
    """An array input as the model takes it: its dtype, its allowed sizes.

    Raises:
        ShapeError: wrong sizes, or elements that the model's type cannot hold.
    """
    array = np.asarray(given)
    wanted = np.dtype(feature.dtype)
    if array.dtype != wanted:
        floats = array.dtype.kind == "f" and wanted.kind == "f"
        integers = array.dtype.kind in "iu" and (
            wanted.kind == "f" or np.array_equal(array.astype(wanted), array)
        )
        if not floats and not integers:
            raise ShapeError(f"{feature.name} is {array.dtype.name}, the model takes {feature.dtype}")
        array = array.astype(wanted)
    feature.check(array.shape)
    return array


def to_pixels(feature: Feature, given: Any) -> np.ndarray:
    """A picture as Core ML presents it to the program: (1, channels, height, width), 0 to 255.

    Args:
        given: a PIL picture, (height, width), (height, width, channels) with channels in the order RGB, or
            (1, channels, height, width) in the model's own order.

    Raises:
        ShapeError: not a picture of an allowed size.
    """
    color = feature.color or "rgb"
    channels = 3 if color in ("rgb", "bgr") else 1
    if hasattr(given, "convert") and hasattr(given, "getbands"):
        if color == "grey16":
            given = np.asarray(given.convert("F"))
        else:
            given = np.asarray(given.convert("RGB" if channels == 3 else "L"))
    array = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise ShapeError(f"{feature.name} takes a picture, got {array.dtype.name}")
    if array.ndim == 4 and array.shape[:2] == (1, channels):
        pixels = array
    elif array.ndim == 2 and channels == 1:
        pixels = array[None, None]
    elif array.ndim == 3 and array.shape[2] == channels:
        pixels = array.transpose(2, 0, 1)[None]
        pixels = pixels[:, ::-1] if color == "bgr" else pixels
    else:
        raise ShapeError(f"{feature.name} takes a {color} picture, got an array of shape {array.shape}")
    feature.check(pixels.shape[2:])
    return pixels.astype(np.float32)


def to_picture(feature: Feature, pixels: np.ndarray) -> Any:
    """An image output, (1, channels, height, width), as a PIL picture: clipped to 0 to 255 and rounded."""
    from PIL import Image

    channels = 3 if feature.color in ("rgb", "bgr") else 1
    if pixels.ndim != 4 or pixels.shape[:2] != (1, channels):
        raise LoadError(f"the image output {feature.name} has shape {pixels.shape}")
    if feature.color == "grey16":
        return Image.fromarray(pixels[0, 0].astype(np.float32), "F")
    values = np.rint(np.clip(np.nan_to_num(pixels[0].astype(np.float32)), 0, 255)).astype(np.uint8)
    if channels == 1:
        return Image.fromarray(values[0])
    return Image.fromarray(
        np.ascontiguousarray((values[::-1] if feature.color == "bgr" else values).transpose(1, 2, 0))
    )

"""How a function's inputs are described: arrays with named dimensions, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from converters.dtypes import dtype_name
from converters.errors import ShapeError
from converters.sizes import AnySize, Shape, parse

COLORS = {"grey": 1, "gray": 1, "rgb": 3, "bgr": 3}


@dataclass(frozen=True)
class Spec:
    """Shape and element type of an array input.

    Args:
        shape: integers, names of dynamic dimensions, or sums such as "past + length".
        dtype: a NumPy or MLX dtype or its name.
    """

    shape: Shape
    dtype: str

    def __init__(self, shape: Sequence[int | str | AnySize], dtype: Any = "float32"):
        sizes = tuple(parse(size) if isinstance(size, str) else size for size in shape)
        if any(isinstance(size, int) and size < 0 for size in sizes):
            raise ShapeError(
                f"{tuple(shape)} has a negative size", hint="name dynamic dimensions with a string"
            )
        object.__setattr__(self, "shape", sizes)
        object.__setattr__(self, "dtype", dtype_name(dtype))


@dataclass(frozen=True)
class Image:
    """A picture input or output. To the function it is floats (1, height, width, channels): `(pixel * scale -
    mean) / std`, and of an output the reverse, rounded to 0 to 255. An output in [0, 1] is `Image(size)`,
    one in [-1, 1] is `Image(size, scale=1 / 127.5, mean=1)`.

    Args:
        size: (height, width) in pixels.
        color: "rgb", "bgr" or "grey".
        scale: what 8-bit pixels are multiplied with.
        mean, std: per channel or one for all, applied after the scale; None leaves them out.
    """

    size: tuple[int, int]
    color: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float | None = None

    def __post_init__(self) -> None:
        height, width = self.size
        object.__setattr__(self, "size", (int(height), int(width)))
        if self.color not in COLORS:
            raise ShapeError(f"color {self.color!r} is unknown", hint="use 'rgb', 'bgr' or 'grey'")
        object.__setattr__(self, "color", "grey" if self.color == "gray" else self.color)
        for name in ("mean", "std"):
            given = getattr(self, name)
            values = (float(given),) * self.channels if isinstance(given, int | float) else given
            if values is not None and len(values) != self.channels:
                raise ShapeError(
                    f"{name} has {len(values)} values, a {self.color} picture has {self.channels}"
                )
            object.__setattr__(self, name, None if values is None else tuple(float(v) for v in values))
        object.__setattr__(self, "scale", float(self.scale))
        if self.scale == 0 or (isinstance(self.std, tuple) and 0.0 in self.std):
            raise ShapeError("scale and std divide, and must not be 0")

    @property
    def channels(self) -> int:
        """1 for grey, 3 else."""
        return COLORS[self.color]

    @property
    def spec(self) -> Spec:
        """What the function receives: NHWC float32, batch 1."""
        return Spec((1, *self.size, self.channels), "float32")

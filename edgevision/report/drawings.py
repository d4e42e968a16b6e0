"""The small pictures of a report, as PNG files; browsers enlarge them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

POSITIVE, NEGATIVE, ZERO = (214, 96, 36), (38, 104, 178), (245, 245, 245)  # red, green, blue


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W) grey or (H, W, 3) as a PNG file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return file.getvalue()


def grey(values: np.ndarray) -> np.ndarray:
    """Any numbers as uint8: the smallest black, the largest white."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def signed(values: np.ndarray) -> np.ndarray:
    """Numbers (H, W) as uint8 (H, W, 3): orange above 0, blue below, the stronger the farther."""
    share = values / max(float(np.abs(values).max()), 1e-12)
    ends = np.where(share[..., None] > 0, POSITIVE, NEGATIVE)
    return (np.array(ZERO) + (ends - np.array(ZERO)) * np.abs(share)[..., None]).astype(np.uint8)


def kernels(weights: np.ndarray) -> list[bytes]:
    """Each kernel of a first layer (O, H, W, 1)."""
    return [png(signed(kernel[:, :, 0])) for kernel in weights]


def feature_maps(maps: np.ndarray) -> list[bytes]:
    """Each map of one picture (H, W, C)."""
    return [png(grey(maps[:, :, channel])) for channel in range(maps.shape[-1])]

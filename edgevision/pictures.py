"""Pictures from files, and the arrays that models take.

    open_picture   a file of any size and mode -> upright 8-bit PIL image, L, RGB or RGBA
    digit_array    a picture of one digit      -> (1, 28, 28, 1) float32, white on black, as MNIST's
    fit_array      any picture                 -> (1, H, W, C) float32, scaled and cut to size
    seen_as        one of these two            -> as a classifier of grey digits, or of colours, takes it

What was done on the way (turned, inverted, cut) is said in words, for the person who gave the picture.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgevision.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

PIXELS_MAX = 1 << 27  # about 134 million; what a picture claims is compared before it is decoded
# All of these are decoded inside Pillow. Others, such as EPS, would start programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO")
ORIENTATION = 0x0112  # the EXIF entry; 1 is upright
BOX = 20  # MNIST: a digit fills a box of 20 x 20, and its centre of mass is the middle of 28 x 28
WORK_SIDE_MAX = 256  # pixels; larger pictures of digits are reduced to this first
INK_MIN = 0.08  # of the way from background to ink; what is fainter is background
EDGE_MIN = 0.25  # of the same way; the digit's bounds lie where it is at least so dark
CONTRAST_MIN = 8  # of 255 levels between background and ink
SURFACE_PIXELS_MIN = 100  # smaller pictures have one background level


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, upright, as 8-bit L, RGB or RGBA; of an animation the first frame.

    `info["source"]` holds the path, `info["notes"]` a tuple of what was done, in words.

    Raises:
        UserError: the file is missing, no picture, damaged, a single pixel, or larger than PIXELS_MAX.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    if not path.is_file():
        kind = "is not a file" if path.exists() else "is not there"
        raise UserError(f"{path} {kind}", hint="give the path of a picture")
    bomb = UserError(f"{path} claims more than {PIXELS_MAX:,} pixels", hint="make the picture smaller first")
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # older Pillows know no AVIF
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs; the limit above is the one that counts
            with Image.open(path, formats=formats) as opened:
                if opened.width * opened.height > PIXELS_MAX:
                    raise bomb
                turned = opened.getexif().get(ORIENTATION, 1) != 1
                frames = getattr(opened, "n_frames", 1)
                picture = _eight_bits(ImageOps.exif_transpose(opened))
    except (UserError, PermissionError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise bomb from None
    except Image.UnidentifiedImageError:
        raise UserError(
            f"{path} is not a picture that can be read", hint="PNG, JPEG, WebP, TIFF, GIF and BMP can be"
        ) from None
    except Exception as error:  # decoders raise many types on damaged data, SyntaxError and struct.error too
        raise UserError(f"{path} is damaged: {error}", hint="save the picture anew") from error
    if picture.width * picture.height == 1:
        raise UserError(f"{path} is a single pixel, there is nothing to see in it")
    notes = ["turned upright as its EXIF entry says"] if turned else []
    if frames > 1:
        notes.append(f"the first of {frames} pictures in the file")
    picture.info = {"source": str(path), "notes": tuple(notes)}
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """`picture` in mode L, RGB or RGBA."""
    from PIL import Image

    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return Image.fromarray(_scaled_to_bytes(np.asarray(picture), picture.mode))
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _scaled_to_bytes(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey of 16 bits, 32 bits or float as uint8; where white is, the latter two do not say: a guess."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    top = max(float(values.max()), 1e-12)
    whites = {"I": (255, 65535, top), "F": (1, 255, 65535, top)}.get(mode, (65535,))
    white = next(white for white in whites if top <= white)
    return np.clip(np.round(values * (255 / white)), 0, 255).astype(np.uint8)


def digit_array(image: Image.Image, size: int = 28) -> tuple[np.ndarray, str]:
    """A picture of one digit as MNIST would have it, and in words what was done.

    A picture of `size` x `size` keeps every pixel in its place; black on white is only inverted. Any other is
    brought to white on black, cut around the digit, scaled so that the digit fills 20 / 28 of the size, and
    placed by its centre of mass.

    Returns:
        float32 (1, size, size, 1), white on black, multiples of 1 / 255 in [0, 1]; the note, such as
        "black on white: inverted; cut out, scaled and centred".

    Raises:
        UserError: nothing stands out from the background.
    """
    notes = list(image.info.get("notes", ()))
    work = image
    as_it_is = image.size == (size, size)
    if not as_it_is:
        work = _reduced(image)
    grey = _grey(work, notes)
    darkest, lightest = int(grey.min()), int(grey.max())
    if darkest == lightest:
        raise _empty(image)
    if np.median(_border(grey)) > (darkest + lightest) / 2:
        grey = 255 - grey
        notes.append("black on white: inverted")
    else:
        notes.append("white on black")
    if as_it_is:
        notes.append(f"{size} x {size}: taken as it is")
    else:
        ink = _ink(grey)
        if not ink.any():
            raise _empty(image)
        grey = _centred(ink, size)
        notes.append("digit cut out, scaled and centred")
    return grey.astype(np.float32)[None, :, :, None] / np.float32(255), "; ".join(notes)


def fit_array(image: Image.Image, size: int | tuple[int, int], color: str = "rgb") -> np.ndarray:
    """The middle of a picture, scaled to fill `size` (height, width, or one number for both).

    What sticks out on the longer side is cut off; transparent parts become white.

    Args:
        color: "rgb" or "gray".

    Returns:
        float32 (1, H, W, 3 or 1) in [0, 1].
    """
    from PIL import Image, ImageOps

    if color not in ("rgb", "gray"):
        raise ValueError(f"color {color!r}: expected 'rgb' or 'gray'")
    height, width = (size, size) if isinstance(size, int) else size
    image = on_background(image, 255).convert("RGB" if color == "rgb" else "L")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32).reshape(1, height, width, -1) / np.float32(255)


def seen_as(image: Image.Image, shape: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    """The picture as a classifier of pictures (H, W, C) takes it, (1, H, W, C), and in words what was done.

    Grey of 28 x 28 is taken for MNIST's kind: a thing on a plain background.

    Raises:
        UserError: a grey picture shows nothing.
    """
    height, width, channels = shape
    if (height, width, channels) == (28, 28, 1):
        return digit_array(image)
    notes = list(image.info.get("notes", ()))
    as_it_is = image.size == (width, height)
    notes.append(
        f"{width} x {height}: taken as it is" if as_it_is else f"scaled and cut to {width} x {height}"
    )
    return fit_array(image, (height, width), "gray" if channels == 1 else "rgb"), "; ".join(notes)


def _empty(image: Image.Image) -> UserError:
    source = image.info.get("source", "the picture")
    return UserError(f"there is no digit in {source}: nothing stands out from its background")


def _reduced(image: Image.Image) -> Image.Image:
    """`image` with its longer side at most WORK_SIDE_MAX; single specks of a large one vanish by the mean."""
    from PIL import Image

    scale = WORK_SIDE_MAX / max(image.size)
    if scale >= 1:
        return image
    small = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(small, Image.Resampling.BOX)


def _grey(image: Image.Image, notes: list[str]) -> np.ndarray:
    """uint8 (H, W); what is transparent becomes the background that the drawing stands out from."""
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"), np.float64)
        alpha = pixels[..., 3]
        if alpha.min() < 255:
            opaque = np.asarray(image.convert("RGB").convert("L"), np.float64)
            background = 0 if (opaque * alpha).sum() > 127.5 * alpha.sum() else 255
            notes.append(f"transparent parts made {'black' if background == 0 else 'white'}")
            image = on_background(image, background)
    return np.asarray(image.convert("L"))


def on_background(image: Image.Image, background: int) -> Image.Image:
    """A picture whose transparent parts have the grey `background`; one without any as it is."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (background,) * 3 + (255,)), image).convert(
        "RGB"
    )


def _border(grey: np.ndarray) -> np.ndarray:
    """The outermost pixels, as a vector."""
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _ink(grey: np.ndarray) -> np.ndarray:
    """float64 (H, W) in [0, 1]: 0 the background, 1 the digit, of a white on black picture.

    The background may be brighter on one side, as on a photograph: it is a quadratic surface through the
    pixels that are not ink. What stands out from it by less than three times its noise belongs to it.
    """
    height, width = grey.shape
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)  # (H * W, 6)
    if grey.size < SURFACE_PIXELS_MIN:
        terms = terms[:, :1]
    values = grey.ravel().astype(np.float64)
    above = values - np.median(_border(grey))
    noise, paper = 0.0, above < above.max() / 2
    for _ in range(4):
        known = terms[paper]
        surface, *_ = np.linalg.lstsq(known.T @ known, known.T @ values[paper])
        above = values - terms @ surface
        noise = 1.48 * float(np.median(np.abs(above[paper])))
        paper = above < 2.5 * noise + 1
    if above.max() < CONTRAST_MIN:
        return np.zeros(grey.shape)
    ink = np.where(above < max(3 * noise, INK_MIN * above.max()), 0, above)
    return np.clip(ink / above.max(), 0, 1).reshape(height, width)


def _centred(ink: np.ndarray, size: int) -> np.ndarray:
    """uint8 (size, size): `ink` cut to its bounds, its longer side scaled to the box, placed by its mass."""
    from PIL import Image

    sure = ink > EDGE_MIN
    rows, columns = np.flatnonzero(sure.any(axis=1)), np.flatnonzero(sure.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    scale = BOX * size / 28 / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    resample = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    digit = np.asarray(Image.fromarray(ink.astype(np.float32)).resize(fitted, resample), np.float64)
    digit = np.clip(digit / max(digit.max(), 1e-6), 0, 1)
    (height, width), mass = digit.shape, digit.sum()
    top = round(size / 2 - (digit.sum(axis=1) @ np.arange(height)) / mass)
    left = round(size / 2 - (digit.sum(axis=0) @ np.arange(width)) / mass)
    top, left = (min(max(start, 0), size - side) for start, side in ((top, height), (left, width)))
    canvas = np.zeros((size, size))
    canvas[top : top + height, left : left + width] = digit
    return np.round(canvas * 255).astype(np.uint8)


__all__ = ["digit_array", "fit_array", "on_background", "open_picture", "seen_as"]

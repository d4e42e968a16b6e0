"""Pictures of every kind come out upright and 8-bit, digits as MNIST's; what is no picture is one error."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw

from edgevision.data import DATA_SETS, load
from edgevision.data.sources import locate
from edgevision.errors import UserError
from edgevision.pictures import PIXELS_MAX, digit_array, fit_array, open_picture


def seven(size: tuple[int, int] = (120, 160), ink: int = 255, paper: int = 0) -> Image.Image:
    """A 7 in the upper left of a larger picture."""
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).line([(20, 20), (60, 20), (35, 90)], fill=ink, width=9, joint="curve")
    return image


def saved(tmp_path: Path, image: Image.Image, name: str = "picture.png", **options: Any) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


# Opening


def transparent(image: Image.Image, ink: int) -> Image.Image:
    """`image`, white on black, as ink of that grey on nothing."""
    grey = Image.new("L", image.size, ink)
    return Image.merge("RGBA", (grey, grey, grey, image))


def palette_with_transparency(image: Image.Image) -> Image.Image:
    result = image.convert("P")
    result.info["transparency"] = 0
    return result


SIXTEEN = np.asarray(seven(), np.uint16) * 257
KINDS: dict[str, tuple[str, Callable[[], Image.Image], str]] = {
    "grey": ("x.png", seven, "L"),
    "rgb": ("x.png", lambda: seven().convert("RGB"), "RGB"),
    "rgba": ("x.png", lambda: transparent(seven(), 255), "RGBA"),
    "grey with alpha": ("x.png", lambda: transparent(seven(), 255).convert("LA"), "RGBA"),
    "palette": ("x.png", lambda: seven().convert("P"), "RGB"),
    "palette with transparency": ("x.png", lambda: palette_with_transparency(seven()), "RGBA"),
    "gif": ("x.gif", lambda: seven().convert("P"), "RGB"),
    "one bit": ("x.png", lambda: seven().convert("1"), "L"),
    "cmyk": ("x.jpg", lambda: seven().convert("CMYK"), "RGB"),
    "ycbcr": ("x.jpg", lambda: seven().convert("YCbCr"), "RGB"),
    "16 bits": ("x.png", lambda: Image.fromarray(SIXTEEN), "L"),
    "16 bits tiff": ("x.tif", lambda: Image.fromarray(SIXTEEN), "L"),
    "32 bits": ("x.tif", lambda: Image.fromarray(SIXTEEN.astype(np.int32)), "L"),
    "float": ("x.tif", lambda: Image.fromarray(SIXTEEN.astype(np.float32) / 65535), "L"),
    "webp": ("x.webp", lambda: seven().convert("RGB"), "RGB"),
    "bmp": ("x.bmp", seven, "L"),
    "ppm": ("x.ppm", lambda: seven().convert("RGB"), "RGB"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_gives_the_same_digit(tmp_path: Path, kind: str) -> None:
    name, make, mode = KINDS[kind]
    picture = open_picture(saved(tmp_path, make(), name))
    assert (picture.mode, picture.size) == (mode, (120, 160))
    digit, note = digit_array(picture)
    expected, _ = digit_array(seven())
    assert (digit.shape, digit.dtype) == ((1, 28, 28, 1), np.float32)
    assert np.abs(digit - expected).max() < 0.1, note


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("entry", TURNS)
def test_exif_turns_the_picture_upright(tmp_path: Path, entry: int) -> None:
    """The camera was held so that the stored picture needs `entry`'s turning to stand upright."""
    lying = seven().transpose(TURNS[entry])
    exif = Image.Exif()
    exif[0x0112] = entry
    picture = open_picture(saved(tmp_path, lying, "x.png", exif=exif))
    assert np.array_equal(np.asarray(picture), np.asarray(seven()))
    assert "turned upright" in digit_array(picture)[1]
    plain = open_picture(saved(tmp_path, seven()))
    assert "turned" not in digit_array(plain)[1]


def test_what_was_opened_is_known() -> None:
    with pytest.raises(UserError, match=r"nothing\.png is not there"):
        open_picture("nothing.png")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def png_of_seven() -> bytes:
    stream = io.BytesIO()
    seven().save(stream, "PNG")
    return stream.getvalue()


NO_PICTURES = {
    "text": (b"this is not a picture", "is not a picture that can be read"),
    "empty": (b"", "is not a picture that can be read"),
    "program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture that can be read"),
    "cut": (png_of_seven()[:200], "is damaged"),
    "spoilt": (png_of_seven().replace(b"IDATx", b"IDATy"), "is damaged"),
    "bomb": (png_that_claims(50_000, 50_000), "claims more than 134,217,728 pixels"),
    "small bomb": (png_that_claims(12_000, 12_000), "claims more than 134,217,728 pixels"),
    "long bomb": (png_that_claims(2**31 - 1, 1), "claims more than 134,217,728 pixels"),
    "single pixel": (png_that_claims(1, 1), "is a single pixel"),
}


@pytest.mark.parametrize("case", NO_PICTURES)
def test_what_is_no_picture_is_refused(tmp_path: Path, case: str) -> None:
    content, words = NO_PICTURES[case]
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        open_picture(path)
    assert str(path) in refused.value.message
    assert "\n" not in str(refused.value)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """The picture claims 2.5 billion pixels; refusing it takes less memory than a thousandth of them."""
    import tracemalloc

    (tmp_path / "bomb.png").write_bytes(png_that_claims(50_000, 50_000))
    tracemalloc.start()
    try:
        with pytest.raises(UserError):
            open_picture(tmp_path / "bomb.png")
        assert tracemalloc.get_traced_memory()[1] < 2_500_000
    finally:
        tracemalloc.stop()


def test_the_largest_picture_is_beyond_a_camera() -> None:
    assert PIXELS_MAX > 12_000 * 9_000, "108 megapixels, a telephone's"


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file"):
        open_picture(tmp_path)


# Digits


def test_test_pictures_pass_pixel_for_pixel(tmp_path: Path) -> None:
    name = "mnist" if locate(DATA_SETS["mnist"]) else "digits"
    test = load(name, "test", 10_000)
    arrays = test.images.astype(np.float32) / np.float32(255)
    for index, image in enumerate(test.images):
        picture = Image.fromarray(image[:, :, 0])
        if index < 200:
            picture = open_picture(saved(tmp_path, picture))
        digit, note = digit_array(picture)
        assert np.array_equal(digit[0], arrays[index]), index
        assert note == "white on black; 28 x 28: taken as it is"


def test_black_on_white_is_inverted_and_said() -> None:
    image = load("digits", "test", 1).images[0, :, :, 0]
    digit, note = digit_array(Image.fromarray(255 - image))
    assert np.array_equal(digit[0, :, :, 0], image.astype(np.float32) / np.float32(255))
    assert note == "black on white: inverted; 28 x 28: taken as it is"


@pytest.mark.parametrize(("ink", "paper"), [(255, 0), (0, 255), (230, 90), (60, 170), (140, 100)])
def test_any_grey_on_any_grey(ink: int, paper: int) -> None:
    digit, note = digit_array(seven(ink=ink, paper=paper))
    assert np.abs(digit - digit_array(seven())[0]).max() < 0.02
    assert note.startswith("white on black" if ink > paper else "black on white: inverted")


@pytest.mark.parametrize("ink", [255, 0])
def test_ink_on_nothing(ink: int) -> None:
    digit, note = digit_array(transparent(seven(), ink))
    assert np.array_equal(digit, digit_array(seven())[0])
    assert note.startswith(f"transparent parts made {'black' if ink else 'white'}")


def test_digits_are_placed_as_mnist_places_them() -> None:
    for place in ((0, 0), (55, 60), (20, 5)):
        moved = Image.new("L", (200, 250))
        moved.paste(seven().crop((15, 15, 70, 95)), place)
        digit = digit_array(moved)[0][0, :, :, 0]
        rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20, "it fills a box of 20 x 20"
        mass = digit.sum()
        assert abs((digit.sum(axis=1) @ np.arange(28)) / mass - 14) <= 0.6
        assert abs((digit.sum(axis=0) @ np.arange(28)) / mass - 14) <= 0.6


def test_values_are_those_of_8_bits() -> None:
    digit = digit_array(seven())[0]
    assert np.array_equal(np.round(digit * 255) / np.float32(255), digit)
    assert (digit.min(), digit.max()) == (0, 1)


def test_a_photograph_with_a_shadow() -> None:
    """Uneven light and noise leave no trace beside the digit, and the digit is the same."""
    random = np.random.default_rng(0)
    light = np.linspace(130, 240, 600)[None, :] + np.linspace(0, -30, 500)[:, None]
    big = np.asarray(seven().resize((600, 500)), np.float64) / 255
    photo = light * (1 - 0.75 * big) + random.normal(0, 5, big.shape)
    digit, note = digit_array(Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)))
    clean, _ = digit_array(seven().resize((600, 500)))
    assert note.startswith("black on white: inverted")
    assert np.corrcoef(digit.ravel(), clean.ravel())[0, 1] > 0.95
    assert (digit[clean == 0] > 0.3).mean() < 0.02


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("size", [(28, 28), (300, 200), (1, 1)])
def test_empty_paper_is_refused(tmp_path: Path, grey: int, size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="there is no digit in the picture"):
        digit_array(Image.new("L", size, grey))
    if size != (1, 1):
        with pytest.raises(UserError, match=r"there is no digit in .*picture\.png"):
            digit_array(open_picture(saved(tmp_path, Image.new("L", size, grey))))


def test_light_alone_is_no_digit() -> None:
    slope = np.linspace(100, 200, 90)[None, :].repeat(70, axis=0).astype(np.uint8)
    with pytest.raises(UserError, match="nothing stands out"):
        digit_array(Image.fromarray(slope))


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.sampled_from([28, 32]))
def test_any_picture_gives_a_digit_or_a_clear_refusal(grey: np.ndarray, size: int) -> None:
    try:
        digit, _ = digit_array(Image.fromarray(grey), size)
    except UserError:
        return
    assert digit.shape == (1, size, size, 1)
    assert np.isfinite(digit).all()
    assert 0 <= digit.min() < digit.max() <= 1


# Pictures for other models


def test_fitting_cuts_the_longer_side() -> None:
    image = Image.new("RGB", (60, 20), "white")
    image.paste((255, 0, 0), (20, 0, 40, 20))
    fitted = fit_array(image, (10, 10))
    assert (fitted.shape, fitted.dtype) == ((1, 10, 10, 3), np.float32)
    assert np.allclose(fitted[0, 5, 5], [1, 0, 0])
    assert fit_array(image, (8, 12), "gray").shape == (1, 8, 12, 1)


def test_fitting_keeps_what_fits() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert np.array_equal(fit_array(Image.fromarray(pixels), 16)[0], pixels / np.float32(255))


def test_fitting_lays_transparent_pictures_on_white() -> None:
    clear = Image.new("RGBA", (9, 9), (200, 0, 0, 0))
    assert (fit_array(clear, 9) == 1).all()

"""Kernels over pictures: the textbook's numbers, MLX against a plain sum, and the command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision import filters
from edgevision.cli import main
from edgevision.errors import UsageError, UserError
from edgevision.filters import KERNELS, as_picture, convolve, kernel_named, matrix_text, pool, read_values


def digits(*rows: str) -> np.ndarray:
    return np.array([[float(digit) for digit in row] for row in rows], np.float32)


HILL = digits("000000", "012210", "024420", "013311", "012310", "001100")


def plain_convolve(values: np.ndarray, kernel: np.ndarray, padding: int, stride: int) -> np.ndarray:
    """The definition, one sum after another."""
    padded = np.pad(values.astype(np.float64), padding)
    height, width = kernel.shape
    return np.array(
        [
            [
                (padded[y : y + height, x : x + width] * kernel).sum()
                for x in range(0, padded.shape[1] - width + 1, stride)
            ]
            for y in range(0, padded.shape[0] - height + 1, stride)
        ]
    )


# The introduction's example


def test_the_textbook_example() -> None:
    edges = convolve(HILL, KERNELS["edge-4"])
    assert edges.tolist() == [[0, -1, -1, 0], [-2, -5, -5, -2], [2, -2, -1, 3], [-1, 0, -5, 0]]
    assert pool(edges, "max").tolist() == [[0, 0], [2, 3]]
    assert pool(edges, "avg").tolist() == [[-2, -2], [-0.25, -0.75]]


def test_its_neighbour_by_hand() -> None:
    """The sums at the fourth column, for a hill that is steeper there: 2 + 1 - 4 * 1 = -1 and so on."""
    steeper = digits("000000", "012210", "024410", "013310", "012310", "001100")
    edges = convolve(steeper, KERNELS["edge-4"])
    assert edges.tolist() == [[0, -1, -1, -1], [-2, -5, -6, 2], [2, -2, -1, 1], [-1, 0, -5, 0]]
    assert pool(edges, "max").tolist() == [[0, 2], [2, 1]]


def test_the_command_prints_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_picture(HILL).save(tmp_path / "hill.png")
    (tmp_path / "hill.txt").write_text("\n".join(" ".join(f"{v:.0f}" for v in row) for row in HILL))
    (tmp_path / "hill.csv").write_text("\n".join(",".join(f"{v:.0f}" for v in row) for row in HILL) + "\n\n")
    for name in ("hill.png", "hill.txt", "hill.csv"):
        assert main(["filter", str(tmp_path / name), "--kernel", "edge-4", "--pool", "max"]) == 0
        printed, told = capsys.readouterr()
        assert told == ""
        assert " 0 -1 -1  0\n-2 -5 -5 -2\n 2 -2 -1  3\n-1  0 -5  0\n" in printed
        assert printed.endswith("max pooled\n0 0\n2 3\n")


# Against the definition


@pytest.mark.parametrize("padding", [0, 1, 2, "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (1, 1)])
def test_convolution_is_the_definition(shape: tuple[int, int], stride: int, padding: int | str) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (13, 17)).astype(np.float32)
    kernel = random.integers(-4, 5, shape).astype(np.float32)
    if padding == "same" and shape[0] != shape[1]:
        assert convolve(values, kernel, "same").shape == values.shape
        return
    zeros = (shape[0] - 1) // 2 if padding == "same" else int(padding)
    assert np.array_equal(
        convolve(values, kernel, padding, stride), plain_convolve(values, kernel, zeros, stride)
    )


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_strips_make_no_difference(monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (40, 11, 3)).astype(np.float32)
    kernel = KERNELS["sharpen"]
    whole = convolve(values, kernel, 1, stride)
    monkeypatch.setattr(filters, "STRIP_PRODUCTS", 1000)
    assert np.array_equal(convolve(values, kernel, 1, stride), whole)


def test_channels_stay_apart() -> None:
    values = np.random.default_rng(2).integers(0, 256, (9, 8, 3)).astype(np.float32)
    filtered = convolve(values, KERNELS["edge-8"], "same")
    for channel in range(3):
        alone = convolve(values[:, :, channel], KERNELS["edge-8"], "same")
        assert np.array_equal(filtered[:, :, channel], alone)


def test_the_kernel_is_not_turned_around() -> None:
    spot = np.zeros((3, 3), np.float32)
    spot[1, 1] = 1
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert np.array_equal(convolve(spot, kernel, 1), kernel[::-1, ::-1])


@pytest.mark.parametrize("name", KERNELS)
def test_named_kernels(name: str) -> None:
    """On an even grey the edges are 0, the others leave it as it is."""
    even = np.full((5, 5), 90, np.float32)
    expected = 0 if name.startswith("edge") else 90
    assert np.allclose(convolve(even, KERNELS[name]), expected, atol=1e-4)
    assert kernel_named(name) == (name, KERNELS[name])


def test_identity_changes_nothing() -> None:
    values = np.random.default_rng(3).integers(0, 256, (6, 7, 3)).astype(np.float32)
    assert np.array_equal(convolve(values, KERNELS["identity"], "same"), values)


@pytest.mark.parametrize(("kind", "reduce"), [("max", np.max), ("avg", np.mean)])
@pytest.mark.parametrize(("size", "stride"), [(2, None), (2, 1), (3, 2), (1, None), (4, None)])
def test_pooling_is_the_definition(
    kind: str, reduce: Callable[..., np.ndarray], size: int, stride: int | None
) -> None:
    values = np.random.default_rng(4).integers(-99, 99, (7, 9, 3)).astype(np.float32)
    step = stride or size
    expected = [
        [
            reduce(values[y : y + size, x : x + size], axis=(0, 1))
            for x in range(0, values.shape[1] - size + 1, step)
        ]
        for y in range(0, values.shape[0] - size + 1, step)
    ]
    assert np.allclose(pool(values, kind, size, stride), expected)


# Own kernels, pictures, numbers


def test_own_kernels() -> None:
    name, kernel = kernel_named("relief=-2,-1,0;-1,1,1;0,1,2")
    assert name == "relief"
    assert kernel.tolist() == [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]
    assert kernel_named("line=1,-1")[1].shape == (1, 2)
    assert kernel_named("x=0.5, 1e-1 ;-.25,2")[1].ravel() == pytest.approx([0.5, 0.1, -0.25, 2])


def test_pictures_of_values() -> None:
    values = np.array([[-10, 0.4], [254.6, 300]])
    assert np.asarray(as_picture(values)).tolist() == [[0, 0], [255, 255]]
    assert np.asarray(as_picture(np.array([[-5, 0], [5, 5]]), "stretch")).tolist() == [[0, 128], [255, 255]]
    assert np.asarray(as_picture(np.full((2, 2), 7), "stretch")).tolist() == [[0, 0], [0, 0]]


def test_numbers_stand_in_columns() -> None:
    assert matrix_text(np.array([[1, -10], [0, 200]])) == "  1 -10\n  0 200"
    assert matrix_text(np.array([[0.5, -1]])) == " 0.500 -1.000"
    assert matrix_text(np.array([[-0.0]])) == "0"


def test_transparent_pictures_lie_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (read_values(tmp_path / "clear.png") == 255).all()
    assert read_values(tmp_path / "clear.png").shape == (3, 4, 3)


# The command


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colours.png")
    return tmp_path / "colours.png"


def test_the_command_writes_a_picture(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = colours.parent / "out.png"
    options = [
        "--kernel",
        "sharpen",
        "--padding",
        "same",
        "--stride",
        "2",
        "--pool",
        "avg",
        "--pool-size",
        "3",
    ]
    assert main(["filter", str(colours), *options, "--out", str(out)]) == 0
    assert capsys.readouterr() == ("", f"wrote {out}, 6 x 5 pixels\n")
    values = pool(convolve(read_values(colours), KERNELS["sharpen"], 1, 2), "avg", 3)
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(as_picture(values)))
    before = out.read_bytes()
    assert main(["filter", str(colours), "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main(["filter", str(colours), "--out", str(out), "--zoom", "2", "--force"]) == 0
    assert np.array_equal(np.asarray(Image.open(out))[::2, 1::2], np.asarray(Image.open(colours))[1:-1, 1:-1])


USAGE = {
    "unknown kernel": (["--kernel", "emboss"], "kernel 'emboss' is unknown (choose from identity, edge, "),
    "ragged kernel": (["--kernel", "x=1,2;3"], "kernel 'x=1,2;3' is no matrix of numbers"),
    "empty kernel": (["--kernel", "x="], "is no matrix of numbers"),
    "words in a kernel": (["--kernel", "x=1,two"], "is no matrix of numbers"),
    "infinite kernel": (["--kernel", "x=inf"], "must be finite"),
    "large kernel": (["--kernel", "x=" + ",".join(["1"] * 64)], "sides at most 63"),
    "kernel beyond the picture": (["--kernel", "x=" + ",".join(["1"] * 50)], "does not fit into 30 x 40"),
    "same with an even kernel": (["--kernel", "x=1,1", "--padding", "same"], "odd sides"),
    "padding": (["--padding", "full"], "padding 'full'"),
    "negative padding": (["--padding=-1"], "padding '-1'"),
    "stride": (["--stride", "0"], "stride"),
    "pooling": (["--pool", "min"], "pooling 'min' is unknown"),
    "window": (["--pool", "max", "--pool-size", "99"], "does not fit"),
    "span": (["--span", "wide"], "span 'wide' is unknown"),
    "no picture": (["--out", "x.jpg"], "does not end in .png"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_one_line(
    colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, words = USAGE[case]
    monkeypatch.chdir(colours.parent)
    out = [] if "--out" in arguments else ["--out", "out.png"]
    assert main(["filter", str(colours), *out, *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told
    assert list(colours.parent.iterdir()) == [colours]


def test_large_results_need_a_file(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", str(colours)]) == 2
    assert "--out result.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.png", None),
        ("missing.txt", None),
        ("text.png", b"no picture"),
        ("words.txt", b"1 2\n3 four\n"),
        ("ragged.txt", b"1 2\n3\n"),
        ("empty.txt", b"\n"),
        ("nan.csv", b"1,nan\n2,3\n"),
        ("binary.csv", b"\xff\xfe\x00"),
        ("long.txt", b"1 " * (1 << 20)),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["filter", str(tmp_path / name), "--out", str(tmp_path / "out.png")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(tmp_path / name) in told
    assert not (tmp_path / "out.png").exists()


def test_zoom_has_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (200, 200)).save(tmp_path / "large.png")
    command = ["filter", str(tmp_path / "large.png"), "--kernel", "one=1", "--zoom", "64"]
    assert main([*command, "--out", str(tmp_path / "out.png")]) == 2
    assert "--zoom 64 makes more than" in capsys.readouterr().err


def test_errors_in_python() -> None:
    with pytest.raises(UsageError, match="stride 1 or more"):
        convolve(HILL, KERNELS["edge"], -1)
    with pytest.raises(UsageError, match="must be 1 or more"):
        pool(HILL, "max", 0)
    with pytest.raises(UserError, match="is not there"):
        read_values("nowhere.txt")

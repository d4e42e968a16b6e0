"""Harmed `.onnx` files: bytes flipped, cut, repeated, sizes made huge. Each is refused or loads; none
crashes, hangs, or takes memory without bound."""

import random
import resource
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest

import converters as cv

SECONDS = 5  # for one file
ADDRESS_SPACE = 6 << 30  # what the child may map


def victims(folder: Path) -> list[Path]:
    """A convolutional network with labels and a decoder's layer with a cache."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(4, 5, 3))
    mx.eval(network.parameters())
    network.eval()

    def grow(x: mx.array, past: mx.array) -> tuple[mx.array, mx.array]:
        keys = mx.concatenate([past, x], axis=1)
        return mx.softmax(x @ keys.transpose(0, 2, 1), axis=-1) @ keys, keys

    specs = {"x": cv.Spec(("batch", "length", 8)), "past": cv.Spec(("batch", "past", 8))}
    cache = cv.capture(grow, specs, ["y", "present"], states={"past": "present"})
    picture = cv.capture(network, {"photo": cv.Spec(("batch", 16, 16, 3))})
    return [
        cv.convert(picture, folder / "network.onnx", labels=list("abcde")),
        cv.convert(cache, folder / "cache.onnx"),
    ]


def harmed(data: bytes, draw: random.Random) -> bytes:
    """`data` changed in one of six ways."""
    at, kind = draw.randrange(len(data)), draw.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(draw.randrange(256) for _ in range(8)) + data[at + 8 :]
    if kind == 2:
        return data[:at] + data[at : at + 64] + data[at:]
    if kind == 3:
        return data[:at] + struct.pack("<Q", 2**62) + data[at + 8 :]
    if kind == 4:
        return data[:at] + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + data[at + 9 :]
    flipped = bytearray(data)
    for _ in range(draw.randrange(1, 20)):
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def attempt(path: Path) -> None:
    with suppress(cv.ConversionError):
        cv.load(path)
        cv.inspect(path)


def main(folder: Path, count: int) -> None:
    """What the child does; says which file it is at."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    originals = [path.read_bytes() for path in sorted(folder.glob("*.onnx"))]
    target = folder / "harmed" / "model.onnx"
    target.parent.mkdir()
    for seed in range(count):
        draw = random.Random(seed)
        target.write_bytes(harmed(draw.choice(originals), draw))
        print(seed, flush=True)
        began = time.monotonic()
        attempt(target)
        assert time.monotonic() - began < SECONDS, f"seed {seed} took too long"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the child's memory as Linux does")
@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_harmed_files_are_refused_or_load(count, tmp_path):
    victims(tmp_path)
    command = [sys.executable, __file__, str(tmp_path), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    last = done.stdout.split()[-1:] or ["none"]
    assert done.returncode == 0, f"at seed {last[0]}: exit code {done.returncode}\n{done.stderr[-2000:]}"
    assert last == [str(count - 1)]


def test_weights_outside_the_folder_are_refused(tmp_path):
    import onnx

    model = onnx.load(str(victims(tmp_path)[0]))
    (weight, *_) = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 100]
    (tmp_path / "elsewhere.bin").write_bytes(weight.raw_data)
    inside = tmp_path / "inside"
    inside.mkdir()
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../elsewhere.bin")
    (inside / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(cv.LoadError, match="outside"):
        cv.load(inside / "model.onnx")


def test_an_unknown_opset_is_refused(tmp_path):
    import onnx

    path = victims(tmp_path)[0]
    model = onnx.load(str(path))
    model.opset_import[0].version = 99
    onnx.save(model, str(path))
    with pytest.raises(cv.LoadError, match="opset"):
        cv.load(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

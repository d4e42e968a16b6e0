"""Reading saved Core ML packages: every element type, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_programs import mb, mil_types, save

from converters.errors import ConversionError, LoadError
from converters.targets.coreml.interpreter import Interpreter
from converters.targets.coreml.package import unpack
from converters.targets.coreml.schema import model_schema

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
X = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)
RECORD = struct.Struct("<IIQQQ")


def network(x: Any) -> Any:
    """A little of everything that a file can hold: weights, strings, tuples, a branch, a loop."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
    y = mb.relu(x=mb.conv(x=x, weight=w, bias=np.ones(3, np.float32), pad_type="custom", pad=[1, 0, 1, 2]))
    y = mb.max_pool(x=y, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
    y = mb.reshape(x=y, shape=[1, -1])
    codes = rng.integers(-8, 8, (4, 6)).astype(mil_types().np_int4_dtype)
    scale = rng.uniform(0.1, 1, (4, 1)).astype(np.float32)
    y = mb.matmul(x=y, y=mb.constexpr_blockwise_shift_scale(data=codes, scale=scale), transpose_y=True)
    y = mb.cast(x=mb.gelu(x=mb.cast(x=y, dtype="fp16"), mode="EXACT"), dtype="fp32")
    pred = mb.squeeze(x=mb.greater(x=mb.reduce_sum(x=y, axes=[0, 1], keep_dims=True), y=0.0))
    y = mb.cond(pred=pred, _true_fn=lambda: mb.mul(x=y, y=2.0), _false_fn=lambda: mb.mul(x=y, y=3.0))
    _, y = mb.while_loop(
        _cond=lambda i, v: mb.less(x=i, y=2), _body=lambda i, v: (mb.add(x=i, y=1), mb.add(x=v, y=v)),
        loop_vars=(np.int32(0), y),
    )  # fmt: skip
    return mb.softmax(x=mb.concat(values=(y, y), axis=-1), axis=-1, name="p")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(network, {"x": X}, tmp_path_factory.mktemp("whole") / "net.mlpackage")


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    """A copy to be harmed."""
    return Path(shutil.copytree(whole, tmp_path / "net.mlpackage"))


def edit(package: Path, change: Callable[[Any], None]) -> None:
    model = model_schema().Model.FromString((package / MODEL).read_bytes())
    change(model)
    (package / MODEL).write_bytes(model.SerializeToString())


def body(model: Any) -> Any:
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    return block


def operation(model: Any, kind: str) -> Any:
    return next(op for op in body(model).operations if op.type == kind)


def weights_of(model: Any) -> Any:
    """The first constant in the weights file."""
    return next(
        op for op in body(model).operations if op.attributes["val"].WhichOneof("value") == "blobFileValue"
    )


def overwrite(file: Path, offset: int, data: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[offset : offset + len(data)] = data
    file.write_bytes(content)


def test_the_unharmed_package(whole: Path) -> None:
    model = Interpreter(whole)
    assert model.run({"x": X})["p"].shape == (1, 8)
    assert model.weight_bytes == (whole / WEIGHTS).stat().st_size
    assert sum(model.operations().values()) < 40


def manifest(package: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((package / "Manifest.json").read_text())
    change(content)
    (package / "Manifest.json").write_text(json.dumps(content))


def lead_out(package: Path) -> None:
    """The manifest names a model outside of the package."""
    outside = package.parent / "outside.mlmodel"
    shutil.copy(package / MODEL, outside)
    manifest(
        package, lambda m: m["itemInfoEntries"][m["rootModelIdentifier"]].update(path="../../outside.mlmodel")
    )


def lead_weights_out(package: Path) -> None:
    shutil.copy(package / WEIGHTS, package.parent / "w.bin")
    edit(package, lambda m: setattr(
        weights_of(m).attributes["val"].blobFileValue, "fileName", "@model_path/../../../w.bin"))  # fmt: skip


def link_weights_out(package: Path) -> None:
    outside = package.parent / "w.bin"
    shutil.move(package / WEIGHTS, outside)
    os.symlink(outside, package / WEIGHTS)


def lie(change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda package: edit(package, change)


def resize(op: Any, axis: int, size: int) -> None:
    op.outputs[0].type.tensorType.dimensions[axis].constant.size = size


def resize_constant(model: Any) -> None:
    op = weights_of(model)
    resize(op, 0, 2**40)
    op.attributes["val"].type.tensorType.dimensions[0].constant.size = 2**40


def retype(model: Any) -> None:
    operation(model, "relu").outputs[0].type.tensorType.dataType = 23


HARM: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda p: (p / "Manifest.json").unlink(), "no manifest"),
    "no JSON": (lambda p: (p / "Manifest.json").write_text("{"), "no manifest"),
    "a list as manifest": (lambda p: (p / "Manifest.json").write_text("[]"), "no manifest"),
    "no root": (lambda p: manifest(p, lambda m: m.pop("rootModelIdentifier")), "no 'rootModelIdentifier'"),
    "root elsewhere": (lead_out, "outside"),
    "no model": (lambda p: (p / MODEL).unlink(), "incomplete"),
    "cut model": (lambda p: (p / MODEL).write_bytes((p / MODEL).read_bytes()[:-100]), "no Core ML model"),
    "empty model": (lambda p: (p / MODEL).write_bytes(b""), "holds nothing"),
    "no weights": (lambda p: (p / WEIGHTS).unlink(), "incomplete"),
    "empty weights": (lambda p: (p / WEIGHTS).write_bytes(b""), "cut"),
    "cut weights": (
        lambda p: (p / WEIGHTS).write_bytes((p / WEIGHTS).read_bytes()[:200]),
        "outside|after the file",
    ),
    "weights of version 1": (lambda p: overwrite(p / WEIGHTS, 4, b"\1"), "version 2"),
    "weights elsewhere": (lead_weights_out, "outside"),
    "weights linked elsewhere": (link_weights_out, "outside"),
    "no record": (lambda p: overwrite(p / WEIGHTS, 64, b"\0"), "no record"),
    "type of the record": (lambda p: overwrite(p / WEIGHTS, 68, b"\1"), "holds float16"),
    "length of the record": (lambda p: overwrite(p / WEIGHTS, 72, b"\xff"), "bytes; float32"),
    "offset of the record": (lambda p: overwrite(p / WEIGHTS, 80, b"\xff" * 8), "after the file"),
    "offset": (
        lie(lambda m: setattr(weights_of(m).attributes["val"].blobFileValue, "offset", 2**63)),
        "outside the file",
    ),
    "huge constant": (lie(resize_constant), "bytes; float32"),
    "lying shape": (lie(lambda m: resize(operation(m, "relu"), 1, 4)), r"declared float32 \(1, 4, "),
    "lying type": (lie(retype), "declared int32"),
    "huge shape": (lie(lambda m: resize(operation(m, "reshape"), 1, 2**40)), "too large|declared"),
    "unknown opset": (lie(lambda m: setattr(m.mlProgram.functions["main"], "opset", "CoreML99")), "CoreML99"),
    "missing operand": (
        lie(lambda m: operation(m, "relu").inputs["x"].arguments[0].ClearField("name")),
        "needs ''",
    ),
    "no operand": (lie(lambda m: operation(m, "relu").inputs.clear()), "relu"),
    "unknown operand": (lie(lambda m: operation(m, "relu").inputs["y"].arguments.add(name="x")), "relu"),
    "unknown operation": (lie(lambda m: setattr(operation(m, "relu"), "type", "relux")), "relux"),
    "no such output": (lie(lambda m: body(m).outputs.append("q")), "nothing makes the output q"),
    "undescribed output": (
        lie(lambda m: body(m).outputs.append(operation(m, "relu").outputs[0].name)),
        "outputs",
    ),
    "undescribed input": (
        lie(lambda m: m.description.input.add(name="z").type.multiArrayType.SetInParent()),
        "type 0",
    ),
    "a neural network": (lie(lambda m: m.neuralNetwork.SetInParent()), "holds neuralNetwork"),
    "described otherwise": (
        lie(lambda m: m.description.input[0].type.multiArrayType.shape.__setitem__(1, 5)),
        "described",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_harmed_package_is_one_clear_error(harm: str, package: Path) -> None:
    change, message = HARM[harm]
    change(package)
    with pytest.raises(ConversionError, match=message) as caught:
        Interpreter(package).run({"x": X})
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("kind", ["relu", "conv", "matmul", "max_pool", "reshape", "reduce_sum", "softmax"])
@pytest.mark.parametrize("lie", ["shape", "rank", "type"])
def test_a_lie_about_a_result_is_found_when_the_package_is_opened(kind: str, lie: str, package: Path) -> None:
    def tell(model: Any) -> None:
        declared = operation(model, kind).outputs[0].type.tensorType
        if lie == "shape":
            declared.dimensions[len(declared.dimensions) - 1].constant.size += 1
        elif lie == "rank":
            declared.dimensions.add().constant.size = 1
            declared.rank += 1
        else:
            declared.dataType = 23

    edit(package, tell)
    with pytest.raises(LoadError, match=f"{kind} .* is declared .*, its operands give") as caught:
        Interpreter(package)
    assert "\n" not in caught.value.message


def test_missing_package(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not there"):
        Interpreter(tmp_path / "none.mlpackage")
    (tmp_path / "file.mlpackage").write_text("")
    with pytest.raises(LoadError, match="is a file"):
        Interpreter(tmp_path / "file.mlpackage")


BLOB_TYPES = ["float16", "float32", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
NARROW_TYPES = {
    "int4": (-8, 8),
    "uint1": (0, 2),
    "uint2": (0, 4),
    "uint3": (0, 8),
    "uint4": (0, 16),
    "uint6": (0, 64),
}


@pytest.mark.parametrize("size", [3, 37], ids=["immediate", "blob"])
@pytest.mark.parametrize("dtype", [*BLOB_TYPES, *NARROW_TYPES])
def test_constants_of_every_type(dtype: str, size: int, tmp_path: Path) -> None:
    """As coremltools writes them: in the program up to nine elements, in the weights file from ten on."""
    rng = np.random.default_rng(0)
    if dtype in NARROW_TYPES:
        values = rng.integers(*NARROW_TYPES[dtype], size)
        stored = values.astype(getattr(mil_types(), f"np_{dtype}_dtype"))
    else:
        values = (
            rng.integers(-50, 50, size).astype(dtype)
            if dtype[0] != "u"
            else rng.integers(0, 200, size).astype(dtype)
        )
        stored = values

    def constant_beside(x: Any) -> Any:
        mb.const(val=stored, name="c")
        return mb.identity(x=x, name="y")

    model = Interpreter(save(constant_beside, {"x": np.zeros(2, np.float32)}, tmp_path / "a.mlpackage"))
    found = model._bodies["main"].body.constants["c"]
    np.testing.assert_array_equal(found.astype(np.float64), values.astype(np.float64))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_unpacking(bits: int, signed: bool) -> None:
    low = -(1 << (bits - 1)) if signed else 0
    values = [low + i % (1 << bits) for i in range(29)]
    stream = sum((value & ((1 << bits) - 1)) << (index * bits) for index, value in enumerate(values))
    data = np.frombuffer(stream.to_bytes(-(-29 * bits // 8), "little"), np.uint8)
    assert unpack(data, bits, 29, signed).tolist() == values


def mutated(package: Path, rng: random.Random) -> None:
    """Some bytes of one file changed, removed or doubled; or some fields of the program exchanged."""
    if rng.random() < 0.4:
        edit(package, lambda model: exchange(model, rng))
        return
    file = package / rng.choice([MODEL, MODEL, WEIGHTS, Path("Manifest.json")])
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 4, 30])):
        at = rng.randrange(len(content) or 1)
        kind = rng.random()
        if kind < 0.6 and content:
            content[at % len(content)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif kind < 0.8:
            del content[at : at + rng.randrange(1, 9)]
        else:
            content[at:at] = content[at : at + rng.randrange(1, 9)]
    file.write_bytes(content)


def exchange(model: Any, rng: random.Random) -> None:
    operations = list(body(model).operations)
    for _ in range(rng.randrange(1, 4)):
        one, other = rng.sample(operations, 2)
        kind = rng.random()
        if kind < 0.3 and one.outputs[0].type.tensorType.dimensions:
            size = rng.choice([0, 1, 2, 7, 2**16, 2**31, 2**63])
            rng.choice(one.outputs[0].type.tensorType.dimensions).constant.size = size
        elif kind < 0.5:
            one.type = other.type
        elif kind < 0.7 and one.inputs and other.inputs:
            mine, theirs = rng.choice(sorted(one.inputs)), rng.choice(sorted(other.inputs))
            one.inputs[mine].CopyFrom(other.inputs[theirs])
        elif "val" in one.attributes and "val" in other.attributes:
            one.attributes["val"].CopyFrom(other.attributes["val"])
            ints = one.attributes["val"].immediateValue.tensor.ints.values
            for index in range(len(ints)):
                ints[index] = rng.choice([0, 1, -1, 3, 2**31 - 1, -(2**31)])
        else:
            one.outputs[0].type.tensorType.dataType = rng.randrange(45)


def fuzz(whole: Path, folder: Path, seeds: range) -> None:
    """Each mutation runs, or is an error of ours, within a second or so."""
    for seed in seeds:
        package = Path(shutil.copytree(whole, folder / "net.mlpackage", dirs_exist_ok=True))
        mutated(package, random.Random(seed))
        began = time.perf_counter()
        try:
            Interpreter(package).run({"x": X})
        except ConversionError:
            pass
        except Exception as error:
            raise AssertionError(f"seed {seed} escapes as {type(error).__name__}: {error}") from error
        assert time.perf_counter() - began < 5, f"seed {seed} takes too long"


@pytest.mark.fuzz
def test_mutated_packages(whole: Path, tmp_path: Path) -> None:
    fuzz(whole, tmp_path, range(200))


@pytest.mark.slow
@pytest.mark.fuzz
def test_many_mutated_packages(whole: Path, tmp_path: Path) -> None:
    fuzz(whole, tmp_path, range(1000, 2000))

"""What the interpreter does with whole programs: states, functions, flexible sizes, pictures, labels,
branches, loops, half precision."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_programs import convert, mb, mil_types, save, target, tools
from PIL import Image

from converters.errors import LoadError, ShapeError, UnsupportedOp
from converters.targets.coreml.interpreter import Interpreter


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def counter(path: Path) -> Path:
    """A package that adds its input to a state and gives the state's double."""
    types = mil_types()
    specs = [mb.TensorSpec((3,), types.fp16), mb.StateTensorSpec((3,), types.fp16)]

    @mb.program(input_specs=specs, opset_version=target(18))
    def program(x: Any, total: Any) -> Any:
        new = mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x))
        return mb.mul(x=new, y=np.float16(2), name="y")

    return convert(program, path)


def test_states_are_updated_in_place_and_apart(tmp_path: Path) -> None:
    model = Interpreter(counter(tmp_path / "a.mlpackage"))
    x = np.array([1, 2, 3], np.float16)
    first, second = model.new_state(), model.new_state()
    array = first["total"]
    assert array.dtype == np.float16
    assert array.shape == (3,)
    for step in (1, 2, 3):
        np.testing.assert_array_equal(model.run({"x": x}, state=first)["y"], 2 * step * x)
    np.testing.assert_array_equal(array, 3 * x)
    np.testing.assert_array_equal(second["total"], 0)
    np.testing.assert_array_equal(model.run({"x": x}, state=second)["y"], 2 * x)


def test_states_are_demanded_and_checked(tmp_path: Path) -> None:
    model = Interpreter(counter(tmp_path / "a.mlpackage"))
    x = np.zeros(3, np.float16)
    with pytest.raises(ShapeError, match="has the states total"):
        model.run({"x": x})
    with pytest.raises(ShapeError, match="total is not float16"):
        model.run({"x": x}, state={"total": np.zeros(3, np.float32)})


def test_functions_of_one_package(tmp_path: Path) -> None:
    ct = tools()
    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    paths = {}
    for name, sign in {"plus": 1.0, "minus": -1.0}.items():
        body = lambda x, s=sign: mb.mul(x=mb.linear(x=x, weight=weight), y=s, name="y")  # noqa: E731
        paths[name] = save(body, {"x": np.zeros((2, 8), np.float32)}, tmp_path / f"{name}.mlpackage")
    description = ct.utils.MultiFunctionDescriptor()
    for name, path in paths.items():
        description.add_function(str(path), "main", name)
    description.default_function_name = "minus"
    ct.utils.save_multifunction(description, str(tmp_path / "both.mlpackage"))
    model = Interpreter(tmp_path / "both.mlpackage")
    assert model.functions == ("minus", "plus")
    x = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    np.testing.assert_allclose(model.run({"x": x})["y"], -x @ weight.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.run({"x": x}, "plus")["y"], x @ weight.T, rtol=1e-5, atol=1e-5)
    assert model.operations("plus") == Counter(linear=1, mul=1)
    assert model.weight_bytes < 2 * weight.nbytes, "the weight is stored once"
    with pytest.raises(ShapeError, match="no function 'times'"):
        model.run({"x": x}, "times")


def flexible(path: Path, shape: Any) -> Path:
    ct = tools()
    from coremltools.converters.mil.mil import get_new_symbol

    @mb.program(input_specs=[mb.TensorSpec((get_new_symbol(), 4))], opset_version=target(17))
    def program(x: Any) -> Any:
        return mb.reduce_sum(x=x, axes=[0], name="y")

    return convert(program, path, 17, inputs=[ct.TensorType(name="x", shape=shape)])


def test_ranges_are_enforced(tmp_path: Path) -> None:
    ct = tools()
    model = Interpreter(flexible(tmp_path / "a.mlpackage", (ct.RangeDim(2, 5, default=3), 4)))
    feature = model.descriptions["main"].inputs["x"]
    assert feature.shape == (3, 4)
    assert feature.ranges == ((2, 5), (4, 4))
    for rows in (2, 5):
        np.testing.assert_array_equal(model.run({"x": np.ones((rows, 4), np.float32)})["y"], [rows] * 4)
    for rows in (1, 6):
        with pytest.raises(ShapeError, match=f"size {rows} in axis 0, allowed is 2 to 5"):
            model.run({"x": np.ones((rows, 4), np.float32)})


def test_enumerated_shapes_are_enforced(tmp_path: Path) -> None:
    ct = tools()
    model = Interpreter(flexible(tmp_path / "a.mlpackage", ct.EnumeratedShapes([(2, 4), (7, 4)])))
    assert set(model.descriptions["main"].inputs["x"].shapes or ()) == {(2, 4), (7, 4)}
    np.testing.assert_array_equal(model.run({"x": np.ones((7, 4), np.float32)})["y"], [7] * 4)
    with pytest.raises(ShapeError, match=r"shape \(3, 4\), allowed are"):
        model.run({"x": np.ones((3, 4), np.float32)})


def test_inputs_are_checked(tmp_path: Path) -> None:
    body = lambda x, n: mb.add(x=x, y=mb.cast(x=n, dtype="fp32"), name="y")  # noqa: E731
    path = save(
        body, {"x": np.zeros((2, 2), np.float32), "n": np.zeros(2, np.int32)}, tmp_path / "a.mlpackage"
    )
    model = Interpreter(path)
    x, n = np.ones((2, 2)), np.array([1, 2], np.int64)
    np.testing.assert_array_equal(model.run({"x": x, "n": n})["y"], [[2, 3], [2, 3]])
    for inputs, message in [
        ({"x": x}, "missing n: the model takes x, n"),
        ({"x": x, "n": n, "m": n}, "unexpected m"),
        ({"x": np.ones((2, 3)), "n": n}, r"x has shape \(2, 3\), the model takes \(2, 2\)"),
        ({"x": x, "n": np.array([0.5, 1])}, "n is float64, the model takes int32"),
        ({"x": x, "n": np.array([2**40, 0])}, "n is int64, the model takes int32"),
        ({"x": x.astype(complex), "n": n}, "x is complex128"),
    ]:
        with pytest.raises(ShapeError, match=message):
            model.run(inputs)


def pictured(path: Path, color: str, ios: int = 16, image_output: bool = False) -> Path:
    ct = tools()
    channels = 3 if color in ("RGB", "BGR") else 1
    layout = getattr(ct.colorlayout, color)
    dtype = mil_types().fp16 if color.endswith("16") else mil_types().fp32

    @mb.program(input_specs=[mb.TensorSpec((1, channels, 2, 3), dtype)], opset_version=target(ios))
    def program(x: Any) -> Any:
        return mb.sub(x=255.0, y=x, name="y") if image_output else mb.identity(x=x, name="y")

    if image_output:
        program.functions["main"].set_output_types([ct.ImageType(name="y", color_layout=layout)])
    image = ct.ImageType(name="x", shape=(1, channels, 2, 3), color_layout=layout)
    return convert(program, path, ios, inputs=[image])


PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_color_pictures(color: str, tmp_path: Path) -> None:
    model = Interpreter(pictured(tmp_path / "a.mlpackage", color))
    wanted = (PIXELS[..., ::-1] if color == "BGR" else PIXELS).transpose(2, 0, 1)[None]
    for given in (
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS.astype(np.float32),
        Image.fromarray(PIXELS).convert("RGBA"),
        wanted,
    ):
        np.testing.assert_array_equal(model.run({"x": given})["y"], wanted)
    for wrong in (PIXELS[:, :2], PIXELS[..., 0], Image.fromarray(PIXELS).resize((5, 5)), np.array(["a"])):
        with pytest.raises(ShapeError, match="x"):
            model.run({"x": wrong})


def test_grey_pictures(tmp_path: Path) -> None:
    model = Interpreter(pictured(tmp_path / "a.mlpackage", "GRAYSCALE"))
    grey = PIXELS[..., 0]
    for given in (grey, Image.fromarray(grey), grey[..., None], grey[None, None]):
        np.testing.assert_array_equal(model.run({"x": given})["y"], grey[None, None])
    assert model.descriptions["main"].inputs["x"].color == "grey"


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAYSCALE"])
def test_pictures_come_out(color: str, tmp_path: Path) -> None:
    model = Interpreter(pictured(tmp_path / "a.mlpackage", color, image_output=True))
    given = Image.fromarray(PIXELS[..., 0] if color == "GRAYSCALE" else PIXELS)
    result = model.run({"x": given})["y"]
    assert result.mode == given.mode
    np.testing.assert_array_equal(np.asarray(result), 255 - np.asarray(given))


@pytest.mark.parametrize("labels", [["zero", "one", "two"], [10, 20, 30]], ids=["names", "numbers"])
def test_classifiers_give_label_and_probabilities(labels: list[Any], tmp_path: Path) -> None:
    ct = tools()
    body = lambda x: mb.softmax(x=x, axis=-1, name="p")  # noqa: E731
    config = ct.ClassifierConfig(labels, predicted_feature_name="digit", predicted_probabilities_output="p")
    path = save(
        body, {"x": np.zeros((1, 3), np.float32)}, tmp_path / "a.mlpackage", 17, classifier_config=config
    )
    model = Interpreter(path)
    assert model.labels == labels
    description = model.descriptions["main"]
    result = model.run({"x": f32([0, 2, 1])})
    assert result[description.label] == labels[1]
    e = np.exp([0, 2, 1])
    assert list(result[description.probabilities]) == labels
    np.testing.assert_allclose(list(result[description.probabilities].values()), e / e.sum(), rtol=1e-6)


def test_metadata(tmp_path: Path) -> None:
    path = save(lambda x: mb.tanh(x=x, name="y"), {"x": np.zeros(2, np.float32)}, tmp_path / "a.mlpackage")
    model = tools().models.MLModel(str(path), skip_model_load=True)
    model.author, model.license, model.version, model.short_description = "A", "MIT", "1.2", "half a tanh"
    model.user_defined_metadata["key"] = "value"
    model.input_description["x"] = "two numbers"
    model.save(str(tmp_path / "b.mlpackage"))
    read = Interpreter(tmp_path / "b.mlpackage")
    assert (read.author, read.license, read.version, read.short_description) == (
        "A",
        "MIT",
        "1.2",
        "half a tanh",
    )
    assert read.metadata["key"] == "value"
    assert read.descriptions["main"].inputs["x"].description == "two numbers"
    assert read.specification_version == 9
    assert read.labels is None


def test_branches_and_loops(tmp_path: Path) -> None:
    def body(x: Any, n: Any) -> list[Any]:
        count = mb.squeeze(x=n)
        doubled = mb.mul(x=x, y=2.0)
        one = mb.cond(
            pred=mb.greater(x=count, y=2),
            _true_fn=lambda: mb.add(x=doubled, y=1.0),
            _false_fn=lambda: mb.identity(x=x),
        )
        _, total = mb.while_loop(
            _cond=lambda i, t: mb.less(x=i, y=count),
            _body=lambda i, t: (mb.add(x=i, y=1), mb.add(x=t, y=doubled)),
            loop_vars=(np.int32(0), x),
        )
        return [mb.identity(x=one, name="one"), mb.identity(x=total, name="total")]

    x = f32(1, -2)
    model = Interpreter(save(body, {"x": x, "n": np.zeros(1, np.int32)}, tmp_path / "a.mlpackage", 16))
    for n in (0, 2, 3):
        result = model.run({"x": x, "n": np.array([n])})
        np.testing.assert_array_equal(result["one"], 2 * x + 1 if n > 2 else x)
        np.testing.assert_array_equal(result["total"], x + n * 2 * x)
    assert model.operations()["while_loop"] == 1
    assert model.operations()["less"] == 1


def test_lists(tmp_path: Path) -> None:
    def body(x: Any) -> list[Any]:
        ls = mb.make_list(init_length=2, dynamic_length=True, elem_shape=(2,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=1, value=x)
        ls = mb.list_scatter(
            ls=ls, indices=[0, 2], value=mb.stack(values=(mb.mul(x=x, y=2.0), mb.mul(x=x, y=3.0)), axis=0)
        )
        return [
            mb.list_gather(ls=ls, indices=[2, 0, 1], name="g"), mb.list_read(ls=ls, index=1, name="r"),
            mb.expand_dims(x=mb.list_length(ls=ls), axes=[0], name="n"),
        ]  # fmt: skip

    x = f32(1, 2)
    result = Interpreter(save(body, {"x": x}, tmp_path / "a.mlpackage", 16)).run({"x": x})
    np.testing.assert_array_equal(result["g"], [3 * x, 2 * x, x])
    np.testing.assert_array_equal(result["r"], x)
    assert result["n"] == [3]


def test_half_precision_is_rounded_after_each_operation(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float16)

    def body(x: Any) -> Any:
        return mb.sub(
            x=mb.add(x=mb.linear(x=x, weight=weight), y=np.float16(1000)), y=np.float16(1000), name="y"
        )

    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float16)
    path = save(body, {"x": x}, tmp_path / "a.mlpackage", 17)
    model = Interpreter(path)
    product = (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.float16)
    wanted = (product + np.float16(1000)) - np.float16(1000)
    for _ in range(2):
        result = model.run({"x": x})["y"]
        assert result.dtype == np.float16
        np.testing.assert_allclose(result, wanted, atol=0.5)  # a product may round the other way
        assert np.mean(result == wanted) > 0.98


def test_outputs_belong_to_the_caller(tmp_path: Path) -> None:
    body = lambda x: [mb.identity(x=x, name="same"), mb.add(x=np.zeros(20, np.float32), y=x, name="sum")]  # noqa: E731
    x = np.arange(20, dtype=np.float32)
    model = Interpreter(save(body, {"x": x}, tmp_path / "a.mlpackage"))
    first = model.run({"x": x})
    first["same"][:] = -1
    np.testing.assert_array_equal(x, np.arange(20))
    np.testing.assert_array_equal(model.run({"x": x})["same"], x)


def test_random_operations_are_refused_by_name(tmp_path: Path) -> None:
    body = lambda x: mb.add(x=x, y=mb.random_normal(shape=[2]), name="y")  # noqa: E731
    path = save(body, {"x": np.zeros(2, np.float32)}, tmp_path / "a.mlpackage")
    with pytest.raises(UnsupportedOp, match="random_normal"):
        Interpreter(path)


def test_loop_without_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from converters.targets.coreml import control

    monkeypatch.setattr(control, "ITERATIONS_MAX", 50)

    def body(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda v: mb.squeeze(x=mb.less(x=v, y=1e9)),
            _body=lambda v: mb.mul(x=v, y=1.0),
            loop_vars=(x,),
        )

    model = Interpreter(save(body, {"x": np.zeros(1, np.float32)}, tmp_path / "a.mlpackage", 16))
    with pytest.raises(LoadError, match="does not end in 50 iterations"):
        model.run({"x": np.zeros(1, np.float32)})

"""Programs built with coremltools, saved as packages, for the tests of the interpreter."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from converters.targets.coreml.interpreter import Interpreter

Array = np.ndarray
LATEST = 18


@cache
def tools() -> Any:
    """coremltools, without its remarks about what Linux lacks."""
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("coremltools").setLevel(logging.CRITICAL)
    import coremltools

    return coremltools


@cache
def builder() -> Any:
    """coremltools' MIL builder."""
    tools()
    from coremltools.converters.mil import Builder

    return Builder


class _LazyBuilder:
    def __getattr__(self, name: str) -> Any:
        return getattr(builder(), name)


mb: Any = _LazyBuilder()


def mil_types() -> Any:
    """coremltools' element types."""
    tools()
    from coremltools.converters.mil.mil import types

    return types


def target(ios: int) -> Any:
    """The deployment target of an iOS version."""
    return getattr(tools().target, f"iOS{ios}")


@dataclass(frozen=True)
class Case:
    """One operation, or a few, with what it must give.

    Attributes:
        build: takes the inputs as variables, gives one or several.
        inputs: arrays (float32, float16, int32).
        expected: what comes out, made without the code under test.
        ios: versions at which it is built.
        rtol, atol: tolerances; both 0 compares exactly.
    """

    name: str
    build: Callable[..., Any]
    inputs: tuple[Array, ...]
    expected: Any
    ios: tuple[int, ...] = (LATEST,)
    rtol: float = 1e-5
    atol: float = 1e-6

    def __str__(self) -> str:
        return self.name


@dataclass
class Results:
    """What the cases gave, computed together: one program per version has them all, as each costs 0.2 s."""

    cases: Sequence[Case]
    folder: Path
    done: dict[int, dict[str, list[Any]] | None] = field(default_factory=dict)

    def of(self, case: Case, ios: int) -> list[Any]:
        """The outputs of a case; where the common program fails, of a program for it alone."""
        if ios not in self.done:
            fitting = [one for one in self.cases if ios in one.ios]
            try:
                self.done[ios] = _run(fitting, ios, self.folder / f"all{ios}.mlpackage")
            except Exception:  # which case it is shows when each is run alone
                self.done[ios] = None
        common = self.done[ios]
        if common is not None:
            return common[case.name]
        name = re.sub(r"\W", "_", f"{case.name}_{ios}")
        return _run([case], ios, self.folder / f"{name}.mlpackage")[case.name]


def _run(cases: Sequence[Case], ios: int, path: Path) -> dict[str, list[Any]]:
    arrays = {f"c{n}_{i}": a for n, case in enumerate(cases) for i, a in enumerate(case.inputs)}
    places: dict[str, list[str]] = {}

    def body(**variables: Any) -> list[Any]:
        outputs = []
        for n, case in enumerate(cases):
            built = case.build(*(variables[f"c{n}_{i}"] for i in range(len(case.inputs))))
            built = list(built) if isinstance(built, (tuple, list)) else [built]
            named = [mb.identity(x=visible(one), name=f"o{n}_{i}") for i, one in enumerate(built)]
            places[case.name] = [one.name for one in named]
            outputs += named
        return outputs

    results = Interpreter(save(body, arrays, path, ios)).run(arrays)
    return {name: [results[key] for key in keys] for name, keys in places.items()}


def visible(variable: Any) -> Any:
    """A variable as an output can be: types that outputs lack as int32."""
    types = mil_types()
    known = (types.fp32, types.fp16, types.int32)
    return variable if variable.dtype in known else mb.cast(x=variable, dtype="int32")


def save(
    body: Callable[..., Any],
    inputs: Mapping[str, Array],
    path: Path,
    ios: int = LATEST,
    **options: Any,
) -> Path:
    """A package of a function of the inputs' shapes and types, nothing optimised away."""
    types = mil_types()
    from coremltools.converters.mil.mil import Function, Program

    kinds = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}
    placeholders = {name: mb.placeholder(a.shape, kinds[a.dtype.name]) for name, a in inputs.items()}
    program = Program()
    with Function(placeholders, opset_version=target(ios)) as function:
        built = body(**{name: function.inputs[name] for name in inputs})
        function.set_outputs(list(built) if isinstance(built, (tuple, list)) else [built])
    program.add_function("main", function)
    return convert(program, path, ios, **options)


def convert(program: Any, path: Path, ios: int = LATEST, **options: Any) -> Path:
    """A MIL program as a package, with nothing optimised away."""
    ct = tools()
    settings = {"compute_precision": ct.precision.FLOAT32, "pass_pipeline": ct.PassPipeline.EMPTY}
    model = ct.convert(
        program, minimum_deployment_target=target(ios), skip_model_load=True, **{**settings, **options}
    )
    model.save(str(path))
    return path


def check(case: Case, results: Sequence[Any]) -> None:
    """The outputs are as expected, in type and shape too."""
    expected = case.expected if isinstance(case.expected, (tuple, list)) else [case.expected]
    assert len(results) == len(expected)
    for found, wanted in zip(results, expected, strict=True):
        wanted = np.asarray(wanted)
        assert found.shape == wanted.shape, case.name
        if case.rtol == case.atol == 0:
            np.testing.assert_array_equal(found, wanted, case.name)
        else:
            np.testing.assert_allclose(found, wanted, case.rtol, case.atol, err_msg=case.name)


def verify(path: Path, skip: Sequence[str] = ()) -> None:
    """coremltools reads a package back and verifies its program; not one with an operation of `skip`."""
    tools()
    from coremltools.converters.mil.frontend.milproto.load import load

    inside = path / "Data" / "com.apple.CoreML"
    model = tools().proto.Model_pb2.Model()
    model.ParseFromString((inside / "model.mlmodel").read_bytes())
    bodies = (block for f in model.mlProgram.functions.values() for block in f.block_specializations.values())
    if any(operation.type in skip for block in bodies for operation in block.operations):
        return
    load(model, model.specificationVersion, file_weights_dir=str(inside / "weights")).validate()

"""Every public function of MLX and every layer converts to every format, or is named with a reason."""

import inspect
from importlib.util import find_spec

import function_cases
import layer_cases
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from case_table import TOLERANCES, Case, difference, expected, spec_of

import converters as cv
from converters import disk

FILES = ["row.onnx", "row.mlpackage", *(["row.aimodel"] if find_spec("coreai") else [])]
SPACES = {"mx": mx, "mx.fast": mx.fast, "mx.linalg": mx.linalg, "mx.random": mx.random, "mx.fft": mx.fft}


def functions_of(space) -> set[str]:
    names = {name for name in dir(space) if not name.startswith("_")}
    return {n for n in names if callable(getattr(space, n)) and not inspect.isclass(getattr(space, n))}


@pytest.mark.parametrize("space", SPACES)
def test_every_function_has_a_row_or_a_reason(space):
    rows, absent = set(function_cases.SPACES[space]), set(function_cases.ABSENT[space])
    assert not rows & absent
    assert functions_of(SPACES[space]) == rows | absent


def test_every_layer_has_a_row_or_a_reason():
    layers = {n for n in dir(nn) if inspect.isclass(getattr(nn, n)) and issubclass(getattr(nn, n), nn.Module)}
    rows = {*layer_cases.LAYERS, *layer_cases.FUNCTIONS}
    assert not rows & set(layer_cases.ABSENT)
    assert layers | functions_of(nn) == rows | set(layer_cases.ABSENT)


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


def assert_converts(row: Case, folder) -> None:
    graph = cv.capture(row.fn, spec_of(row))
    random = np.random.default_rng(0)
    arrays = [arg.array({}, random) for arg in row.args]
    named = dict(zip("abcdefgh", arrays, strict=False))
    results = expected(row, arrays)
    for name in FILES:
        model = cv.load(cv.convert(graph, folder / name, precision="float32"))
        for wanted, got in zip(results, model(**named).values(), strict=True):
            assert difference(wanted, got, TOLERANCES.get(wanted.dtype.name)) is None, name


@pytest.mark.parametrize("name", function_cases.ROWS)
def test_functions(name, tmp_path):
    assert_converts(function_cases.ROWS[name], tmp_path)


@pytest.mark.parametrize("name", {**layer_cases.LAYERS, **layer_cases.FUNCTIONS})
def test_layers(name, tmp_path):
    assert_converts(layer_cases.row(name), tmp_path)

"""What `edgevision bench` times is the same in both frameworks."""

import sys
from dataclasses import replace

import pytest

from edgevision.benchmark.captions import captioning_figures
from edgevision.benchmark.encoder import encoding_figures
from edgevision.benchmark.training import CASES, recipe_for, steps
from edgevision.benchmark.translation import translation_figures

NAMES = [pytest.param(name, marks=pytest.mark.slow if "224" in name else ()) for name in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_steps_beside_pytorch_compute_the_same(name):
    case = replace(CASES[name], batch=2)
    ours, theirs = steps(case, replace(recipe_for(case), side_by_side=1))  # norms see the whole batch
    for _ in range(2):
        assert ours() == pytest.approx(theirs(), rel=2e-3)


def test_exports_to_core_ai_need_no_pytorch(tmp_path, monkeypatch):
    pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("edgevision.benchmark.")]:
        monkeypatch.delitem(sys.modules, name)
    from edgevision.benchmark import core_ai

    found = core_ai.compared(core_ai.CASES["LeNet"], tmp_path)
    assert list(found) == ["export to Core AI", "size", "run by its interpreter"]


def test_captions_beside_transformers_js_are_the_same(tmp_path):
    """The comparison itself asserts the sentence; without Node it says so and has our figures alone."""
    found = captioning_figures(tmp_path, rounds=1)
    assert list(found) == ["float32", "int8", "int4"]
    assert all(
        "ms" in told and ("transformers.js's speed" in told or "no " in told) for told in found.values()
    )


def test_translations_beside_others_are_the_same(tmp_path):
    """The comparisons themselves assert the sentence."""
    found = translation_figures(tmp_path, rounds=1)
    assert list(found) == ["transformers.js", "transformers and PyTorch"]
    assert all("x its speed" in told or "not compared" in told for told in found.values())


def test_encoders_beside_pytorch_compute_the_same(tmp_path):
    pytest.importorskip("transformers")
    found = encoding_figures(tmp_path / "encoder", rounds=1, layers=1)
    apart = {name: float(row.split("; ")[2].removesuffix(" apart")) for name, row in found.items()}
    assert apart.keys() == {"any length", "this length", "int8, any length"}
    assert apart["any length"] < 1e-5
    assert apart["this length"] < 1e-5
    assert apart["int8, any length"] < 0.05

"""The fixtures of the apps are what Python makes today."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import PIL
import pytest

FIXTURES = Path(__file__).parents[2] / "apps" / "fixtures"


def close(one: Any, other: Any) -> bool:
    """The same, up to the last bits of numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == pytest.approx(other, rel=1e-9) if isinstance(one, float) else one == other


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixtures")
    spec = importlib.util.spec_from_file_location("make_fixtures", FIXTURES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder)
    return folder


@pytest.mark.parametrize(
    "part", ["draws", "sampling", "sentences", "texts", "tokenizers", "decoded", "digits", "pictures"]
)
def test_a_part_is_what_python_makes(made, part):
    if part in ("digits", "pictures") and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip(f"Pillow {PIL.__version__} rounds otherwise than 13")
    kept, new = (json.loads((folder / "fixtures.json").read_text()) for folder in (FIXTURES, made))
    assert set(kept) == set(new)
    assert close(kept[part], new[part])


def test_every_file_is_what_python_makes(made):
    names = {file.relative_to(made) for file in made.glob("**/*") if file.suffix == ".raw"}
    names |= {
        Path(name) for name in re.findall(r"[\w-]+-tokenizer\.json", (made / "fixtures.json").read_text())
    }
    assert names >= {Path("bpe-tokenizer.json"), Path("pictures/scene.raw"), Path("pictures/turned6.raw")}
    for name in names:
        assert (FIXTURES / name).read_bytes() == (made / name).read_bytes(), name


def test_a_change_would_be_seen():
    assert close({"a": [1.0, "x"]}, {"a": [1.0 + 1e-12, "x"]})
    for changed in ({"a": [1.0, "y"]}, {"a": [1.1, "x"]}, {"a": [1.0]}, {"b": [1.0, "x"]}):
        assert not close({"a": [1.0, "x"]}, changed)

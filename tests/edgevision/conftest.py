"""What several test files of this folder need."""

from pathlib import Path

import pytest
from tiny_set import TinySet

from edgevision.data import CLASSES, DATA_SETS


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinySet:
    """`tiny` is known to the commands, $EDGEVISION_DATA and the cache are empty folders in tmp_path."""
    result = TinySet()
    monkeypatch.setitem(DATA_SETS, "tiny", result.data_set())
    monkeypatch.setitem(CLASSES, "tiny", ("a", "b", "c"))
    monkeypatch.setenv("EDGEVISION_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    return result

"""Has the fast BLAS in place before any test imports mlx.core; skips what this system cannot run."""

import sys

import pytest
from hypothesis import settings

import edgevision  # noqa: F401

settings.register_profile("short", deadline=None, max_examples=100, derandomize=True, database=None)
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile("short")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform == "darwin":
        return
    for item in items:
        if item.get_closest_marker("macos"):
            item.add_marker(pytest.mark.skip(reason="needs macOS"))

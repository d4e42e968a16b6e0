"""Has the fast BLAS in place before any test imports mlx.core; skips what this system cannot run."""

import sys

import pytest

import edgevision  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform == "darwin":
        return
    for item in items:
        if item.get_closest_marker("macos"):
            item.add_marker(pytest.mark.skip(reason="needs macOS"))

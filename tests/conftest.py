"""Skips what this system cannot run."""

import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform == "darwin":
        return
    for item in items:
        if item.get_closest_marker("macos"):
            item.add_marker(pytest.mark.skip(reason="needs macOS"))

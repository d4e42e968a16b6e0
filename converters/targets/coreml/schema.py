"""Apple's protobuf classes, taken from coremltools without importing it; coremltools for where it is needed.

`import coremltools` costs seconds and logs what is not there; the generated schema modules inside it need
nothing of that. They are loaded under a name of their own from the folder where coremltools keeps them.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = "converters.targets.coreml._proto"


@cache
def _module(name: str) -> Any:
    if _PACKAGE not in sys.modules:
        found = find_spec("coremltools")
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError("Core ML packages need coremltools: pip install coremltools")
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(Path(next(iter(found.submodule_search_locations))) / "proto")]
        sys.modules[_PACKAGE] = package
    return import_module(f"{_PACKAGE}.{name}")


@cache
def coremltools() -> Any:
    """The package, imported without its remarks about other packages' versions and what this system lacks;
    what it has to say later is heard."""
    logger = logging.getLogger("coremltools")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return import_module("coremltools")
    finally:
        logger.setLevel(before)


def model_schema() -> Any:
    """Model_pb2: Model, ModelDescription, FeatureDescription."""
    return _module("Model_pb2")


def mil_schema() -> Any:
    """MIL_pb2: Program, Function, Block, Operation, Value."""
    return _module("MIL_pb2")


def feature_schema() -> Any:
    """FeatureTypes_pb2: ArrayFeatureType, ImageFeatureType."""
    return _module("FeatureTypes_pb2")

"""The operations of random programs, by family; a family is as likely as another."""

from __future__ import annotations

from types import SimpleNamespace

from fuzz.combining import COMBINING
from fuzz.elementwise import ELEMENTWISE
from fuzz.indexing import INDEXING
from fuzz.layers import LAYERS
from fuzz.operation import Operation
from fuzz.shapes import CREATING, SHAPES

OPERATIONS: dict[str, Operation] = {**ELEMENTWISE, **SHAPES, **CREATING, **COMBINING, **INDEXING, **LAYERS}
TABLES = (ELEMENTWISE, ELEMENTWISE, SHAPES, SHAPES, CREATING, COMBINING, COMBINING, INDEXING, LAYERS)
FAMILIES: tuple[tuple[str, ...], ...] = tuple(tuple(table) for table in TABLES)

ops = SimpleNamespace(**{name: operation.compute for name, operation in OPERATIONS.items()})

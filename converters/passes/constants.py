"""Small constants that nothing broadcasts any more are written out.

y = Broadcast(zero, shape=(1, 1, 192))      ->      y = a constant (1, 1, 192)
"""

from __future__ import annotations

import numpy as np

from converters.graph import Builder, Value
from converters.pattern import FOLD_LIMIT, Match, Rule, const, op
from converters.sizes import is_static, product


def _check(m: Match) -> str | None:
    shape = m.root.output.shape
    if not is_static(shape):
        return "the shape depends on sizes"
    return None if int(product(shape)) <= FOLD_LIMIT else "too large"  # type: ignore[arg-type]


def _written_out(b: Builder, m: Match) -> Value:
    array = np.broadcast_to(m.array("c"), m.root.attrs["shape"])
    return b.constant(np.ascontiguousarray(array), m["c"].name)


RULES = (Rule("written-out", op("Broadcast", const("c")), _written_out, _check),)

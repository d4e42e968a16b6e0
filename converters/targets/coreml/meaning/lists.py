"""Lists of tensors, as loops use them; every operation gives a new list."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import DTYPES, Meaning, ints, limited

Array = np.ndarray
LENGTH_MAX = 1 << 20


def _make_list(
    elem_shape: tuple[Any, ...], init_length: Any = 1, dynamic_length: Any = True, dtype: str = "fp32"
) -> list[Array]:
    """Zeros; an element whose shape is only known later is empty until it is written."""
    length = int(init_length)
    if not 0 <= length <= LENGTH_MAX:
        raise ValueError(f"a list of {length}")
    sizes = [0 if isinstance(size, str) else int(size) for size in elem_shape]
    return [np.zeros(limited(sizes), DTYPES[dtype])] * length


def _write(ls: list[Array], index: int, value: Array) -> list[Array]:
    if not 0 <= index < LENGTH_MAX:
        raise IndexError(f"element {index} of a list of {len(ls)}")
    grown = ls + [np.zeros_like(value)] * (index + 1 - len(ls))
    grown[index] = value
    return grown


def _list_scatter(ls: list[Array], indices: Any, value: Array) -> list[Array]:
    for index, one in zip(ints(indices), value, strict=True):
        ls = _write(ls, index, one)
    return ls


def _list_read(ls: list[Array], index: Any) -> Array:
    if not 0 <= int(index) < len(ls):
        raise IndexError(f"element {int(index)} of a list of {len(ls)}")
    return ls[int(index)]


def _list_gather(ls: list[Array], indices: Any) -> Array:
    return np.stack([_list_read(ls, index) for index in ints(indices)])


def _any(**_: Any) -> tuple[str, ...]:
    return ()


MEANINGS = {
    "make_list": Meaning(_make_list, _any, moves=True),
    "list_length": Meaning(lambda ls: np.array(len(ls), np.int32), _any, moves=True),
    "list_write": Meaning(lambda ls, index, value: _write(ls, int(index), value), _any, moves=True),
    "list_read": Meaning(_list_read, _any, moves=True),
    "list_gather": Meaning(_list_gather, _any, moves=True),
    "list_scatter": Meaning(_list_scatter, _any, moves=True),
}

"""Random bits from a key that is an input: the counter-based generator threefry 2x32 with 20 rounds, as in
MLX.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import Op
from converters.sizes import Shape, is_static, product

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
WORDS = {1: "uint8", 2: "uint16", 4: "uint32"}


def counters(words: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The two counters of each pair of words, and how many second words count: an odd one stands alone."""
    half, odd = divmod(words, 2)
    first = np.arange(half + odd, dtype=np.uint32)
    second = first + np.uint32(half + odd)
    if odd:
        second[half] = 0
    return first, second, half


def threefry(key: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two words for each pair of counters; key is (…, 2), the words have its leading axes and the
    counters'."""
    one, two = key[..., :1], key[..., 1:]
    keys = (one, two, one ^ two ^ np.uint32(PARITY))
    x, y = first + keys[0], second + keys[1]
    for step in range(5):
        for rotation in ROTATIONS[step % 2]:
            x = x + y
            y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
            y = y ^ x
        x = x + keys[(step + 1) % 3]
        y = y + keys[(step + 2) % 3] + np.uint32(step + 1)
    return x, y


def _words_per_key(key: Value, shape: Shape, width: int) -> int | None:
    if not is_static(shape) or not is_static(key.shape):
        return None
    keys = int(product(key.shape[:-1]))  # type: ignore[arg-type]
    return -(-int(product(shape)) // keys * width // 4)  # type: ignore[arg-type]


def _random_bits(key: np.ndarray, shape: tuple[int, ...], width: int) -> np.ndarray:
    keys = key.reshape(-1, 2)
    count = int(np.prod(shape)) // len(keys)
    first, second, half = counters(-(-count * width // 4))
    x, y = threefry(keys, first, second)
    words = np.concatenate([x, y[:, :half]], axis=-1)
    narrow = np.ascontiguousarray(words).view(WORDS[width])[:, :count]
    return narrow.reshape(shape)


def _expand_random_bits(b: Builder, key: Value, shape: Shape, width: int) -> Value | None:
    """The same in uint32 arithmetic; None for sizes that are not known, or elements of less than 32 bits."""
    words = _words_per_key(key, shape, width)
    if words is None or width != 4:
        return None
    keys = product(key.shape[:-1])
    first, second, half = counters(words)
    columns = b.outputs("Split", b("Reshape", key, shape=(keys, 2)), sizes=(1, 1), axis=1)
    parity = b("BitwiseXor", b("BitwiseXor", *columns), b.constant(PARITY, dtype="uint32"))
    schedule = (*columns, parity)

    def constant(value: Any) -> Value:
        return b.constant(value, dtype="uint32")

    x = b("Add", constant(first), schedule[0])
    y = b("Add", constant(second), schedule[1])
    for step in range(5):
        for rotation in ROTATIONS[step % 2]:
            x = b("Add", x, y)
            left = b("LeftShift", y, constant(rotation))
            y = b("BitwiseXor", b("BitwiseOr", left, b("RightShift", y, constant(32 - rotation))), x)
        x = b("Add", x, schedule[(step + 1) % 3])
        y = b("Add", b("Add", y, schedule[(step + 2) % 3]), constant(step + 1))
    if words % 2:
        y = b("Slice", y, start=(0, 0), end=(keys, half), strides=(1, 1))
    return b("Reshape", b("Concatenate", x, y, axis=1), shape=shape)


OPS = (
    Op(
        "RandomBits",
        ("shape", "width"),
        _random_bits,
        lambda key, shape, width: [(shape, WORDS[width])],
        _expand_random_bits,
    ),
)

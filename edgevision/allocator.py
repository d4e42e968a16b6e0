"""Memory that a training gives back and takes again at once: kept, on Linux, by the process.

glibc returns every freed array of more than 128 KiB (later up to 32 MiB) to the system, which fills it with
zeros when the next one is made. Measured on the training step of a small CNN, this took half of the time: the
rectifier of 8.4 million numbers needs 20 ms with it and 2.5 ms without.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# From malloc.h: what `mallopt` sets, and what holds if nothing does.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
KEPT = ((TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 1 << 26), (MMAP_MAX, 0), (ARENA_MAX, 1))
AFTER = ((TRIM_THRESHOLD, 128 << 10), (TOP_PAD, 128 << 10), (MMAP_MAX, 65536))


@contextmanager
def kept_memory() -> Iterator[None]:
    """Inside the block freed memory stays with the process; at its end it goes back to the system."""
    library = _glibc()
    if library is None:
        yield
        return
    for name, value in KEPT:
        library.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in AFTER:
            library.mallopt(name, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


__all__ = ["kept_memory"]

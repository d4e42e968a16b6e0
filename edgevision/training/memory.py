"""How much memory a training may use, and the batch size that makes the best of it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from edgevision.errors import UsageError, UserError

SHARE = 0.7  # of the machine's memory, where no limit is given
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
GAIN_MIN = 1.05  # in speed, for which a larger batch is taken
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def bytes_of(text: str) -> int:
    """ "4G", "512 MB" or "1.5GiB" in bytes.

    Raises:
        UsageError: it is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if found is None or not (size := int(float(found[1]) * UNITS[found[2].upper()])):
        raise UsageError(f"--memory-limit {text!r} is no size", hint="write it as 4G or 512M")
    return size


def allowed(limit: int | None) -> int:
    """Bytes that a training may use: the limit, else most of what there is."""
    if limit is not None:
        return limit
    if mx.metal.is_available():
        return int(mx.device_info()["max_recommended_working_set_size"])
    return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def respect(limit: int | None) -> None:
    """Have MLX wait for memory to come free, and keep less in its cache, from `limit` bytes on."""
    if limit is not None:
        mx.set_memory_limit(limit)
        mx.set_cache_limit(limit // 4)


def check(limit: int | None, step: int) -> None:
    """UserError where MLX's arrays took more than `limit` bytes."""
    if limit is not None and (peak := mx.get_peak_memory()) > limit:
        raise UserError(
            f"step {step} took {peak / 2**20:,.0f} MiB, --memory-limit is {limit / 2**20:,.0f} MiB",
            hint="--batch-size auto finds one that fits; --set accumulate=2 computes a batch in two parts",
        )


def best_batch_size(trial: Callable[[int], Callable[[], Any]], most: int, limit: int | None) -> int:
    """The batch size with the most pictures per second whose step fits into memory.

    Args:
        trial: from a batch size to a function that computes a step of it.
        most: larger ones are not tried.

    Raises:
        UserError: not even the smallest fits.
    """
    room, best, speed = allowed(limit), 0, 0.0
    for size in [size for size in SIZES if size <= most] or [most]:
        step = trial(size)
        mx.reset_peak_memory()
        step()
        if mx.get_peak_memory() > room:
            break
        began, count = time.perf_counter(), 0
        while count < 3 or time.perf_counter() - began < 0.2:
            step()
            count += 1
        reached = size * count / (time.perf_counter() - began)
        if best and reached < GAIN_MIN * speed:
            break
        best, speed = size, reached
        if 2 * mx.get_peak_memory() > room:
            break
    if not best:
        raise UserError(
            f"not even a batch of {min(SIZES[0], most)} fits into {room / 2**20:,.0f} MiB",
            hint="choose a smaller variant",
        )
    mx.clear_cache()
    return best


__all__ = ["allowed", "best_batch_size", "bytes_of", "check", "respect"]

"""Event files of TensorBoard: `edgevision train … --tensorboard`, then `tensorboard --logdir runs`.

A file is a row of records, each an `Event` of TensorFlow's event.proto in protocol buffers:

    uint64 length | masked CRC-32C of these 8 bytes | the event | masked CRC-32C of the event
    Event: 1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary
    Summary: repeated 1 value {1 tag (string), 2 simple_value (float)}
"""

from __future__ import annotations

import struct
import time
from functools import cache
from pathlib import Path
from typing import Any

FILE = "tensorboard/events.out.tfevents.edgevision"  # TensorBoard looks for "tfevents"
MASK = 0xA282EAD8  # added to a rotated checksum, so that checksums of checksums differ (TFRecord's format)


class Events:
    """The event file `path`, begun anew or, where a training is resumed, gone on with; hears the records of
    `metrics.jsonl`."""

    def __init__(self, path: Path, resumed: bool = False):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (resumed and path.is_file()):
            path.write_bytes(b"")
            self._append(_text(3, b"brain.Event:2"))

    def hear(self, record: dict[str, Any]) -> None:
        """Its numbers as scalars: what was measured under `test/`, all else under `train/`."""
        values = b"".join(
            _text(1, _text(1, _tag(name).encode()) + _key(2, 5) + struct.pack("<f", value))
            for name, value in record.items()
            if name != "step" and isinstance(value, int | float)
        )
        self._append(_key(2, 0) + _varint(record["step"]) + _text(5, values))

    def _append(self, fields: bytes) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + _checksum(length) + event + _checksum(event))


def _tag(name: str) -> str:
    return f"test/{name.removeprefix('test_')}" if name.startswith("test_") else f"train/{name}"


def _key(number: int, kind: int) -> bytes:
    return bytes([number << 3 | kind])


def _text(number: int, content: bytes) -> bytes:
    return _key(number, 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def _checksum(content: bytes) -> bytes:
    """CRC-32C (Castagnoli), rotated and masked."""
    value, table = 0xFFFFFFFF, _table()
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + MASK) & 0xFFFFFFFF)


@cache
def _table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        return value

    return tuple(entry(index) for index in range(256))


__all__ = ["FILE", "Events"]

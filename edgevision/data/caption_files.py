"""Captions files: CSV, TSV, JSON lines and COCO's JSON, in any usual encoding."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgevision.console import console, strip_escapes
from edgevision.data.captions import SHOWN, plain
from edgevision.errors import UserError

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.json", "captions.txt")
BYTES_MAX = 1 << 30
PICTURE = ("image", "file_name", "filename", "file", "picture", "path")
SENTENCE = ("caption", "captions", "text", "sentence", "comment")


def find_file(path: Path) -> Path:
    """The captions file in a folder, or the file itself.

    Raises:
        UserError: there is none, or there are several.
    """
    if path.is_file():
        return path
    found = [path / name for name in NAMES if (path / name).is_file()]
    if not found:
        raise UserError(f"{path} has no captions file", hint=f"one of {', '.join(NAMES)}")
    if len(found) > 1:
        told = " and ".join(file.name for file in found)
        raise UserError(f"{path} has {told}", hint="give the file itself")
    return found[0]


def read_file(path: Path) -> dict[str, list[str]]:
    """The sentences of each picture, in the file's order; empty and repeated ones are left out, and counted
    aloud.

    Raises:
        UserError: the file is damaged, or of another form.
    """
    if path.stat().st_size > BYTES_MAX:
        raise UserError(f"{path} is larger than {BYTES_MAX:,} bytes")
    text = decoded(path)
    kind = path.suffix.lower()
    try:
        pairs = list(_json_pairs(text) if kind == ".json" else _line_pairs(text, kind, path))
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    result: dict[str, list[str]] = {}
    empty, repeated = [], []
    for name, sentence in pairs:
        if not plain(sentence):
            empty.append(name)
        elif sentence in result.setdefault(name, []):
            repeated.append(name)
        else:
            result[name].append(sentence)
    for told, names in (("empty captions", empty), ("captions that are there twice", repeated)):
        if names:
            shown = ", ".join(dict.fromkeys(names[:SHOWN]))
            console.print(
                strip_escapes(f"{path}: {len(names)} {told} left out: {shown}"), markup=False, soft_wrap=True
            )
    return {name: sentences for name, sentences in result.items() if sentences}


def decoded(path: Path) -> str:
    """The text of a file: UTF-8, UTF-16 where its first bytes say so, else Windows-1252, which is said."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is damaged: it begins as UTF-16 and is none") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        console.print(strip_escapes(f"{path} is not UTF-8: read as Windows-1252"), markup=False)
        return data.decode("cp1252", "replace")


def _json_pairs(text: str) -> Iterator[tuple[str, str]]:
    found = json.loads(text)
    if isinstance(found, dict) and "annotations" in found:
        names = {image["id"]: str(image["file_name"]) for image in found["images"]}
        for entry in found["annotations"]:
            yield names[entry["image_id"]], str(entry["caption"])
        return
    entries = found if isinstance(found, list) else [{"image": k, "caption": v} for k, v in found.items()]
    for entry in entries:
        yield from _entry_pairs(entry)


def _line_pairs(text: str, kind: str, path: Path) -> Iterator[tuple[str, str]]:
    if kind == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            try:
                yield from _entry_pairs(json.loads(line)) if line.strip() else ()
            except (ValueError, KeyError, AttributeError) as error:
                raise UserError(f"{path}, line {number}: {error}") from error
        return
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == ".tsv" else ",", strict=True)
    columns = (0, 1)
    for number, row in enumerate(rows):
        heads = [cell.strip().lower() for cell in row]
        if number == 0 and any(head in PICTURE for head in heads) and any(head in SENTENCE for head in heads):
            columns = tuple(
                next(i for i, head in enumerate(heads) if head in known) for known in (PICTURE, SENTENCE)
            )
        elif row:
            if len(row) <= max(columns):
                raise UserError(
                    f"{path}, line {rows.line_num}: {len(row)} columns, expected picture and caption"
                )
            picture, sentence = (row[column] for column in columns)
            yield picture.strip(), sentence


def _entry_pairs(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    name = next((entry[key] for key in PICTURE if key in entry), None)
    said = next((entry[key] for key in SENTENCE if key in entry), None)
    if name is None or said is None:
        raise KeyError(f"an entry has {', '.join(entry)}; expected image and caption")
    for sentence in said if isinstance(said, list) else [said]:
        yield str(name), str(sentence)


__all__ = ["NAMES", "decoded", "find_file", "read_file"]

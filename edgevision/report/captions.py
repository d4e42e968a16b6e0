"""A page of test pictures with what people wrote about them and what a captioner writes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgevision.report.charts import text
from edgevision.report.drawings import png
from edgevision.report.training import write_page

if TYPE_CHECKING:
    from edgevision.inference.caption_evaluation import Judged

SHOWN = 40  # pictures, at equal distances through the split


def write_caption_page(path: Path, title: str, judged: Mapping[str, Judged]) -> None:
    """The scores of each split, and SHOWN of its pictures with the first reference and our sentence."""
    sections = []
    for split, one in judged.items():
        numbers = "".join(f"<div><b>{value:,.1f}</b>{text(name)}</div>" for name, value in one.found.items())
        rows = "".join(_row(one, int(index)) for index in chosen(len(one.written)))
        head = "<tr><th>picture</th><th>file</th><th>a person wrote</th><th>the model writes</th></tr>"
        sections.append(
            f'<section><h2>{text(split)}</h2><div class="numbers">{numbers}</div>'
            f'<div class="scroll"><table>{head}{rows}</table></div></section>'
        )
    write_page(path, title, "".join(sections))


def chosen(count: int) -> np.ndarray:
    """The numbers of the pictures that are shown, of `count`: not picked by how good the sentences are."""
    return np.unique(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int))


def _row(one: Judged, index: int) -> str:
    data = base64.b64encode(png(one.test.images[index])).decode()
    cells = (one.test.names[index], one.test.captions[index][0], one.written[index])
    picture = f'<td><img alt="" width="128" src="data:image/png;base64,{data}"></td>'
    return f"<tr>{picture}{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>"


__all__ = ["SHOWN", "chosen", "write_caption_page"]

"""Filling `page.html`."""

from __future__ import annotations

import base64
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from converters.storage import replacing_file
from edgevision.console import strip_escapes
from edgevision.data import ImageSet
from edgevision.report import drawings
from edgevision.runs import Run


def write_report(run: Run, test: ImageSet, results: dict[str, Any], path: Path) -> None:
    """Write the page of a LeNet run.

    Args:
        test: its test pictures.
        results: what `edgevision.demo` found.
    """
    from edgevision.training.loop import predict

    predicted = predict(run.model, test.images)
    kernels, maps = _first_layer(run, test.images[:1])
    wrong = drawings.mistakes(test, predicted)
    training = results["training"]
    page = Template((files("edgevision.report") / "page.html").read_text(encoding="utf-8")).substitute(
        title=_text(f"LeNet on {results['data']}"),
        lead=_text(f"Trained in MLX, converted, and compared on every test picture. {results['machine']}"),
        numbers=_numbers(
            {
                "test error": f"{100 * (predicted != test.labels).mean():.2f} %",
                "training": f"{training['seconds']:.0f} s",
                "test pictures": f"{len(test):,}",
                "all together": f"{results['seconds']:.0f} s",
            }
        ),
        forms=_forms(results["forms"]),
        curve=_data((run.path / "curve.png").read_bytes()),
        confusion=_data(drawings.confusion_matrix(test.labels, predicted, run.labels)),
        wrong_count=int((predicted != test.labels).sum()),
        mistakes="".join(_mistake(*entry) for entry in wrong),
        filters=_data(drawings.filters(kernels)),
        picture=_data(drawings.digit(test.images[0])),
        maps=_data(drawings.feature_maps(maps)),
    )
    with replacing_file(path) as new:
        new.write_text(page, encoding="utf-8")


def _mistake(image: bytes, true: str, taken: str) -> str:
    caption = f"<figcaption>{_text(true)} → {_text(taken)}</figcaption>"
    return f'<figure><img alt="" src="{_data(image)}">{caption}</figure>'


def _first_layer(run: Run, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (O, H, W, 1) of the first convolution, and its maps (H, W, O) of one picture, after the
    rectifier."""
    import mlx.core as mx
    import mlx.nn as nn

    from edgevision.data.batches import normalized

    layer: Any = run.model["conv1"]
    maps = nn.relu(layer(normalized(mx.array(image))))
    return np.array(layer.weight), np.array(maps)[0]


def _forms(forms: dict[str, Any]) -> str:
    heads = (
        "form",
        "computed by",
        "precision",
        "test error",
        "same class as MLX",
        "largest difference",
        "size",
        "the picture",
    )
    rows = []
    for name, form in forms.items():
        verdict = "ok" if form["ok"] else "no"
        cells = (
            name,
            form["runtime"],
            form["precision"],
            f"{100 * form['errors'] / form['pictures']:.2f} %",
            f"{form['same_class']:,} of {form['pictures']:,}",
            f"{form['max_rel']:.1e} of the largest logit",
            f"{form['bytes'] / 1000:.0f} kB",
            f"{form['classified']} ({form['probability']:.1%})",
        )
        marked = [
            f'<td class="{verdict if index == 4 else ""}">{_text(cell)}</td>'
            for index, cell in enumerate(cells)
        ]
        rows.append(f"<tr>{''.join(marked)}</tr>")
    head = "".join(f"<th>{_text(text)}</th>" for text in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _numbers(values: dict[str, str]) -> str:
    return "".join(f"<div><b>{_text(value)}</b>{_text(name)}</div>" for name, value in values.items())


def _text(text: object) -> str:
    """Text as HTML, without terminal escapes."""
    return escape(strip_escapes(str(text)))


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

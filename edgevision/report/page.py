"""Filling `page.html`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from converters.storage import replacing_file
from edgevision.data import ImageSet
from edgevision.inference.classifier import softmax
from edgevision.inference.evaluation import confusion
from edgevision.pictures import digit_array, open_picture
from edgevision.report import charts, drawings
from edgevision.report.charts import text
from edgevision.runs import Run
from edgevision.training.watch import read_metrics

MISTAKES_SHOWN = 120
EXAMPLES = 3  # pictures whose feature maps are shown


def write_report(
    run: Run, test: ImageSet, logits: np.ndarray, results: Mapping[str, Any], path: Path
) -> None:
    """Write the page of a LeNet run.

    Args:
        test: its test pictures.
        logits: of the run on them, (N, classes).
        results: what `edgevision.demo` found.
    """
    predicted = logits.argmax(axis=-1)
    records = read_metrics(run.path / "metrics.jsonl")
    wrong = int((predicted != test.labels).sum())
    page = Template((files("edgevision.report") / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(f"LeNet on {results['title']}"),
        machine=text(results["machine"]),
        numbers=_numbers(results, wrong, len(test)),
        forms=_forms(results["forms"]),
        picture=_picture(run, results),
        loss=charts.line_chart([(r["step"], r["loss"]) for r in records if "loss" in r], "training loss"),
        error=charts.line_chart(
            [(r["step"], 100 * (1 - r["test_accuracy"])) for r in records if "test_accuracy" in r],
            "test error",
            " %",
            marks=True,
        ),
        confusion=charts.confusion_matrix(confusion(test.labels, predicted, len(run.labels)), run.labels),
        wrong=f"{wrong:,} of {len(test):,}",
        shown=f"; the first {MISTAKES_SHOWN} are shown" if wrong > MISTAKES_SHOWN else "",
        mistakes="".join(_mistakes(run, test, logits)),
        layer=_first_layer(run, test.images[:EXAMPLES]),
    )
    with replacing_file(path) as new:
        new.write_text(page, encoding="utf-8")


def _numbers(results: Mapping[str, Any], wrong: int, count: int) -> str:
    values = {
        f"{100 * wrong / count:.2f} %": "test error",
        f"{results['parameters']:,}": "parameters",
        f"{results['training']['seconds']:.0f} s": "training",
        f"{results['export_seconds']['lenet.onnx']:.2f} s": "export to ONNX",
        f"{results['export_seconds']['lenet.mlpackage']:.2f} s": "export to Core ML",
        f"{results['seconds']:.0f} s": "everything",
    }
    return "".join(f"<div><b>{text(value)}</b>{text(name)}</div>" for value, name in values.items())


def _forms(forms: Mapping[str, Mapping[str, Any]]) -> str:
    """The table: one row per form of the network."""
    heads = ("form", "precision", "operations", "size", "test error", "same class as MLX", "difference")
    rows = []
    for name, form in forms.items():
        best = form["top"][0]
        same = f"{form['same_class']:,} of {form['pictures']:,}"
        cells = (
            f"<td><b>{text(name)}</b><small>{text(form['runtime'])}</small></td>",
            f"<td>{text(form['precision'])}</td>",
            f"<td>{text(form['operations'] or '')}</td>",
            f"<td>{form['bytes'] / 1000:,.0f} kB</td>",
            f"<td>{100 * form['errors'] / form['pictures']:.2f} %</td>",
            f'<td class="{"ok" if form["ok"] else "no"}">{"✓" if form["ok"] else "✗"} {same}</td>',
            f"<td>{form['max_rel']:.1e}</td>",
            f"<td>{text(best['label'])} <small>{best['probability']:.1%}</small></td>",
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{head}</th>" for head in (*heads, "the picture"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _picture(run: Run, results: Mapping[str, Any]) -> str:
    """The picture file, what the network sees of it, and the probabilities."""
    path = run.path / results["picture"]["file"]
    array, _ = digit_array(open_picture(path))
    seen = drawings.png((array[0, :, :, 0] * 255).round().astype(np.uint8))
    bars = "".join(
        f'<tr><td>{text(entry["label"])}</td><td class="bar"><meter min="0" max="1" '
        f'value="{entry["probability"]:.4f}"></meter></td><td>{entry["probability"]:.2%}</td></tr>'
        for entry in results["forms"]["MLX"]["top"]
    )
    return (
        f"{_figure(path.read_bytes(), 'The file', 'smooth')}"
        f"{_figure(seen, 'What the network sees')}"
        f'<table class="bars">{bars}</table>'
        f'<p class="note">{text(results["picture"]["note"])}</p>'
    )


def _mistakes(run: Run, test: ImageSet, logits: np.ndarray) -> Iterable[str]:
    """The wrongly classified pictures, the surest first."""
    predicted, sure = logits.argmax(axis=-1), softmax(logits).max(axis=-1)
    wrong = np.flatnonzero(predicted != test.labels)
    for index in wrong[np.argsort(-sure[wrong])][:MISTAKES_SHOWN]:
        true, taken = run.labels[test.labels[index]], run.labels[predicted[index]]
        caption = f"{text(true)} → {text(taken)} <small>{sure[index]:.0%}</small>"
        yield _figure(drawings.png(test.images[index, :, :, 0]), caption)


def _first_layer(run: Run, images: np.ndarray) -> str:
    """A grid: the kernels of the first convolution, and below each what it finds in some pictures."""
    import mlx.core as mx
    import mlx.nn as nn

    from edgevision.data.batches import normalized

    layer: Any = run.model["conv1"]
    maps = np.array(nn.relu(layer(normalized(mx.array(images)))))  # (N, H, W, C)
    cells = ["<span></span>", *(_image(kernel) for kernel in drawings.kernels(np.array(layer.weight)))]
    for image, found in zip(images, maps, strict=True):
        cells += [
            _image(drawings.png(image[:, :, 0])),
            *(_image(one) for one in drawings.feature_maps(found)),
        ]
    return f'<div class="layer" style="--columns: {maps.shape[-1] + 1}">{"".join(cells)}</div>'


def _figure(data: bytes, caption: str, kind: str = "") -> str:
    """A picture with its caption, which is HTML already."""
    return f"<figure>{_image(data, kind)}<figcaption>{caption}</figcaption></figure>"


def _image(data: bytes, kind: str = "") -> str:
    return f'<img class="{kind}" alt="" src="data:image/png;base64,{base64.b64encode(data).decode()}">'

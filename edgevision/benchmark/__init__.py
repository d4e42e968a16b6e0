"""What `edgevision bench` measures on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

__all__ = ["measure"]


def measure() -> Iterator[tuple[str, dict[str, str]]]:
    """Tables of figures as they come: a title, and what to figure. Those beside PyTorch only where it is
    installed, those of Core AI only where its package is."""
    from edgevision.benchmark.lenet import lenet_figures, machine_figures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield "machine", machine_figures()
        yield "LeNet (modern)", lenet_figures(folder)
        if find_spec("torch"):
            from edgevision.benchmark import training

            for title, case in training.CASES.items():
                yield f"{title}, training beside PyTorch", training.compared(case)
            from edgevision.benchmark.beside_torch import cases, compared, products_alone

            for title, make in cases().items():
                yield f"{title}, beside PyTorch", compared(make(), folder)
            if find_spec("coremltools"):
                from edgevision.benchmark import beside_coremltools

                for title in beside_coremltools.TITLES:
                    figures = beside_coremltools.compared(cases()[title](), folder)
                    yield f"{title}, beside coremltools", figures
            yield "ViT-Ti/16 and the limit of this machine", products_alone(folder)
        if find_spec("torch") and find_spec("transformers"):
            from edgevision.benchmark import encoder

            yield encoder.TITLE, encoder.encoding_figures(folder / "encoder")
        if find_spec("coreai"):
            from edgevision.benchmark import core_ai

            for title, network in core_ai.CASES.items():
                yield f"{title} to Core AI", core_ai.compared(network, folder)
        from edgevision.benchmark import captions

        yield captions.TITLE, captions.captioning_figures(folder)
        from edgevision.benchmark import translation

        yield translation.TITLE, translation.translation_figures(folder)
        from edgevision.benchmark import browser

        if browser.find_chromium() and (Path(__file__).parents[2] / "apps" / "browser").is_dir():
            yield browser.TITLE, browser.web_figures(folder / "web")
        from edgevision.benchmark.language import MODELS, figures

        for title in MODELS:
            for quantize in (None, "int4"):
                yield f"{title}, {quantize or 'float32'}", figures(title, folder, quantize)

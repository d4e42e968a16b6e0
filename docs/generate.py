"""Writes the generated pages of docs/; with --check, fails where one is out of date."""

import sys
from pathlib import Path

import converters as cv
from converters.passes import stages
from edgevision.models.lenet import VARIANTS, Model

DOCS = Path(__file__).parent
TABLES = DOCS.parent / "tests" / "converters"  # of calls that the tests convert to both formats
DECOMPOSITION = "a decomposition, which neither format has"
ABSENT = {  # primitives of MLX that are recorded and not converted
    **dict.fromkeys(("Cholesky", "Eig", "Eigh", "Inverse", "QRF", "SVD", "LUF"), DECOMPOSITION),
    "CustomKernel": "source code for one device",
    **dict.fromkeys(
        ("LayerNormVJP", "RMSNormVJP", "RoPEVJP"), "the backward direction, not part of inference"
    ),
}
SIGNS = {"native": "yes", "expanded": "in simpler ones", "no": "no"}


def coverage_page() -> str:
    """What is converted: MLX's primitives and functions, the layers of mlx.nn, the compiler's own ops."""
    from converters.complex_numbers import RULES
    from converters.records import DECODERS

    sys.path.insert(0, str(TABLES))
    import function_cases  # pyright: ignore[reportMissingImports]
    import layer_cases  # pyright: ignore[reportMissingImports]

    parts = [
        "# What is converted",
        "Made by `python docs/generate.py` from the registry of ops and the tables of the tests: each",
        "function and layer listed as converted is called, converted to ONNX, Core ML and Core AI, and",
        "compared with MLX in `tests/converters/test_coverage.py`. A new name in MLX fails that test until",
        "it is placed here.",
        "\nThree limits are Core ML's own: integers have 32 bits, inputs and outputs have at most five axes",
        "(inside, wider arrays are folded), and no array is empty.",
        "\nAn int64 or uint64 becomes int32 there. A constant beyond 32 bits is refused, and so is",
        "arithmetic of 64 bits whose range is known and passes them: what comes of constants, positions,",
        "sizes, booleans and integers of 8 and 16 bits. An input with such a number is refused when the",
        "package runs. Inputs of 32 bits and more may hold anything, so what is computed from them is",
        "taken to fit, as with token ids; `cv.compare` tells where it does not. The range of a sum is",
        "that of its largest element times their number: divide before you sum, or sum in float32.",
        "\n## Primitives of MLX",
        "\nWhat a trace of MLX can hold. Converted: "
        + ", ".join(f"`{name}`" for name in sorted({*DECODERS, *RULES, "FFT"}))
        + ".",
        _table(("not converted", "because"), _grouped(ABSENT)),
    ]
    for space, calls in function_cases.SPACES.items():
        listed = ", ".join(f"`{name}`" for name in sorted(calls))
        parts.append(f"\n## Functions of `{space}`\n\nConverted: {listed}.")
        absent = function_cases.ABSENT[space]
        parts.append(_table(("not converted", "because"), _grouped(absent)))
    layers = sorted({*layer_cases.LAYERS, *layer_cases.FUNCTIONS})
    parts.append(
        "\n## Layers and activations of `mlx.nn`\n\nConverted: " + ", ".join(f"`{n}`" for n in layers) + "."
    )
    parts.append(_table(("not converted", "because"), _grouped(layer_cases.ABSENT)))
    parts.append(
        "\n## Ops of the compiler\n\nThe newest opset and iOS 18; older ones get more in simpler ops."
    )
    rows = [
        (f"`{name}`", *(SIGNS[state] + _why(name, target, state) for target, state in found.items()))
        for name, found in sorted(cv.supported_ops().items())
    ]
    parts.append(_table(("op", "ONNX", "Core ML", "Core AI"), rows))
    return "\n".join(parts) + "\n"


def _why(name: str, target: str, state: str) -> str:
    return (
        ": weights are quantised before" if (name, state) == ("Quantize", "no") and target != "onnx" else ""
    )


def _grouped(absent: dict[str, str]) -> list[tuple[str, str]]:
    """Names by their reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in absent.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    return [(", ".join(sorted(names)), reason) for reason, names in reasons.items()]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def passes_page() -> str:
    """LeNet's graph as captured and after each pass that changes it."""
    model = Model(VARIANTS["modern"])
    model.eval()
    graph = cv.capture(model, {"image": cv.Spec(("batch", 28, 28, 1))}, outputs=["logits"])
    parts = [
        "# LeNet through the passes",
        "Made by `python docs/generate.py`. What MLX's trace gives, and the graph after each pass that",
        "changes it; the passes and the reason for their order are in `converters/passes/__init__.py`.",
    ]
    before = str(graph)
    parts.append(f"\n## As captured: {len(graph.nodes)} nodes\n\n```\n{before}\n```")
    for name, after in stages(graph):
        if str(after) != before:
            before = str(after)
            parts.append(f"\n## After `{name}`: {len(after.nodes)} nodes\n\n```\n{before}\n```")
    return "\n".join(parts) + "\n"


PAGES = {"passes.md": passes_page, "coverage.md": coverage_page}


def main() -> int:
    stale = [name for name, page in PAGES.items() if not _is_current(DOCS / name, page())]
    if "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}" if stale else "up to date")
        return int(bool(stale))
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())

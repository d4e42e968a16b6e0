"""`edgevision app browser`: a static site with the models in it.

DIR/index.html, assets/, sw.js, …   the built page of apps/browser
DIR/ort/                            onnxruntime-web
DIR/models/models.json              what the models are for, and each file with its size and SHA-256
DIR/models/caption/, digits/, write/
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from converters.storage import replacing_folder
from edgevision.app.memory import once_per_picture
from edgevision.app.models import Chosen, chosen, contents, parts
from edgevision.app.page import built_page
from edgevision.app.serve import LOOPBACK, addresses, server
from edgevision.console import console, out
from edgevision.errors import UserError

PRECISIONS = {"": "float32", "_fp16": "float16", "_quantized": "int8", "_q4": "int4"}
NEWEST_FORMAT = 13  # IR version that onnxruntime-web 1.30 reads


def write_site(models: Sequence[Path], folder: Path, force: bool = False) -> Path:
    """Write the site; gives its folder.

    Raises:
        UserError: a model is missing or not for the app, or the page cannot be built. OutputExists: the
        folder is there, and `force` was not given or it holds what we did not write.
    """
    page = built_page()
    with (
        chosen(models, ["onnx"], small=True) as found,
        replacing_folder(folder, overwrite=force) as site,
    ):
        shutil.copytree(page, site, dirs_exist_ok=True)
        listed = json.loads(contents(found))
        for model in found:
            listed[model.kind] |= _add(model, site / "models" / model.kind)
        (site / "models" / "models.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return folder


def serve_site(
    models: Sequence[Path], host: str, port: int, certificate: tuple[Path, Path] | None, show: bool
) -> None:
    """Serve the site until Ctrl-C.

    Raises:
        UserError: as `write_site`; or the address is taken.
    """
    with (
        TemporaryDirectory() as scratch,
        server(Path(scratch) / "site", host, port, certificate) as made,
    ):
        write_site(models, Path(scratch) / "site")
        found = addresses(made, certificate is not None)
        for address in found:
            out.print(address)
        if host not in LOOPBACK and certificate is None:
            console.print(
                "Other devices get no camera, no threads and no offline use without HTTPS: make a certificate"
                " for this address (mkcert does, and phones must trust it), give it with --cert and --key."
            )
        console.print("Ctrl-C ends it.")
        if show and sys.stdout.isatty():
            webbrowser.open(found[0])
        with suppress(KeyboardInterrupt):
            made.serve_forever()


def _add(model: Chosen, folder: Path) -> dict[str, Any]:
    """Put a model's files into a folder; gives what models.json says of them."""
    folder.mkdir(parents=True)
    files = parts(model)
    suffix = model.path.stem.removeprefix("encoder_model").removeprefix("model")
    names = {"encoder": "encoder_model.onnx", "decoder": "decoder_model_merged.onnx", "model": "model.onnx"}
    placed = {role: folder / names.get(role, "tokenizer.json") for role in files}
    for role, file in files.items():
        shutil.copyfile(file, placed[role])
        if file.suffix == ".onnx":
            _check(file)
    if model.kind == "caption":
        _share(placed["encoder"], placed["decoder"])
    return {
        "name": model.folder.name,
        "precision": PRECISIONS.get(suffix, "float32"),
        "files": {
            role: {
                "url": f"{model.kind}/{file.name}",
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for role, file in placed.items()
        },
    }


def _check(file: Path) -> None:
    """UserError where onnxruntime-web cannot read it."""
    import onnx

    version = onnx.load(file, load_external_data=False).ir_version
    if version > NEWEST_FORMAT:
        raise UserError(
            f"{file} has format {version}, browsers read {NEWEST_FORMAT}",
            hint="export the model with edgevision",
        )


def _share(encoder: Path, decoder: Path) -> None:
    """What is the same for every word is computed with the picture, where that can be done."""
    import onnx

    first, second = onnx.load(encoder), onnx.load(decoder)
    if once_per_picture(first, second):
        for file, graph in ((encoder, first), (decoder, second)):
            onnx.checker.check_model(graph)
            onnx.save(graph, file)


__all__ = ["serve_site", "write_site"]

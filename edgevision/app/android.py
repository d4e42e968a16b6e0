"""`edgevision app android`: a Gradle project with the models in it.

DIR/kit/        everything but the screens, in plain Kotlin, with its tests
DIR/app/        the app over onnxruntime-android; src/main/assets holds the models, tokenizers and models.json
DIR/fixtures/   what the tests compare with
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.storage import replacing_folder
from edgevision.app.models import Chosen, chosen, contents, parts
from edgevision.app.project import copy, copy_fixtures, template

NAMES = {"digits": "digits", "caption": "captioner", "write": "writer"}


def write_android(models: Sequence[Path], out: Path, force: bool = False) -> Path:
    """Write the project; gives its folder.

    Raises:
        UserError: a model is missing or not for the app. OutputExists: `out` is there, and `force` was not
        given or it holds what we did not write.
    """
    source = template("android")
    with chosen(models, ["onnx"]) as found, replacing_folder(out, overwrite=force) as project:
        copy(source, project)
        assets = project / "app" / "src" / "main" / "assets"
        for model in found:
            for name, file in _files(model).items():
                copy(file, assets / name)
        (assets / "models.json").write_text(contents(found), encoding="utf-8")
        copy_fixtures(project / "fixtures")
    return out


def _files(model: Chosen) -> dict[str, Path]:
    """Names in the app, and where the files are."""
    name = NAMES[model.kind]
    called = {
        "model": f"{name}.onnx",
        "encoder": f"{name}-encoder.onnx",
        "decoder": f"{name}-decoder.onnx",
        "tokenizer": f"{name}-tokenizer.json",
    }
    return {called[role]: file for role, file in parts(model).items()}


__all__ = ["write_android"]

"""`edgevision app android`: a Gradle project with the models in it.

DIR/kit/        everything but the screens, in plain Kotlin, with its tests
DIR/app/        the app over onnxruntime-android; src/main/assets holds the models, tokenizers and models.json
DIR/fixtures/   what the tests compare with
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.storage import replacing_folder
from edgevision.app.models import Chosen, chosen, contents
from edgevision.app.project import copy, copy_fixtures, template
from edgevision.errors import UserError

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
    files = {f"{name}.onnx": model.path}
    if model.kind == "caption":
        decoder = model.path.name.replace("encoder_model", "decoder_model_merged")
        files = {
            f"{name}-encoder.onnx": model.path,
            f"{name}-decoder.onnx": model.path.with_name(decoder),
        }
    if model.kind == "digits":
        if "pixel_values" not in model.described["functions"]["main"]["inputs"]:
            raise UserError(
                f"{model.path} takes no pixel_values", hint="edgevision export RUN --to onnx --out DIR"
            )
    else:
        files[f"{name}-tokenizer.json"] = model.folder / "tokenizer.json"
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file} is not there", hint="keep the files of an export together")
        if beside := sorted(file.parent.glob(f"{file.name}?*")):
            raise UserError(f"{file} has its weights in {beside[0].name}: too large for an app")
    return files


__all__ = ["write_android"]

"""`edgevision app ios`: a project for Xcode 16 or later, with the models in it.

DIR/EdgeVision.xcodeproj        one target; takes every file of the folder EdgeVision
DIR/EdgeVision/                 the SwiftUI app; Models/ holds the models, their tokenizers and models.json
DIR/EdgeVisionKit/              the Swift package with everything but the screens, and its tests
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from converters.storage import replacing_folder
from edgevision.app.models import Chosen, chosen, contents
from edgevision.app.project import copy, copy_fixtures, template

NAMES = {"digits": "Digits", "caption": "Captioner", "write": "Writer"}
SYSTEMS = {9: "18.0", 10: "26.0"}  # iOS by Core ML's specification
OLDEST = "17.0"  # that the app runs on
SETTING = "IPHONEOS_DEPLOYMENT_TARGET = {};"


def write_ios(models: Sequence[Path], out: Path, force: bool = False) -> Path:
    """Write the project; gives its `.xcodeproj`.

    Raises:
        UserError: a model is missing or not for the app. OutputExists: `out` is there, and `force` was not
        given or it holds what we did not write.
    """
    source = template("ios")
    with chosen(models, ["coreml", "coreai"]) as found, replacing_folder(out, overwrite=force) as project:
        copy(source, project)
        for model in found:
            place = project / "EdgeVision" / "Models" / f"{NAMES[model.kind]}{model.path.suffix}"
            copy(model.path, place)
            if model.kind != "digits":
                tokenizer = f"{NAMES[model.kind]}-tokenizer.json"
                copy(model.folder / "tokenizer.json", place.with_name(tokenizer))
        (project / "EdgeVision" / "Models" / "models.json").write_text(contents(found), encoding="utf-8")
        copy_fixtures(project / "EdgeVisionKit" / "Fixtures")
        settings = project / "EdgeVision.xcodeproj" / "project.pbxproj"
        text = settings.read_text(encoding="utf-8")
        system = SETTING.format(oldest_system(found))
        settings.write_text(text.replace(SETTING.format(OLDEST), system), encoding="utf-8")
    return out / "EdgeVision.xcodeproj"


def oldest_system(models: Sequence[Chosen]) -> str:
    """The iOS that all packages run on."""
    formats = [re.search(r"specification (\d+)", model.described["format"]) for model in models]
    return max((SYSTEMS.get(int(found[1]), OLDEST) for found in formats if found), default=OLDEST)


__all__ = ["oldest_system", "write_ios"]

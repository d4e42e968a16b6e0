"""A project from a template in apps/, which a wheel carries as `edgevision/app/templates`."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgevision.errors import UserError

LEFT_OUT = (".*", "build", "node_modules", "xcuserdata", "__pycache__")  # what tools write


def template(name: str) -> Path:
    """The folder of an app.

    Raises:
        UserError: the installation has none.
    """
    here = Path(__file__).parent
    for folder in (here / "templates" / name, here.parent.parent / "apps" / name):
        if folder.is_dir():
            return folder
    raise UserError(f"the sources of the app for {name} are not installed", hint="install edgevision anew")


def copy(source: Path, target: Path) -> None:
    """A folder, or a file, without what tools wrote into it."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def copy_fixtures(target: Path) -> None:
    """What the tests of a project compare with."""
    copy(template("fixtures"), target)
    (target / "make.py").unlink()


__all__ = ["copy", "copy_fixtures", "template"]

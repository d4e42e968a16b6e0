"""The wheel takes the built page of apps/browser along, where it was built: `make page`."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):
    """Adds apps/browser/dist as edgevision/app/templates/browser."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        page = Path(self.root) / "apps" / "browser" / "dist"
        if version != "editable" and (page / "index.html").is_file():
            build_data["force_include"][str(page)] = "edgevision/app/templates/browser"

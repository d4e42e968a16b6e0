"""Pictures in a terminal: by the protocol that it knows, else in coloured half blocks.

kitty    https://sw.kovidgoyal.net/kitty/graphics-protocol, also of Ghostty and Konsole
iTerm2   https://iterm2.com/documentation-images.html, also of WezTerm and Visual Studio Code
blocks   any terminal with 24-bit colours: two pixels in a character cell
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

COLUMNS = 40  # of characters, at most
CHUNK = 4096  # bytes of base64 that kitty takes at once


def protocol(environment: Mapping[str, str]) -> str | None:
    """ "kitty", "iterm2" or "blocks"; None for a terminal that shows no pictures."""
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        kitty = iterm = False  # tmux lets neither through
    else:
        kitty = "kitty" in term or "ghostty" in term or "KITTY_WINDOW_ID" in environment
        iterm = program in ("iTerm.app", "WezTerm", "vscode")
    if kitty or iterm:
        return "kitty" if kitty else "iterm2"
    colours = environment.get("COLORTERM") in ("truecolor", "24bit")
    return "blocks" if colours and term != "dumb" else None


def drawn(picture: Image.Image, kind: str, columns: int = COLUMNS) -> str:
    """What a terminal is sent to show a picture, with the line's end.

    Args:
        kind: as `protocol` gives it. columns: its width in characters, at most.
    """
    from edgevision.pictures import on_background

    picture = on_background(picture, 255).convert("RGB")
    if kind == "blocks":
        return "".join(line + "\n" for line in _blocks(picture, columns))
    picture.thumbnail((16 * columns, 16 * columns))
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    coded = base64.b64encode(packed.getvalue()).decode()
    if kind == "iterm2":
        size = f"size={len(packed.getvalue())};width={columns};preserveAspectRatio=1"
        return f"\x1b]1337;File=inline=1;{size}:{coded}\x07\n"
    chunks = [coded[start : start + CHUNK] for start in range(0, len(coded), CHUNK)]
    parts = []
    for place, chunk in enumerate(chunks):
        first = f"a=T,f=100,q=2,c={columns}," if place == 0 else ""
        parts.append(f"\x1b_G{first}m={int(place + 1 < len(chunks))};{chunk}\x1b\\")
    return "".join(parts) + "\n"


def _blocks(picture: Image.Image, columns: int) -> Iterator[str]:
    """Lines of upper halves in the colour of one pixel, on the colour of the one below."""
    import numpy as np
    from PIL import Image

    width = min(columns, picture.width)
    height = max(2, round(picture.height * width / picture.width / 2) * 2)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BOX)).tolist()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        line = "".join(
            "\x1b[38;2;{};{};{}m\x1b[48;2;{};{};{}m▀".format(*up, *low)
            for up, low in zip(upper, lower, strict=True)
        )
        yield f"{line}\x1b[0m"


__all__ = ["COLUMNS", "drawn", "protocol"]

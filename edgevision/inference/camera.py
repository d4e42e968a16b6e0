"""Pictures from a camera, by OpenCV where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.errors import UserError

if TYPE_CHECKING:
    from PIL import Image


def frames(source: str) -> Iterator[Image.Image]:
    """What the camera of a number sees, always the newest; of a video file, one picture after the other.

    Raises:
        UserError: OpenCV is not installed, or there is no such camera or video.
    """
    try:
        import cv2
    except ImportError:
        raise UserError("a camera needs OpenCV", hint="pip install 'edgevision[camera]'") from None
    is_number = source.isdecimal()
    if not is_number and not Path(source).is_file():
        raise UserError(f"{source} is no number of a camera, and no video", hint="--camera 0 is the first")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it tells of every driver it tries
    video = cv2.VideoCapture(int(source) if is_number else source)
    if is_number:
        video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if not video.isOpened():
        kind = (
            f"there is no camera {source}, or another program has it"
            if is_number
            else f"{source} is no video"
        )
        raise UserError(kind, hint="the system's settings say which programs may use the camera")
    return _read(video)


def _read(video) -> Iterator[Image.Image]:
    from PIL import Image

    try:
        while True:
            there, frame = video.read()
            if not there:
                return
            yield Image.fromarray(frame[:, :, ::-1].copy())
    finally:
        video.release()


__all__ = ["frames"]

"""Image files, passed on as they are once they have proved whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmsense_ros.errors import BagError

FORMATS = {b"\xff\xd8": ("jpeg", b"\xff\xd9"), b"\x89P": ("png", b"IEND")}  #: first bytes -> name, what the end must hold
END = 64  #: bytes of a file in which its end is looked for


@dataclass(frozen=True)
class Picture:
    """The bytes of a file, what they are, and its size [pixels]."""

    data: bytes
    format: str
    width: int
    height: int


def picture(path: Path) -> Picture:
    """A JPEG or PNG file. Raises BagError if it is missing, cut short or neither."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BagError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    kind, end = FORMATS.get(data[:2], ("", b""))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if kind and end in data[-END:] else None
    except cv2.error:
        image = None
    if image is None:
        raise BagError(f"{path} is no whole JPEG or PNG picture; copy it again")
    return Picture(data, kind, image.shape[1], image.shape[0])

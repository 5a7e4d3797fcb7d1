"""Pictures one after another, as an .mp4."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mmsense_ros.errors import ConfigError


class Film:
    """A context manager; `add` takes RGB pictures (H, W, 3) uint8 of one size. Raises ConfigError if it cannot be written."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = Path(path), rate  #: [pictures/s]
        self._writer: cv2.VideoWriter | None = None

    def add(self, picture: np.ndarray) -> None:
        """Append a picture."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), code, self.rate, (picture.shape[1], picture.shape[0]))
            if not self._writer.isOpened():
                raise ConfigError(f"{self.path} cannot be written; choose another folder, or an OpenCV with FFmpeg")
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.release()

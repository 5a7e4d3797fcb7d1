"""Camera: image to map."""

from __future__ import annotations

import cv2
import numpy as np

from mmsense_ros.snapshot import CameraReading


def camera_map(reading: CameraReading, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """(3, height, width) float32 RGB 0..1, the whole image resized to `size` (width, height), whatever its aspect."""
    image, (width, height) = reading.image, size
    # AREA is exact but slow for odd ratios: by whole factors first, LINEAR for the rest.
    down, across = max(image.shape[0] // height, 1), max(image.shape[1] // width, 1)
    if down * across > 1:
        image = cv2.resize(image, (image.shape[1] // across, image.shape[0] // down), interpolation=cv2.INTER_AREA)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.multiply(image.transpose(2, 0, 1), 1 / 255, dtype=np.float32, order="C")

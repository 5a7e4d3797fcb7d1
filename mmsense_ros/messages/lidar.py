"""LiDAR messages to readings and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsense_ros.messages import pointcloud
from mmsense_ros.messages.header import frame_of, stamp_of
from mmsense_ros.messages.types import MessageTypes
from mmsense_ros.snapshot import LidarReading

FIELDS = {"x": ("x",), "y": ("y",), "z": ("z",), "intensity": ("intensity", "reflectivity", "reflectance", "i", "")}


def lidar_reading(message: Any, topic: str = "") -> LidarReading:
    """A PointCloud2 with x, y, z [m] and, if it has it, intensity; 0..1, or 0..255 if one exceeds 1.5; what is beyond is clipped.

    Points that are not finite are dropped, an empty cloud is an empty reading. Raises MessageError.
    """
    found = pointcloud.columns(message, FIELDS, topic)
    xyz = np.stack([found["x"], found["y"], found["z"]], axis=1)
    intensity = found["intensity"]
    if intensity is None:
        intensity = np.zeros(len(xyz), np.float32)
    else:
        intensity = unit_intensity(intensity)
    return LidarReading(stamp_of(message), frame_of(message), xyz, intensity)


def unit_intensity(intensity: np.ndarray) -> np.ndarray:
    """Intensities (N,) float32 as 0..1, from 0..255 if one exceeds 1.5; what is beyond is clipped."""
    scale = 255 if intensity.max(initial=0.0) > 1.5 else 1
    return np.clip(intensity * np.float32(1 / scale), 0, 1)


def lidar_message(types: MessageTypes, reading: LidarReading) -> Any:
    """The PointCloud2 of a reading."""
    x, y, z = reading.xyz.T
    return pointcloud.message(types, reading.stamp, reading.frame_id, {"x": x, "y": y, "z": z, "intensity": reading.intensity})

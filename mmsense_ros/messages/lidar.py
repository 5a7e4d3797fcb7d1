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
    """A PointCloud2 with x, y, z [m] and, if it has it, intensity; intensities that exceed 1.5 are taken as 0..255.

    Points that are not finite are dropped, an empty cloud is an empty reading. Raises MessageError.
    """
    found = pointcloud.columns(message, FIELDS, topic)
    xyz = np.stack([found["x"], found["y"], found["z"]], axis=1)
    intensity = found["intensity"]
    if intensity is None:
        intensity = np.zeros(len(xyz), np.float32)
    elif len(intensity) and intensity.max() > 1.5:
        intensity = intensity * np.float32(1 / 255)
    return LidarReading(stamp_of(message), frame_of(message), xyz, intensity)


def lidar_message(types: MessageTypes, reading: LidarReading) -> Any:
    """The PointCloud2 of a reading."""
    x, y, z = reading.xyz.T
    return pointcloud.message(types, reading.stamp, reading.frame_id, {"x": x, "y": y, "z": z, "intensity": reading.intensity})

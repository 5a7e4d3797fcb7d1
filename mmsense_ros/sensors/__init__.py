"""One file a modality: from a reading to its vision-compatible map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.sensors.camera import camera_map
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.sensors.lidar import lidar_map
from mmsense_ros.sensors.radar import radar_map
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, Snapshot


@dataclass(frozen=True, eq=False)
class Mapped:
    """A snapshot with the `maps` of its readings, as far as the model knows their modalities; making them took `seconds`."""

    snapshot: Snapshot
    maps: Mapping[str, np.ndarray]
    seconds: float = 0.0

    def without(self, modality: str) -> Mapped | None:
        """The same as if that sensor had not been there; None if nothing else was that the model knows."""
        readings, maps = (
            {name: value for name, value in there.items() if name != modality} for there in (self.snapshot.readings, self.maps)
        )
        return replace(self, snapshot=replace(self.snapshot, readings=readings), maps=maps) if maps else None


def build_maps(
    snapshot: Snapshot, calibration: Calibration, grid: PolarGrid, camera_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Map (3, height, width) float32 of each reading there is; `camera_size` is (width, height).

    Raises CalibrationError, naming the frames, if a radar's or LiDAR's extrinsics are missing.
    """
    maps = {}
    for modality, reading in snapshot.readings.items():
        if modality == CAMERA:
            maps[CAMERA] = camera_map(reading, camera_size)
        elif modality == RADAR:
            maps[RADAR] = radar_map(reading, calibration.antenna_from(reading.frame_id), grid)
        elif modality == LIDAR:
            maps[LIDAR] = lidar_map(reading, calibration.antenna_from(reading.frame_id), grid)
    return maps

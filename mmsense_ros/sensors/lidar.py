"""LiDAR: points to a polar map of height, intensity and density."""

from __future__ import annotations

import numpy as np

from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import LidarReading

HEIGHT_UNIT = 4.0  #: [m] one unit of the height channel
DENSITY_UNIT = 4.0  #: natural logarithms of points


def lidar_map(reading: LidarReading, antenna_from_lidar: np.ndarray, grid: PolarGrid) -> np.ndarray:
    """(3, rows, columns) float32: z of the highest point [4 m], mean intensity, log(1 + points) / 4; 0 where nothing is."""
    rotation, offset = antenna_from_lidar[:3, :3].astype(np.float32), antenna_from_lidar[:3, 3].astype(np.float32)
    x, y, z = rotation @ reading.xyz.T + offset[:, None]
    cell, inside = grid.cells(x, y)
    cell = cell[inside]
    count = np.bincount(cell, minlength=grid.rows * grid.columns)
    intensity = np.bincount(cell, weights=reading.intensity[inside], minlength=len(count))
    highest = np.full(len(count), -np.inf, np.float32)
    np.maximum.at(highest, cell, z[inside])
    met = count > 0
    channels = np.zeros((3, len(count)), np.float32)
    channels[0, met] = highest[met] / HEIGHT_UNIT
    channels[1, met] = intensity[met] / count[met]
    channels[2, met] = np.log1p(count[met]) / DENSITY_UNIT
    return channels.reshape(3, *grid.shape)

"""Frames of the View-of-Delft dataset (Palffy et al., IEEE RA-L 7(2), 2022) as readings: real sensors for tests and pictures.

A car's sensors stand in for a roadside unit's: `antenna_array` is put at the LiDAR's origin, which looks along the road.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.errors import BagError, CalibrationError
from mmsense_ros.messages.radar import RCS_FLOOR
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, CameraReading, LidarReading, RadarPoints, Reading

FRAMES = {CAMERA: "camera_optical", RADAR: "radar", LIDAR: "lidar"}


def frame(directory: str | Path) -> tuple[dict[str, Reading], Calibration]:
    """Readings of one frame, all stamped 0, and where their sensors are.

    Raises BagError if a sensor's file is missing or damaged, CalibrationError if a calibration file is.
    """
    folder = Path(directory)
    image = cv2.imread(str(folder / "camera.jpg"))
    if image is None:
        raise BagError(f"{folder / 'camera.jpg'} is missing or no picture; name a View-of-Delft frame")
    lidar, radar = _points(folder / "lidar.bin", 4), _points(folder / "radar.bin", 7)
    readings: dict[str, Reading] = {
        CAMERA: CameraReading(0, FRAMES[CAMERA], cv2.cvtColor(image, cv2.COLOR_BGR2RGB)),
        RADAR: RadarPoints(0, FRAMES[RADAR], radar[:, :3], radar[:, 4], radar[:, 3] - np.float32(RCS_FLOOR)),
        LIDAR: LidarReading(0, FRAMES[LIDAR], lidar[:, :3], lidar[:, 3] / np.float32(255)),
    }
    lidar_from_camera = np.linalg.inv(_camera_from_sensor(folder / "calib_lidar.txt"))
    poses = {
        FRAMES[CAMERA]: lidar_from_camera,
        FRAMES[RADAR]: lidar_from_camera @ _camera_from_sensor(folder / "calib_radar.txt"),
        FRAMES[LIDAR]: np.eye(4),
    }
    return readings, Calibration.from_matrices(poses)


def camera_matrix(directory: str | Path) -> np.ndarray:
    """Intrinsics K (3, 3) [pixels] of the frame's camera."""
    return _entry(Path(directory) / "calib_lidar.txt", "P2").reshape(3, 4)[:, :3]


def _points(path: Path, columns: int) -> np.ndarray:
    """(N, columns) float32, points that are not finite left out."""
    try:
        values = np.fromfile(path, "<f4").reshape(-1, columns)
    except (OSError, ValueError) as error:
        raise BagError(f"{path} is missing or damaged ({error}); name a View-of-Delft frame") from error
    return values[np.isfinite(values).all(axis=1)]


def _camera_from_sensor(path: Path) -> np.ndarray:
    return np.vstack([_entry(path, "Tr_velo_to_cam").reshape(3, 4), [0, 0, 0, 1]])


def _entry(path: Path, name: str) -> np.ndarray:
    """Twelve numbers of a line of a KITTI calibration file."""
    try:
        entries = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return np.array(entries[name].split(), float).reshape(12)
    except (OSError, KeyError, ValueError) as error:
        raise CalibrationError(f"{path} lacks 12 numbers for {name} ({error}); name a View-of-Delft frame") from error

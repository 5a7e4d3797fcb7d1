"""What was measured as records on the topics that everything downstream reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmsense_ros.calibration import ANTENNA_FRAME
from mmsense_ros.codebook import Codebook
from mmsense_ros.data.datasets.pictures import picture
from mmsense_ros.data.datasets.source import FRAMES, Record
from mmsense_ros.data.topics import BASE_FIX, CAMERA_INFO, CLOUD, COMPRESSED_IMAGE, CUBE, INPUTS, TERMINAL_FIX, TRUTH_POWER
from mmsense_ros.messages.camera import camera_info_message, compressed_message
from mmsense_ros.messages.lidar import lidar_message
from mmsense_ros.messages.link import beam_power_message
from mmsense_ros.messages.position import fix_message
from mmsense_ros.messages.radar import radar_cube_message, radar_points_message
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, LidarReading, RadarCube, RadarPoints

TYPES = RosbagTypes()


def camera_records(path: Path, stamp: int, matrix: np.ndarray | None = None) -> list[Record]:
    """An image file as it is and, if its intrinsics `matrix` (3, 3) are known, its camera_info. Raises BagError."""
    image, frame = picture(path), FRAMES[CAMERA]
    records: list[Record] = [
        (INPUTS[CAMERA].home(COMPRESSED_IMAGE), compressed_message(TYPES, stamp, frame, image.format, image.data), stamp)
    ]
    if matrix is not None:
        records.append((CAMERA_INFO, camera_info_message(TYPES, stamp, frame, matrix, image.width, image.height), stamp))
    return records


def radar_record(reading: RadarPoints | RadarCube) -> Record:
    """Detections or a cube."""
    points, cube = (INPUTS[RADAR].home(kind) for kind in (CLOUD, CUBE))
    if isinstance(reading, RadarCube):
        return cube, radar_cube_message(TYPES, reading), reading.stamp
    return points, radar_points_message(TYPES, reading), reading.stamp


def lidar_record(reading: LidarReading) -> Record:
    """A sweep."""
    return INPUTS[LIDAR].home(CLOUD), lidar_message(TYPES, reading), reading.stamp


def deepsense_power_record(power: np.ndarray, stamp: int, drive: str) -> Record:
    """A sweep (beams,) of DeepSense 6G, whose beams are those of our codebook counted from the right.

    So say the measurements: over the drive-bys of scenarios 1, 2, 5, 6 and 7 the best beam's number grows by one with every 1.5
    degrees that the car is further left, as seen from the base station (correlation 0.95 to 0.99).
    """
    book = Codebook(beams=len(power))
    message = beam_power_message(TYPES, stamp, ANTENNA_FRAME, book, f"drive_{drive}", power, mirrored=True)
    return TRUTH_POWER, message, stamp


def terminal_record(place: np.ndarray, stamp: int) -> Record:
    """The terminal's latitude and longitude (2,) [degrees]."""
    return TERMINAL_FIX, fix_message(TYPES, stamp, "terminal", *place), stamp


def base_record(place: np.ndarray, stamp: int) -> Record:
    """The same of the antenna array."""
    return BASE_FIX, fix_message(TYPES, stamp, ANTENNA_FRAME, *place), stamp

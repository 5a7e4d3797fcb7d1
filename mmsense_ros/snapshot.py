"""`Snapshot`: one synchronized moment, the type that crosses every room of this package.

Stamps are integer nanoseconds of the clock that stamped the sensor messages (ROS time). Arrays are read-only by agreement:
a reading may be a view of a message's buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

import numpy as np

CAMERA, RADAR, LIDAR = "camera", "radar", "lidar"
MODALITIES = (CAMERA, RADAR, LIDAR)

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class CameraReading:
    """One camera image: `image` is (height, width, 3) uint8, RGB."""

    stamp: int
    frame_id: str
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class RadarPoints:
    """Detections of one radar frame, in the radar's own frame.

    `xyz` (N, 3) float32 [m]; `velocity` (N,) float32 [m/s] radial, positive when receding; `intensity` (N,) float32 [dB].
    """

    stamp: int
    frame_id: str
    xyz: np.ndarray
    velocity: np.ndarray
    intensity: np.ndarray


@dataclass(frozen=True)
class Chirp:
    """What is needed to turn FMCW beat signals into range, velocity and angle (units as in msg/RadarCube.msg)."""

    start_frequency: float
    slope: float
    sample_rate: float
    chirp_interval: float
    rx_spacing: float


@dataclass(frozen=True, eq=False)
class RadarCube:
    """Raw samples of one FMCW frame: `adc` is (rx, samples, chirps), complex64 or float32 if the ADC was real."""

    stamp: int
    frame_id: str
    adc: np.ndarray
    chirp: Chirp


@dataclass(frozen=True, eq=False)
class LidarReading:
    """One LiDAR sweep in the LiDAR's own frame: `xyz` (N, 3) float32 [m], `intensity` (N,) float32, 0..1; no NaN."""

    stamp: int
    frame_id: str
    xyz: np.ndarray
    intensity: np.ndarray


Reading = Union[CameraReading, RadarPoints, RadarCube, LidarReading]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The readings that belong to the moment `stamp`, at most one a modality; what is missing is simply not in `readings`.

    `arrived` is when the reference sensor's reading came in (nanoseconds, the synchronizer's arrival clock).
    """

    stamp: int
    readings: Mapping[str, Reading] = field(default_factory=dict)
    arrived: int = 0

    @property
    def missing(self) -> tuple[str, ...]:
        """Modalities without a reading, in the order of `MODALITIES`."""
        return tuple(name for name in MODALITIES if name not in self.readings)

    def age(self, modality: str) -> float:
        """How much older than the snapshot that reading is [s], negative if newer; NaN if it is missing."""
        reading = self.readings.get(modality)
        return float("nan") if reading is None else (self.stamp - reading.stamp) / NANOSECONDS

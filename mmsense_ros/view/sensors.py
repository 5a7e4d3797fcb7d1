"""What the sensors measured: the camera's image and the clouds, each in its sensor's frame below the antenna array."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import rerun as rr

from mmsense_ros.calibration import Calibration
from mmsense_ros.errors import CalibrationError
from mmsense_ros.messages.header import frame_of
from mmsense_ros.sensors.detection import detect
from mmsense_ros.snapshot import CAMERA, MODALITIES, CameraReading, LidarReading, RadarCube, RadarPoints, Reading, Snapshot
from mmsense_ros.view.paths import IMAGE, STREET

FASTEST = 10.0  #: [m/s] radial velocity at the ends of the colour scale
JPEG_QUALITY = 85
PICTURE_DISTANCE = 2.0  #: [m] in front of the camera, where its image hangs in the street
RADAR_RADIUS = 0.25  #: [m]
LIDAR_RADIUS = rr.Radius.ui_points(1.2)
RAMP = np.arange(256, dtype=np.uint8)[:, None]
VELOCITIES, INTENSITIES = (  #: colours (256, 3) RGB
    cv2.cvtColor(cv2.applyColorMap(RAMP, scale), cv2.COLOR_BGR2RGB)[:, 0]
    for scale in (cv2.COLORMAP_TURBO, cv2.COLORMAP_VIRIDIS)
)


class Sensors:
    """Logs each reading once, however many snapshots it belongs to, and takes it away where one lacks it."""

    def __init__(self, recording: rr.RecordingStream) -> None:
        self._recording = recording
        self._shown: dict[str, Reading | None] = dict.fromkeys(MODALITIES)
        self._poses: dict[str, np.ndarray] = {}  # antenna_from_sensor
        self._lens: tuple[float, ...] = ()  # intrinsics and size of the images

    def camera(self, info: Any, calibration: Calibration) -> None:
        """The camera of a CameraInfo, if that and the calibration know it; things are then projected into its image."""
        matrix = np.asarray(info.k, float).reshape(3, 3)
        try:
            pose = calibration.antenna_from(frame_of(info))
        except CalibrationError:
            return
        if matrix[0, 0] <= 0:  # zeros: uncalibrated
            return
        self._place(CAMERA, pose)
        if self._lens != (lens := (*matrix.flat, info.width, info.height)):
            self._lens = lens
            pinhole = rr.Pinhole(
                image_from_camera=matrix,
                resolution=(info.width, info.height),
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=PICTURE_DISTANCE,
            )
            self._recording.log(IMAGE, pinhole, static=True)

    def log(self, snapshot: Snapshot, calibration: Calibration) -> None:
        """The snapshot's readings. Raises CalibrationError where a pose is missing."""
        for name in MODALITIES:
            reading = snapshot.readings.get(name)
            if reading is self._shown[name]:
                continue
            self._shown[name] = reading
            path = IMAGE if name == CAMERA else f"{STREET}/{name}"
            if name != CAMERA and reading is not None:
                self._place(name, calibration.antenna_from(reading.frame_id))
            self._recording.log(path, seen(reading) or rr.Clear(recursive=False))

    def _place(self, sensor: str, pose: np.ndarray) -> None:
        """Put the sensor there, with its axes, unless it is there."""
        if not np.array_equal(self._poses.get(sensor), pose):
            self._poses[sensor] = pose
            transform = rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])
            self._recording.log(f"{STREET}/{sensor}", transform, rr.TransformAxes3D(1.0), static=True)


def seen(reading: Reading | None) -> rr.EncodedImage | rr.Points3D | None:
    """A reading as Rerun shows it: velocities blue to red, what recedes red; intensities dark to bright; of a cube its detections."""
    if isinstance(reading, RadarCube):
        reading = detect(reading)
    if isinstance(reading, CameraReading):
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(reading.image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
        return rr.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg")
    if isinstance(reading, RadarPoints):
        return rr.Points3D(reading.xyz, colors=_colours(VELOCITIES, reading.velocity / (2 * FASTEST) + 0.5), radii=RADAR_RADIUS)
    if isinstance(reading, LidarReading):
        return rr.Points3D(reading.xyz, colors=_colours(INTENSITIES, reading.intensity), radii=LIDAR_RADIUS)
    return None


def _colours(scale: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 of `scale` (256, 3) at `share` (N,), clipped to 0..1."""
    return scale[np.clip(share * 255, 0, 255).astype(np.uint8)]

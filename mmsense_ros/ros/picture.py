"""The overlay as a topic: drawn only when somebody looks, and no more often than is allowed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from mmsense_ros.calibration import Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import CalibrationError
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.messages.camera import rgb8_message
from mmsense_ros.messages.header import frame_of
from mmsense_ros.ros.types import RclpyTypes, message_class
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, Snapshot

CAMERA_INFO = "camera/camera_info"


class Picture:
    """Draws with the intrinsics that camera_info brings, between `open` and `close`."""

    def __init__(self, node: Node, codebook: Codebook) -> None:
        self._node, self._overlay = node, Overlay(codebook)
        self._frame = ""
        self._last = float("-inf")

    def open(self) -> None:
        """Listen to camera_info."""
        kind = message_class("sensor_msgs/msg/CameraInfo")
        self._subscription = self._node.create_subscription(kind, CAMERA_INFO, self._take_info, qos_profile_sensor_data)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def due(self) -> bool:
        """Whether the rate allows another picture now."""
        return time.monotonic() - self._last >= 0.999 / self._node.get_parameter("overlay.rate").value

    def draw(self, snapshot: Snapshot, sensing: Sensing, calibration: Calibration) -> Any:
        """The picture as a sensor_msgs/Image; without intrinsics or extrinsics of the camera, the panel alone tells."""
        self._last = time.monotonic()
        try:
            self._overlay.antenna_from_camera = calibration.antenna_from(self._frame)
        except CalibrationError:
            self._overlay.antenna_from_camera = None
        camera = snapshot.readings.get(CAMERA)
        image = self._overlay.draw(camera.image if camera else None, sensing)
        return rgb8_message(RclpyTypes(), sensing.stamp, camera.frame_id if camera else sensing.frame_id, image)

    def _take_info(self, info: Any) -> None:
        matrix = np.asarray(info.k, float).reshape(3, 3)
        self._overlay.camera_matrix = matrix if matrix[0, 0] > 0 else None  # zeros: uncalibrated
        self._frame = frame_of(info)

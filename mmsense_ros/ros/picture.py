"""The overlay as a topic: drawn only when somebody looks, no more often than is allowed, and in a thread that nothing waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data

from mmsense_ros.calibration import Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import CalibrationError
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.messages.camera import rgb8_message
from mmsense_ros.messages.header import frame_of
from mmsense_ros.ros.types import RclpyTypes, message_class
from mmsense_ros.ros.worker import Worker
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, Snapshot

CAMERA_INFO = "camera/camera_info"


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn, and the camera's intrinsics and pose, as far as they are known."""

    snapshot: Snapshot
    sensing: Sensing
    camera_matrix: np.ndarray | None
    antenna_from_camera: np.ndarray | None


class Picture:
    """Between `open` and `close`, publishes what is shown to it, with the intrinsics that camera_info brings."""

    def __init__(self, node: Node, codebook: Codebook, publisher: Publisher) -> None:
        self._node, self._publisher = node, publisher
        self._overlay = Overlay(codebook)
        self._matrix: np.ndarray | None = None
        self._frame = ""
        self._last = float("-inf")

    def open(self) -> None:
        """Listen to camera_info."""
        kind = message_class("sensor_msgs/msg/CameraInfo")
        self._subscription = self._node.create_subscription(kind, CAMERA_INFO, self._take_info, qos_profile_sensor_data)
        self._drawn = self._node.create_guard_condition(self._publish)
        self._worker: Worker[Scene, Any] = Worker(self._draw, self._drawn.trigger)

    def stop(self) -> None:
        """Draw no more."""
        self._worker.stop()

    def close(self) -> None:
        """Stop, and unsubscribe."""
        self.stop()
        self._node.destroy_guard_condition(self._drawn)
        self._node.destroy_subscription(self._subscription)

    def show(self, snapshot: Snapshot, sensing: Sensing, calibration: Calibration) -> None:
        """Have it drawn if somebody looks and the rate allows it; without the camera's calibration the panel alone tells."""
        now, rate = time.monotonic(), self._node.get_parameter("overlay.rate").value
        if now - self._last < 0.999 / rate or not self._publisher.get_subscription_count():
            return
        self._last = now
        try:
            pose = calibration.antenna_from(self._frame)
        except CalibrationError:
            pose = None
        self._worker.submit(Scene(snapshot, sensing, self._matrix, pose))

    def _draw(self, scene: Scene) -> Any:
        """In the worker's thread."""
        self._overlay.camera_matrix, self._overlay.antenna_from_camera = scene.camera_matrix, scene.antenna_from_camera
        camera = scene.snapshot.readings.get(CAMERA)
        image = self._overlay.draw(camera.image if camera else None, scene.sensing)
        return rgb8_message(RclpyTypes(), scene.sensing.stamp, camera.frame_id if camera else scene.sensing.frame_id, image)

    def _publish(self) -> None:
        for _, picture in self._worker.take():
            if isinstance(picture, Exception):
                self._node.get_logger().error(f"the overlay cannot be drawn: {picture!r}; report this", once=True)
            else:
                self._publisher.publish(picture)

    def _take_info(self, info: Any) -> None:
        matrix = np.asarray(info.k, float).reshape(3, 3)
        self._matrix = matrix if matrix[0, 0] > 0 else None  # zeros: uncalibrated
        self._frame = frame_of(info)

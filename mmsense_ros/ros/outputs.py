"""What the node publishes of each result: ~/sensing, ~/beam, ~/markers and ~/overlay, the last two only if somebody listens."""

from __future__ import annotations

import time

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data

from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import CalibrationError
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.messages.camera import rgb8_message
from mmsense_ros.messages.sensing import sensing_message
from mmsense_ros.ros.extrinsics import Extrinsics
from mmsense_ros.ros.markers import marker_array
from mmsense_ros.ros.types import RclpyTypes, message_class
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, Snapshot


class Outputs:
    """The node's publishers; they are silent while the node is not active."""

    def __init__(self, node: LifecycleNode, codebook: Codebook, extrinsics: Extrinsics) -> None:
        self._node, self._codebook, self._extrinsics = node, codebook, extrinsics
        self._types = RclpyTypes()
        self._overlay = Overlay(codebook)
        self._drawn = 0.0
        publisher = node.create_lifecycle_publisher
        self._sensing = publisher(message_class("mmsense_ros/msg/SensingResult"), "~/sensing", 10)
        self._beam = publisher(message_class("mmsense_ros/msg/BeamPrediction"), "~/beam", 10)
        self._markers = publisher(message_class("visualization_msgs/msg/MarkerArray"), "~/markers", 10)
        self._picture = publisher(message_class("sensor_msgs/msg/Image"), "~/overlay", 1)
        info = message_class("sensor_msgs/msg/CameraInfo")
        self._info = node.create_subscription(info, "camera/camera_info", self._learn, qos_profile_sensor_data)

    def publish(self, snapshot: Snapshot, sensing: Sensing) -> None:
        """Send a result everywhere; what is needed soonest goes first."""
        message = sensing_message(self._types, sensing, self._codebook)
        self._beam.publish(message.beam)
        self._sensing.publish(message)
        if self._markers.get_subscription_count():
            lifetime = self._node.get_parameter("markers.lifetime").value
            self._markers.publish(marker_array(self._types, sensing, self._codebook, lifetime))
        now = time.monotonic()
        if self._picture.get_subscription_count() and now - self._drawn >= 1 / self._node.get_parameter("overlay.rate").value:
            self._drawn = now
            camera = snapshot.readings.get(CAMERA)
            picture = self._overlay.draw(camera.image if camera else None, sensing)
            frame = camera.frame_id if camera else sensing.frame_id
            self._picture.publish(rgb8_message(self._types, sensing.stamp, frame, picture))

    def destroy(self) -> None:
        """Withdraw the publishers."""
        for publisher in (self._sensing, self._beam, self._markers, self._picture):
            self._node.destroy_publisher(publisher)
        self._node.destroy_subscription(self._info)

    def _learn(self, info: object) -> None:
        """Camera intrinsics; without the camera's pose only the panel tells where things are."""
        try:
            pose = self._extrinsics.calibration.antenna_from(info.header.frame_id.lstrip("/"))
        except CalibrationError:
            pose = None
        matrix = np.array(info.k, float).reshape(3, 3)
        self._overlay.camera_matrix = matrix if matrix[0, 0] > 0 else None
        self._overlay.antenna_from_camera = pose

"""Where the sensors are, live: a calibration file if one is named, else what /tf_static brings."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

from mmsense_ros.calibration import Calibration
from mmsense_ros.errors import CalibrationError
from mmsense_ros.ros.types import message_class

TOPIC = "/tf_static"
UNKNOWN = "the node, whose parameter calibration is empty and which has heard nothing on /tf_static,"


class Extrinsics:
    """`calibration` is the newest. Raises CalibrationError if the file `path` cannot be used. For the executor's thread."""

    def __init__(self, node: Node, path: str) -> None:
        self._node, self._subscription = node, None
        self._transforms: dict[str, Any] = {}
        self.calibration = Calibration.load(path) if path else Calibration({}, UNKNOWN)
        if not path:
            self._listen()

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _listen(self) -> None:
        try:
            kind = message_class("tf2_msgs/msg/TFMessage")
        except ImportError:
            fault = "tf2_msgs is not installed, so extrinsics cannot come from /tf_static"
            self._node.get_logger().warning(f"{fault}; name a file in the parameter calibration")
            return
        qos = QoSProfile(depth=100, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self._subscription = self._node.create_subscription(kind, TOPIC, self._take, qos)

    def _take(self, message: Any) -> None:
        self._transforms |= {transform.child_frame_id: transform for transform in message.transforms}
        try:
            self.calibration = Calibration.from_transforms(self._transforms.values(), TOPIC)
        except CalibrationError as error:
            self._node.get_logger().error(f"{error}; until then the extrinsics stay as they were")

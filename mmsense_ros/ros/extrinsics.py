"""Where the node's sensors are: a calibration file, or /tf_static as it comes in."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from mmsense_ros.calibration import Calibration
from mmsense_ros.errors import CalibrationError
from mmsense_ros.ros.types import message_class


class Extrinsics:
    """`calibration` is the newest known. Raises CalibrationError if `file` is empty and tf2_msgs is not installed."""

    def __init__(self, node: Node, file: str) -> None:
        self._node, self._transforms, self._subscription = node, {}, None
        if file:
            self.calibration = Calibration.load(file)
            return
        try:
            kind = message_class("tf2_msgs/msg/TFMessage")
        except ImportError as error:
            fault = "no calibration is given, and /tf_static cannot be read because tf2_msgs is not installed"
            raise CalibrationError(f"{fault}; set the parameter calibration to a YAML file such as config/calibration.yaml") from error
        self.calibration = Calibration.from_transforms([])
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscription = node.create_subscription(kind, "/tf_static", self._learn, latched)

    def destroy(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _learn(self, message: Any) -> None:
        self._transforms.update({item.child_frame_id: item for item in message.transforms})
        try:
            self.calibration = Calibration.from_transforms(self._transforms.values())
        except CalibrationError as error:
            self._node.get_logger().error(str(error))

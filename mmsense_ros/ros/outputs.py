"""What the node says: each answer as result, beam, markers and picture, the last two only for those who look; and to what it answers."""

from __future__ import annotations

import time

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

from mmsense_ros.calibration import Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.messages.link import string_message
from mmsense_ros.messages.sensing import sensing_message
from mmsense_ros.ros.markers import Markers
from mmsense_ros.ros.picture import Picture
from mmsense_ros.ros.types import RclpyTypes, message_class
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import Snapshot

TOPICS = {
    "~/sensing": "mmsense_ros/msg/SensingResult",
    "~/beam": "mmsense_ros/msg/BeamPrediction",
    "~/markers": "visualization_msgs/msg/MarkerArray",
    "~/overlay": "sensor_msgs/msg/Image",
    "~/instruction": "std_msgs/msg/String",
}
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Outputs:
    """Publishers of TOPICS from construction until `destroy`; pictures are drawn between `open` and `close`. For the executor's thread."""

    def __init__(self, node: LifecycleNode, codebook: Codebook) -> None:
        self._node, self._codebook, self._types = node, codebook, RclpyTypes()
        self._publishers = {
            topic: node.create_lifecycle_publisher(message_class(kind), topic, LATCHED if topic == "~/instruction" else 10)
            for topic, kind in TOPICS.items()
        }
        self._told = ""
        self._markers, self._picture = Markers(codebook), Picture(node, codebook, self._publishers["~/overlay"])
        self.open, self.stop, self.close = self._picture.open, self._picture.stop, self._picture.close

    def tell(self, instruction: str) -> None:
        """Say which instruction is answered from now on, if it is a new one."""
        if instruction != self._told:
            self._publishers["~/instruction"].publish(string_message(self._types, instruction))
            self._told = instruction

    def publish(self, snapshot: Snapshot, sensing: Sensing, calibration: Calibration) -> dict[str, float]:
        """Say it; the stages this took [ms]."""
        clock, stages = time.perf_counter, {}
        began = clock()
        message = sensing_message(self._types, sensing, self._codebook)
        stages["message"], began = 1e3 * (clock() - began), clock()
        self._publishers["~/sensing"].publish(message)
        self._publishers["~/beam"].publish(message.beam)
        stages["publish"], began = 1e3 * (clock() - began), clock()
        if self._publishers["~/markers"].get_subscription_count():
            lifetime = self._node.get_parameter("markers.lifetime").value
            self._publishers["~/markers"].publish(self._markers.array(sensing, lifetime))
            stages["markers"] = 1e3 * (clock() - began)
        self._picture.show(snapshot, sensing, calibration)
        return stages

    def listeners(self) -> dict[str, int]:
        """How many subscribe to each topic, by its full name: as this side of DDS has it, which is whom a message would reach."""
        return {publisher.topic_name: publisher.get_subscription_count() for publisher in self._publishers.values()}

    def destroy(self) -> None:
        """Take the topics back."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

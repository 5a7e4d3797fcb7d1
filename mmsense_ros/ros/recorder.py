"""Records topics as a rosbag2, byte for byte as they pass.

`python -m mmsense_ros.ros.recorder BAG TOPIC... [--calibration YAML]` is for where `ros2 bag record` is not installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from mmsense_ros.calibration import ANTENNA_FRAME, Calibration
from mmsense_ros.data.background import BackgroundWriter
from mmsense_ros.data.rosbag import message_class as bag_class
from mmsense_ros.data.rosbag import typestore
from mmsense_ros.data.topics import TF_STATIC
from mmsense_ros.errors import BagError
from mmsense_ros.messages.link import transforms_message
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.ros.program import run, undisturbed
from mmsense_ros.ros.types import message_class

LOOK = 0.1  #: [s] between two looks for topics that nobody published before
DEPTH = 30  #: messages of a topic that DDS keeps while this process is busy


class Recorder:
    """Writes what comes on `topics` to the new rosbag2 `bag`, each from when it is first published on, until `close`.

    Log times are arrivals by the node's clock; by simulated time, nothing is recorded before /clock begins. A `calibration` is
    written as /tf_static, in the stead of what comes there. Raises BagError, CalibrationError.
    """

    def __init__(self, node: Node, bag: Path, topics: Collection[str], calibration: Calibration | None = None) -> None:
        self._node, self._poses = node, calibration.poses if calibration else {}
        self._awaited = {node.resolve_topic_name(topic) for topic in topics} - ({TF_STATIC} if calibration else set())
        self._bag = BackgroundWriter(bag)
        self._dropped = 0  # when it was last said
        node.create_timer(LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Write what is left, and tell what was recorded. Raises BagError."""
        self._bag.close()
        told = [f"{topic} {count}" for topic, count in sorted(self._bag.written.items())] or ["nothing"]
        told += [f"nobody published {topic}" for topic in sorted(self._awaited)]
        told += [f"{self._bag.dropped} messages lost: the disk is too slow"] if self._bag.dropped else []
        self._node.get_logger().info(f"recorded {', '.join(told)}")

    def _look(self) -> None:
        """Subscribe to what is published by now. Raises BagError if the bag cannot be written any more."""
        self._bag.check()
        if self._bag.dropped > self._dropped:
            self._dropped = self._bag.dropped
            self._node.get_logger().warning(f"{self._dropped} messages lost so far: the disk is too slow")
        now = self._node.get_clock().now().nanoseconds
        if not now:
            return
        if self._poses:
            message = transforms_message(RosbagTypes(), now, ANTENNA_FRAME, self._poses)
            self._take(TF_STATIC, message.__msgtype__, bytes(typestore().serialize_cdr(message, message.__msgtype__)))
            self._poses = {}
        for topic in sorted(self._awaited):
            if offers := self._node.get_publishers_info_by_topic(topic):
                self._awaited.remove(topic)
                self._subscribe(topic, offers[0].topic_type, [offer.qos_profile for offer in offers])

    def _subscribe(self, topic: str, kind: str, offered: Sequence[QoSProfile]) -> None:
        try:
            message = message_class(kind)
            bag_class(kind)
        except (ImportError, AttributeError, BagError) as error:
            remedy = "name a --calibration" if topic == TF_STATIC else "install its package"
            self._node.get_logger().warning(f"{topic} is not recorded: {kind} is not known here ({error}); {remedy}")
            return
        # What all publishers can give: asking for more would exclude some of them.
        reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
        latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
        qos = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        self._node.create_subscription(message, topic, partial(self._take, topic, kind), qos, raw=True)

    def _take(self, topic: str, kind: str, data: bytes) -> None:
        self._bag.write_cdr(topic, kind, data, self._node.get_clock().now().nanoseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until interrupted or terminated: 0; 2 if the bag cannot be written."""
    parser = argparse.ArgumentParser("recorder", description="Record topics as a rosbag2 until interrupted.")
    parser.add_argument("bag", type=Path, help="folder to write, must not exist")
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="what to record, now or when it is first published")
    parser.add_argument("--calibration", type=Path, metavar="YAML", help=f"extrinsics to record as {TF_STATIC}")
    return run(parser, _record, arguments)


def _record(options: argparse.Namespace) -> None:
    calibration = Calibration.load(options.calibration) if options.calibration else None
    node = rclpy.create_node("recorder", enable_rosout=False)  # it tells of the end, when /rosout is gone
    recorder = Recorder(node, options.bag, options.topics, calibration)
    with undisturbed(recorder.close):
        rclpy.spin(node)


if __name__ == "__main__":
    sys.exit(main())

"""Replays a bag over DDS at the rate it was recorded. Types that are not installed, such as tf2_msgs from PyPI, are left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from mmsense_ros.data.rosbag import BagMessage, BagReader
from mmsense_ros.ros.types import message_class
from mmsense_ros.snapshot import NANOSECONDS

LATCHED = ("/tf_static", "/instruction")
DEPTH = 10


class Player:
    """Publishes a bag's messages as they were recorded, byte for byte. `leave_out` names topics to skip. Raises BagError."""

    def __init__(self, node: Node, bag: Path, leave_out: Collection[str] = ()) -> None:
        self._reader = BagReader(bag)
        self.skipped: list[str] = []  #: topics whose types are not installed
        self._publishers: dict[str, Any] = {}
        for topic, type_name in self._reader.types.items():
            if topic in leave_out:
                continue
            try:
                kind = message_class(type_name)
            except (ImportError, AttributeError):
                self.skipped.append(topic)
                continue
            durability = DurabilityPolicy.TRANSIENT_LOCAL if topic in LATCHED else DurabilityPolicy.VOLATILE
            self._publishers[topic] = node.create_publisher(kind, topic, QoSProfile(depth=DEPTH, durability=durability))

    def heard(self, topic: str) -> bool:
        """Whether somebody subscribes to `topic`."""
        return topic in self._publishers and self._publishers[topic].get_subscription_count() > 0

    def play(self, seconds: float, wait: Callable[[float], None] = time.sleep) -> Iterator[BagMessage]:
        """Publish the first `seconds` of the bag in real time; yields each message once it is out.

        `wait(seconds)` may do other things meanwhile and return early.
        """
        start, began = self._reader.start, time.monotonic()
        for entry in self._reader.messages(self._publishers, start, start + int(seconds * NANOSECONDS) + 1):
            due = began + (entry.log_time - start) / NANOSECONDS
            while (early := due - time.monotonic()) > 0:
                wait(early)
            self._publishers[entry.topic].publish(bytes(entry.data))
            yield entry

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

"""Replays a bag over DDS at the rate it was recorded. Types that are not installed, such as tf2_msgs from PyPI, are left out.

`python -m mmsense_ros.ros.player BAG [--clock]` is for where `ros2 bag play` is not installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from mmsense_ros.data.rosbag import BagMessage, BagReader, latched
from mmsense_ros.ros.process import spin_for
from mmsense_ros.ros.program import run
from mmsense_ros.ros.types import message_class
from mmsense_ros.snapshot import NANOSECONDS

DEPTH = 10
PATIENCE, SETTLE = 30.0, 1.0  #: [s] longest wait for somebody who listens, and then for others
CLOCK_PERIOD, EARLY_PERIOD = 0.01, 0.1  #: [s] of /clock, and of what it says before the replay


class Player:
    """Publishes a bag's messages as they were recorded, byte for byte. Raises BagError.

    `leave_out` names topics to skip, `rename` maps topics of the bag to those they are published on; with `clock`, /clock tells the
    log time of what is being published, and while `node` is spun before that, the first one.
    """

    def __init__(
        self,
        node: Node,
        bag: Path,
        leave_out: Collection[str] = (),
        clock: bool = False,
        rename: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._node, self._reader = node, BagReader(bag)
        self.skipped: list[str] = []  #: topics whose types are not installed
        self.publishers: dict[str, Any] = {}  #: by topic of the bag
        for topic, type_name in self._reader.types.items():
            if topic in leave_out:
                continue
            try:
                kind = message_class(type_name)
            except (ImportError, AttributeError):
                self.skipped.append(topic)
                continue
            name = rename.get(topic, topic)
            durability = DurabilityPolicy.TRANSIENT_LOCAL if latched(name) else DurabilityPolicy.VOLATILE
            self.publishers[topic] = node.create_publisher(kind, name, QoSProfile(depth=DEPTH, durability=durability))
        self._clock = node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", DEPTH) if clock else None
        self._early = node.create_timer(EARLY_PERIOD, lambda: self._tell(self._reader.start))

    def heard(self, listener: str = "") -> bool:
        """Whether the node of the name `listener`, or if it is empty anybody, subscribes to anything."""
        infos = (info for p in self.publishers.values() for info in self._node.get_subscriptions_info_by_topic(p.topic_name))
        return any(listener in ("", info.node_name) for info in infos)

    def play(self, seconds: float = float("inf"), wait: Callable[[float], None] = time.sleep) -> Iterator[BagMessage]:
        """Publish the first `seconds` of the bag in real time; yields each message once it is out.

        `wait(seconds)` may do other things meanwhile and return early.
        """
        self._early.cancel()
        start, began = self._reader.start, time.monotonic()
        stop = self._reader.end if seconds == float("inf") else start + int(seconds * NANOSECONDS)
        for entry in self._reader.messages(self.publishers, start, stop + 1):
            due = began + (entry.log_time - start) / NANOSECONDS
            while (early := due - time.monotonic()) > 0:
                self._tell(entry.log_time - int(early * NANOSECONDS))
                wait(min(early, CLOCK_PERIOD) if self._clock else early)
            self._tell(entry.log_time)
            self.publishers[entry.topic].publish(bytes(entry.data))
            yield entry

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    def _tell(self, now: int) -> None:
        """Publish the time [ns]."""
        if self._clock:
            seconds, nanoseconds = divmod(now, NANOSECONDS)
            time_class = message_class("builtin_interfaces/msg/Time")
            self._clock.publish(message_class("rosgraph_msgs/msg/Clock")(clock=time_class(sec=seconds, nanosec=nanoseconds)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a bag once: 0; 2 if it cannot be read."""
    parser = argparse.ArgumentParser("player", description="Replay a rosbag2 over DDS, topics remapped by --ros-args -r.")
    parser.add_argument("bag", type=Path, help="rosbag2 folder or .mcap file")
    parser.add_argument("--clock", action="store_true", help="also publish /clock")
    parser.add_argument("--listener", default="", metavar="NODE", help="wait until it listens (default: until anybody does)")
    return run(parser, _play, arguments)


def _play(options: argparse.Namespace) -> None:
    node, executor = rclpy.create_node("player"), SingleThreadedExecutor()
    executor.add_node(node)
    player = Player(node, options.bag, clock=options.clock)
    began = time.monotonic()
    while not player.heard(options.listener) and time.monotonic() - began < PATIENCE:
        spin_for(0.1, executor)
    spin_for(SETTLE, executor)
    for _ in player.play():
        pass
    player.close()


if __name__ == "__main__":
    sys.exit(main())

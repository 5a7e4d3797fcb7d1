"""Message classes by name, for those who build messages: rosbags' here, rclpy's in ros/types.py."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from mmsense_ros.data.rosbag import message_class
from mmsense_ros.snapshot import NANOSECONDS


class MessageTypes(Protocol):
    """What builders of messages need of a flavour of message classes."""

    def __call__(self, type_name: str, **fields: Any) -> Any:
        """A message of e.g. `sensor_msgs/msg/Image` with all its fields."""

    def payload(self, data: np.ndarray) -> Any:
        """What a `uint8[]` field takes for the bytes of a C-contiguous array."""

    def numbers(self, values: np.ndarray) -> Any:
        """What a field of numbers takes."""


class RosbagTypes:
    """Messages of the rosbags library: every field a keyword, arrays as numpy's."""

    def __call__(self, type_name: str, **fields: Any) -> Any:
        return message_class(type_name)(**fields)

    def payload(self, data: np.ndarray) -> np.ndarray:
        return np.frombuffer(data, np.uint8) if isinstance(data, (bytes, bytearray)) else data.reshape(-1).view(np.uint8)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        return values


def header(types: MessageTypes, stamp: int, frame_id: str) -> Any:
    """A std_msgs/Header; `stamp` in ns."""
    seconds, nanoseconds = divmod(int(stamp), NANOSECONDS)
    time = types("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return types("std_msgs/msg/Header", stamp=time, frame_id=frame_id)

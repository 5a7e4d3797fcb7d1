"""Message classes of rclpy by name, for the builders in messages/."""

from __future__ import annotations

import array
import importlib
from functools import cache
from typing import Any

import numpy as np


@cache
def message_class(type_name: str) -> type:
    """Class of e.g. `sensor_msgs/msg/Image`. Raises ImportError if its package is not installed."""
    package, kind, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


class RclpyTypes:
    """Messages of rclpy; see `messages.types.MessageTypes`."""

    def __call__(self, type_name: str, **fields: Any) -> Any:
        return message_class(type_name)(**fields)

    def payload(self, data: np.ndarray) -> array.array:
        octets = array.array("B")
        octets.frombytes(memoryview(data.reshape(-1).view(np.uint8)))  # rclpy would take a numpy array byte by byte
        return octets

    def numbers(self, values: np.ndarray) -> list:
        return np.asarray(values).tolist()

"""Extrinsics of the running node: from a file, or from /tf_static as it comes in; unknown ones are named, never assumed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from mmsense_ros.calibration import Calibration
from mmsense_ros.errors import CalibrationError
from mmsense_ros.messages.link import transforms_message
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.ros import extrinsics
from mmsense_ros.ros.extrinsics import Extrinsics

pytestmark = pytest.mark.ros


class Log(list):
    """A logger that remembers; both levels alike."""

    error = warning = list.append


class StandInNode:
    """As much of a node as extrinsics need."""

    def __init__(self) -> None:
        self.log, self.callbacks, self.destroyed = Log(), {}, []

    def get_logger(self) -> Log:
        return self.log

    def create_subscription(self, kind: type, topic: str, callback: Any, qos: Any) -> SimpleNamespace:
        self.callbacks[topic] = callback
        return SimpleNamespace(topic=topic)

    def destroy_subscription(self, subscription: SimpleNamespace) -> None:
        self.destroyed.append(subscription.topic)


@pytest.fixture
def node(monkeypatch):
    """A node on a machine where tf2_msgs is installed."""
    monkeypatch.setattr(extrinsics, "message_class", lambda name: object)
    return StandInNode()


def pose(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def static(parent: str, **frames: float):
    return transforms_message(RosbagTypes(), 0, parent, {frame: pose(x) for frame, x in frames.items()})


def test_transforms_of_several_broadcasters_are_chained(node):
    heard = Extrinsics(node, "")
    node.callbacks["/tf_static"](static("mast", radar=1.0, lidar=2.0))
    with pytest.raises(CalibrationError, match="from 'radar' to 'antenna_array'"):
        heard.calibration.antenna_from("radar")
    node.callbacks["/tf_static"](static("antenna_array", mast=10.0))
    assert heard.calibration.antenna_from("radar")[0, 3] == pytest.approx(11.0)
    node.callbacks["/tf_static"](static("mast", radar=1.5))  # corrected
    assert heard.calibration.antenna_from("radar")[0, 3] == pytest.approx(11.5)
    assert heard.calibration.antenna_from("lidar")[0, 3] == pytest.approx(12.0)


def test_before_anything_was_heard_the_remedy_is_named(node):
    with pytest.raises(CalibrationError, match="parameter calibration is empty.*/tf_static.*'radar' to 'antenna_array'"):
        Extrinsics(node, "").calibration.antenna_from("radar")


def test_a_circle_of_frames_is_logged_and_changes_nothing(node):
    heard = Extrinsics(node, "")
    node.callbacks["/tf_static"](static("antenna_array", radar=1.0))
    node.callbacks["/tf_static"](static("b", a=1.0))
    node.callbacks["/tf_static"](static("a", b=1.0))
    assert "circle" in node.log[-1]
    assert heard.calibration.antenna_from("radar")[0, 3] == pytest.approx(1.0)


def test_a_file_goes_before_tf_static(node, tmp_path):
    Calibration.from_matrices({"radar": pose(3.0)}).save(tmp_path / "poses.yaml")
    heard = Extrinsics(node, str(tmp_path / "poses.yaml"))
    assert heard.calibration.antenna_from("radar")[0, 3] == pytest.approx(3.0)
    assert not node.callbacks
    heard.close()
    assert not node.destroyed


def test_without_tf2_msgs_a_file_is_asked_for(monkeypatch):
    def missing(name: str) -> type:
        raise ImportError(name)

    monkeypatch.setattr(extrinsics, "message_class", missing)
    node = StandInNode()
    Extrinsics(node, "").close()
    assert "tf2_msgs is not installed" in node.log[0] and "parameter calibration" in node.log[0]


def test_closing_unsubscribes(node):
    Extrinsics(node, "").close()
    assert node.destroyed == ["/tf_static"]

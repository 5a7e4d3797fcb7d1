"""Talks to a running node over DDS: publishes sensors as a driver would and keeps what comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile

from mmsense_ros.calibration import Calibration
from mmsense_ros.messages.camera import image_message
from mmsense_ros.messages.lidar import lidar_message
from mmsense_ros.messages.link import string_message
from mmsense_ros.messages.radar import radar_points_message
from mmsense_ros.ros.types import RclpyTypes, message_class
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, CameraReading, LidarReading, RadarPoints

HERE = Path(__file__).parent
TYPES = RclpyTypes()
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
CALIBRATION = Calibration.from_matrices({"camera_optical": OPTICAL, "radar": np.eye(4), "lidar": np.eye(4)})
SOURCES = {
    CAMERA: ("sensor_msgs/msg/Image", "/camera/image_raw"),
    RADAR: ("sensor_msgs/msg/PointCloud2", "/radar/points"),
    LIDAR: ("sensor_msgs/msg/PointCloud2", "/lidar/points"),
}


class Street:
    """One participant that publishes sensors and listens to results; nothing happens but in `spin`."""

    def __init__(self, environment: dict[str, str], sources: dict[str, tuple[str, str]] = SOURCES) -> None:
        self._context = Context()
        os.environ |= {
            name: environment[name]
            for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_DEFAULT_PROFILES_FILE", "ROS_LOG_DIR")
        }
        os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = environment["FASTDDS_DEFAULT_PROFILES_FILE"]
        rclpy.init(args=[], context=self._context, domain_id=int(environment["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("street", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.publishers = {
            name: self.node.create_publisher(message_class(kind), topic, 10) for name, (kind, topic) in sources.items()
        }
        self._instruction = self.node.create_publisher(message_class("std_msgs/msg/String"), "/instruction", LATCHED)
        self.results: list = []
        self.reports: dict[str, tuple[int, str, dict[str, str]]] = {}  #: status -> level, message, values
        self.node.create_subscription(
            message_class("mmsense_ros/msg/SensingResult"), "/sense/sensing", self.results.append, 100
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._report, 10)
        self.clock: Callable[[], int] = lambda: self.node.get_clock().now().nanoseconds  #: stamps of frames [ns]
        self.generator = np.random.default_rng(0)

    def frame(self, sensors: tuple[str, ...] = (CAMERA, RADAR, LIDAR)) -> int:
        """Publish one reading of each sensor, stamped by `clock`; the stamp [ns]."""
        stamp = self.clock()
        points = self.generator.uniform((5, -5, -1), (40, 5, 1), (60, 3)).astype(np.float32)
        ones = np.ones(60, np.float32)
        messages = {
            LIDAR: lambda: lidar_message(TYPES, LidarReading(stamp, "lidar", points, ones)),
            RADAR: lambda: radar_points_message(TYPES, RadarPoints(stamp, "radar", points, ones, ones)),
            CAMERA: lambda: image_message(TYPES, CameraReading(stamp, "camera_optical", np.full((48, 64, 3), 90, np.uint8))),
        }
        for sensor in (LIDAR, RADAR, CAMERA):
            if sensor in sensors:
                self.publishers[sensor].publish(messages[sensor]())
        return stamp

    def instruct(self, words: str) -> None:
        """Publish an instruction."""
        self._instruction.publish(string_message(TYPES, words))

    def spin(self, seconds: float) -> None:
        """Let messages come in."""
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def run(self, seconds: float, rate: float = 20.0, sensors: tuple[str, ...] = (CAMERA, RADAR, LIDAR)) -> list[int]:
        """Publish frames at `rate` [Hz] for a while; their stamps."""
        stamps, start = [], time.monotonic()
        for number in range(int(seconds * rate)):
            stamps.append(self.frame(sensors))
            self.spin(max(0.0, start + (number + 1) / rate - time.monotonic()))
        return stamps

    def until(self, condition: Callable[[], bool], limit: float = 20.0, **settings: object) -> None:
        """Publish frames until `condition` holds; fails after `limit` s."""
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"not within {limit} s; diagnostics: {self.reports}"
            self.run(0.2, **settings)

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _report(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.split(": ", 1)[1]
            self.reports[name] = status.level[0], status.message, {entry.key: entry.value for entry in status.values}


@contextmanager
def running(
    environment: dict[str, str], folder: Path, *parameters: str, delay: float = 0.0, calibration: Calibration | None = None
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """The node around an Elephant, in a process of its own, and its log; ended by SIGINT unless it has ended."""
    poses, log = folder / "calibration.yaml", folder / "node.log"
    (calibration or CALIBRATION).save(poses)
    words = [word for entry in (f"calibration:={poses}", *parameters) for word in ("-p", entry)]
    profile = environment["FASTDDS_DEFAULT_PROFILES_FILE"]
    paths = os.pathsep.join(filter(None, (str(HERE), environment.get("PYTHONPATH"))))
    environment = environment | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "FASTRTPS_DEFAULT_PROFILES_FILE": profile}
    with log.open("w") as sink:
        command = [sys.executable, str(HERE / "parrot_node.py"), str(delay), "--ros-args", *words]
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            yield process, log
        finally:
            if process.poll() is None:
                end(process)


def end(process: subprocess.Popen) -> int:
    """Ctrl-C; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        raise

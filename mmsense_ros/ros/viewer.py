"""`mmsense view --live`: what the node `sense` answers, with the readings it answered about, in the Rerun viewer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy, qos_profile_sensor_data

from mmsense_ros.engine import SHIPPED_MODEL
from mmsense_ros.errors import ConfigError, MMSenseError
from mmsense_ros.messages.sensing import sensing_of
from mmsense_ros.model_card import ModelCard
from mmsense_ros.pairing import snapshot_of
from mmsense_ros.ros.extrinsics import Extrinsics
from mmsense_ros.ros.parameters import SOURCES, SensorSettings
from mmsense_ros.ros.picture import CAMERA_INFO
from mmsense_ros.ros.program import heeding_signals, participant
from mmsense_ros.ros.subscriptions import SensorTopic
from mmsense_ros.ros.types import message_class
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, MODALITIES, Reading
from mmsense_ros.view.outlet import Outlet
from mmsense_ros.view.scene import Scene

RESULTS = "sense/sensing"
KEPT = 24  #: readings of a sensor that wait for the result about them
PATIENCE = 0.3  #: [s] a result waits for its readings
PERIOD = 0.5  #: [s] between looks at what is published
QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Viewer(Node):
    """Listens to the node and its sensors and logs each result to `scene`. Raises CalibrationError if `calibration` cannot be used."""

    def __init__(
        self,
        scene: Scene,
        calibration: str,
        drop: Collection[str],
        topics: Mapping[str, str],
        doppler_sign: int = 1,
        namespace: str = "",
    ) -> None:
        super().__init__("mmsense_view", namespace=namespace)
        self._scene = scene
        self._extrinsics = Extrinsics(self, calibration)
        self._readings: dict[str, deque[Reading]] = {name: deque(maxlen=KEPT) for name in MODALITIES if name not in drop}
        self._results: deque[tuple[float, Sensing]] = deque()  # since when they wait [s, monotonic]
        self._sensors = [
            SensorTopic(self, SensorSettings(name, sources(name, topics), QOS, doppler_sign), self._take_reading)
            for name in self._readings
        ]
        info, result = message_class("sensor_msgs/msg/CameraInfo"), message_class("mmsense_ros/msg/SensingResult")
        self.create_subscription(info, CAMERA_INFO, self._take_info, qos_profile_sensor_data)
        self.create_subscription(result, RESULTS, self._take_result, 10)
        self.create_timer(PERIOD, self._follow)

    def _take_info(self, info: Any) -> None:
        self._scene.camera(info, self._extrinsics.calibration)

    def _take_reading(self, sensor: str, reading: Reading) -> None:
        """Raises CalibrationError if it is not known where its sensor is."""
        if sensor != CAMERA:
            self._extrinsics.calibration.antenna_from(reading.frame_id)
        self._readings[sensor].append(reading)
        self._show()

    def _take_result(self, message: Any) -> None:
        try:
            self._results.append((time.monotonic(), sensing_of(message)))
        except MMSenseError as error:
            self.get_logger().error(str(error), once=True)
        self._show()

    def _follow(self) -> None:
        for sensor in self._sensors:
            sensor.follow()
        self._show()

    def _show(self) -> None:
        """Log results in order, each when its readings are there or it has waited long enough."""
        while self._results:
            came, sensing = self._results[0]
            snapshot = snapshot_of(sensing, self._readings)
            awaited = {m.modality for m in sensing.modalities if m.available} & self._readings.keys()
            if awaited - snapshot.readings.keys() and time.monotonic() - came < PATIENCE:
                return
            self._results.popleft()
            self._scene.log(snapshot, sensing, self._extrinsics.calibration)


def run(
    outlet: Outlet,
    model: str | Path = "",
    drop: Collection[str] = (),
    *,
    calibration: Path | None = None,
    topics: Mapping[str, str] | None = None,
    doppler_sign: int = 1,
    namespace: str = "",
    seconds: float = float("inf"),
) -> int:
    """Show what the node answers for `seconds`, or until Ctrl-C; how many moments that were. `model` tells its codebook.

    Raises ModelError, CalibrationError, ConfigError, and MMSenseError if nothing was heard.
    """
    if not calibration:
        _require_tf()
    card = ModelCard.load(model or SHIPPED_MODEL)
    with outlet.open("live") as stream:
        scene = Scene(stream, card.codebook)
        make = partial(Viewer, scene, str(calibration or ""), drop, topics or {}, doppler_sign, namespace)
        with participant(make) as (node, executor):
            end = time.monotonic() + seconds
            with suppress(KeyboardInterrupt), heeding_signals():
                while (left := end - time.monotonic()) > 0:
                    executor.spin_once(timeout_sec=min(left, 1.0))
            if not scene.frames:
                place = node.resolve_topic_name(RESULTS)
                raise MMSenseError(f"nothing came on {place}; start the node, or see ROS_DOMAIN_ID and --namespace")
            return scene.frames


def sources(sensor: str, topics: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(type, topic) that a sensor may come as, on the topic that is named for it or the usual ones."""
    return tuple(dict.fromkeys((kind, topics.get(sensor, topic)) for kind, topic in SOURCES[sensor]))


def _require_tf() -> None:
    try:
        message_class("tf2_msgs/msg/TFMessage")
    except ImportError as error:
        fault = "tf2_msgs is not installed, so /tf_static cannot tell where the sensors are"
        raise ConfigError(f"{fault}; name a file: --calibration YAML") from error

"""A recorded street: a bag's messages through the live synchronizer, as snapshots with instruction and truth. No ROS."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.errors import BagError
from mmsense_ros.messages.camera import camera_reading
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.lidar import lidar_reading
from mmsense_ros.messages.link import beam_powers
from mmsense_ros.messages.radar import radar_cube, radar_points
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR, Reading, Snapshot
from mmsense_ros.sync import SyncConfig, Synchronizer, replay

#: Topics a modality is read from, best first: of several only the first that the bag holds is taken.
TOPICS = {CAMERA: ("/camera/image_raw",), RADAR: ("/radar/points", "/radar/cube"), LIDAR: ("/lidar/points",)}
CAMERA_INFO, INSTRUCTION, TF_STATIC = "/camera/camera_info", "/instruction", "/tf_static"
TRUTH_POWER, TRUTH_NOISE_FREE, TRUTH_SENSING = "/truth/beam_power", "/truth/beam_power_noise_free", "/truth/sensing"
TERMINAL_FIX, BASE_FIX = "/terminal/fix", "/base/fix"  #: where the terminal and the antenna array are, by satellite
CONVERTERS: dict[str, dict[str, Callable[..., Reading]]] = {
    CAMERA: {"sensor_msgs/msg/Image": camera_reading, "sensor_msgs/msg/CompressedImage": camera_reading},
    RADAR: {"sensor_msgs/msg/PointCloud2": radar_points, "mmsense_ros/msg/RadarCube": radar_cube},
    LIDAR: {"sensor_msgs/msg/PointCloud2": lidar_reading},
}


@dataclass(frozen=True, eq=False)
class Truth:
    """What was so: `power` and `noise_free` (beams,) float32 linear, measured and exact; `sensing` a SensingResult message."""

    power: np.ndarray
    noise_free: np.ndarray
    sensing: Any


@dataclass(frozen=True, eq=False)
class Moment:
    """One snapshot, the newest instruction given at or before its stamp, and the truth at its stamp where recorded."""

    snapshot: Snapshot
    instruction: str
    truth: Truth | None


class Recording:
    """A bag as moments. `drop` names modalities to withhold; every other one must be in the bag, else BagError.

    A withheld reference sensor still sets the pace, if it is in the bag. `calibration` overrides the bag's /tf_static, and
    `topics` (modality -> topic) the names in TOPICS.
    """

    def __init__(
        self,
        path: str | Path,
        drop: Collection[str] = (),
        calibration: Calibration | None = None,
        topics: Mapping[str, str] | None = None,
        sync: SyncConfig | None = None,
    ) -> None:
        if not set(MODALITIES) - set(drop):
            raise BagError(f"{path}: every modality is dropped; keep at least one of {', '.join(MODALITIES)}")
        self.bag = BagReader(path)
        self.drop = frozenset(drop)
        self.topics = self._topics(topics or {})  #: modality -> topic it is read from
        sync = sync or SyncConfig()
        self._sync = sync if sync.reference in self.topics else replace(sync, reference=next(iter(self.topics)))
        self.frames = self.bag.topics[self.topics[self._sync.reference]]  #: messages of the reference sensor
        self._instructions = [(m.log_time, m.message.data) for m in self.bag.messages([INSTRUCTION])]
        self.calibration = calibration or self._calibration()
        self.camera_info = next((m.message for m in self.bag.messages([CAMERA_INFO])), None)
        self.truth = self._truth()

    def moments(self) -> Iterator[Moment]:
        """Snapshots as the live node would get them, arrival being log time; none that holds only withheld readings."""
        for _, snapshot in replay(Synchronizer(self._sync), self._readings()):
            kept = {name: reading for name, reading in snapshot.readings.items() if name not in self.drop}
            if kept:
                instruction, truth = self.instruction_at(snapshot.stamp), self.truth.get(snapshot.stamp)
                yield Moment(replace(snapshot, readings=kept), instruction, truth)

    def instruction_at(self, stamp: int) -> str:
        """The newest instruction given at or before `stamp` [ns]; empty before the first."""
        place = bisect_right(self._instructions, stamp, key=lambda entry: entry[0])
        return self._instructions[place - 1][1] if place else ""

    def close(self) -> None:
        """Close the bag."""
        self.bag.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _readings(self) -> Iterator[tuple[int, str, int, Reading]]:
        modalities = {topic: modality for modality, topic in self.topics.items()}
        for message in self.bag.messages(modalities):
            modality = modalities[message.topic]
            reading = CONVERTERS[modality][message.type](message.message, topic=message.topic)
            yield message.log_time, modality, reading.stamp, reading

    def _topics(self, given: Mapping[str, str]) -> dict[str, str]:
        counts, topics = self.bag.topics, {}
        for modality, usual in TOPICS.items():
            names = (given[modality],) if modality in given else usual
            present = [name for name in names if counts.get(name)]
            if present:
                topics[modality] = present[0]
                kind, known = self.bag.types[present[0]], CONVERTERS[modality]
                if kind not in known:
                    fault = f"{self.bag.path}: {present[0]} holds {kind}, {modality} is read from {' or '.join(known)}"
                    raise BagError(f"{fault}; name the right one: --topic {modality}=TOPIC")
            elif modality not in self.drop:
                fault = f"{self.bag.path} has no messages on {' or '.join(names)}"
                raise BagError(f"{fault}; name its topic: --topic {modality}=TOPIC, or go without it: --drop {modality}")
        return topics

    def _calibration(self) -> Calibration:
        if not self.bag.topics.get(TF_STATIC):
            fault = f"{self.bag.path} has no messages on {TF_STATIC}"
            raise BagError(f"{fault}; record it, or give the extrinsics: --calibration FILE")
        transforms = [t for m in self.bag.messages([TF_STATIC]) for t in m.message.transforms]
        return Calibration.from_transforms(transforms, f"{self.bag.path}: {TF_STATIC}")

    def _truth(self) -> dict[int, Truth]:
        """Truth by stamp, for the stamps at which all of it was recorded."""
        by_topic: dict[str, dict[int, Any]] = {topic: {} for topic in (TRUTH_POWER, TRUTH_NOISE_FREE, TRUTH_SENSING)}
        for message in self.bag.messages(by_topic):
            by_topic[message.topic][stamp_of(message.message)] = message.message
        measured, exact, sensing = by_topic.values()
        stamps = measured.keys() & exact.keys() & sensing.keys()
        return {stamp: Truth(beam_powers(measured[stamp]), beam_powers(exact[stamp]), sensing[stamp]) for stamp in stamps}

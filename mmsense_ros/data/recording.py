"""A recorded street: a bag's messages through the live synchronizer, as snapshots with instruction and truth. No ROS."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.data.topics import CLOUD, COMPRESSED_IMAGE, CUBE, IMAGE, TF_STATIC, TRUTHS, topics_of
from mmsense_ros.data.truth import Truth, TruthFile, TruthTopics
from mmsense_ros.errors import BagError
from mmsense_ros.messages.camera import camera_reading
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.lidar import lidar_reading
from mmsense_ros.messages.radar import radar_cube, radar_points
from mmsense_ros.pairing import snapshot_of
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR, Reading, Snapshot
from mmsense_ros.sync import SyncConfig, Synchronizer, replay

CONVERTERS: dict[str, dict[str, Callable[..., Reading]]] = {
    CAMERA: {IMAGE: camera_reading, COMPRESSED_IMAGE: camera_reading},
    RADAR: {CLOUD: radar_points, CUBE: radar_cube},
    LIDAR: {CLOUD: lidar_reading},
}


@dataclass(frozen=True, eq=False)
class Moment:
    """One snapshot, and the newest instruction given at or before its stamp."""

    snapshot: Snapshot
    instruction: str


class Recording:
    """A bag as moments. `drop` names modalities to withhold; every other one must be in the bag, else BagError.

    A withheld reference sensor still sets the pace, if it is in the bag. Frames in `calibration` override the bag's /tf_static,
    `topics` (input -> topic) the names in data/topics.py, and what `truth` tells the bag's own truth. `doppler_sign` is -1 if the
    radar's velocities are positive for what comes nearer.
    """

    def __init__(
        self,
        path: str | Path,
        drop: Collection[str] = (),
        calibration: Calibration | None = None,
        topics: Mapping[str, str] | None = None,
        doppler_sign: int = 1,
        sync: SyncConfig | None = None,
        truth: TruthFile | None = None,
    ) -> None:
        if not set(MODALITIES) - set(drop):
            raise BagError(f"{path}: every modality is dropped; keep at least one of {', '.join(MODALITIES)}")
        self.bag = BagReader(path)
        self.drop = frozenset(drop)
        self.inputs = topics_of(self.bag, topics or {}, drop)  #: input -> topic it is read from
        self.topics = {name: topic for name, topic in self.inputs.items() if name in MODALITIES}  #: the sensors among them
        sync = sync or SyncConfig()
        self._sync = sync if sync.reference in self.topics else replace(sync, reference=next(iter(self.topics)))
        self.frames = self.bag.topics[self.topics[self._sync.reference]]  #: messages of the reference sensor
        self.calibration = self._calibration(calibration)
        self._doppler_sign = doppler_sign
        self._truth_file = truth
        self._truth_topics = TruthTopics({name: self.inputs[name] for name in TRUTHS if name in self.inputs})
        self._instructions: list[tuple[int, str]] = []

    @property
    def camera_info(self) -> Any | None:
        """The first CameraInfo message, if there is one."""
        topics = [self.inputs[name] for name in ("camera_info",) if name in self.inputs]
        return next((message.message for message in self.bag.messages(topics)), None)

    def moments(self) -> Iterator[Moment]:
        """Snapshots as the live node would get them, arrival being log time; none that holds only withheld readings."""
        self._instructions.clear()
        for _, snapshot in replay(Synchronizer(self._sync), self._readings()):
            kept = {name: reading for name, reading in snapshot.readings.items() if name not in self.drop}
            if kept:
                yield Moment(replace(snapshot, readings=kept), self._instruction_at(snapshot.stamp))

    def answered(self, results: Iterable[Sensing]) -> Iterator[Moment]:
        """What `results`, in their order, answered: the very readings that each tells of by its ages, and its instruction.

        Raises BagError if one tells of a reading that is not in the bag.
        """
        kept = {name: deque[Reading](maxlen=self._sync.queue) for name in self.topics}
        readings = self._readings()
        for result in results:
            told = {modality.modality for modality in result.modalities if modality.available}
            while told - (snapshot := snapshot_of(result, kept)).readings.keys():
                entry = next(readings, None)
                if entry is None:
                    fault = f"{self.bag.path} lacks a reading that was answered about at {result.stamp} ns"
                    raise BagError(f"{fault}; if others publish sensors here, choose another ROS_DOMAIN_ID")
                _, name, _, reading = entry
                kept[name].append(reading)
            yield Moment(snapshot, result.instruction)

    def truth_at(self, stamp: int) -> Truth | None:
        """What was so at `stamp` [ns], None if nothing is known; complete once `moments` or `read_truth` has come to its end."""
        parts = self._truth_topics.parts_at(stamp) | (self._truth_file.parts_at(stamp) if self._truth_file else {})
        return Truth(**parts) if parts else None

    def read_truth(self) -> None:
        """Read the truth alone."""
        for message in self.bag.messages(self._truth_topics.topics):
            self._truth_topics.take(message)

    def images(self, stamps: Collection[int]) -> dict[int, np.ndarray]:
        """Camera images (H, W, 3) uint8 RGB of those of `stamps` [ns] that have one; none if the camera is withheld."""
        topic, images = self.topics.get(CAMERA), {}
        if topic and CAMERA not in self.drop and stamps:
            convert = CONVERTERS[CAMERA][self.bag.types[topic]]
            for message in self.bag.messages([topic]):
                if (stamp := stamp_of(message.message)) in stamps:
                    images[stamp] = convert(message.message, topic=topic).image
        return images

    def close(self) -> None:
        """Close the bag."""
        self.bag.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _readings(self) -> Iterator[tuple[int, str, int, Reading]]:
        """The sensors' messages; on the way, what else the bag tells is remembered: reading a bag once is slow enough."""
        modalities = {topic: modality for modality, topic in self.topics.items()}
        instruction = self.inputs.get("instruction", "")
        for message in self.bag.messages({*modalities, instruction, *self._truth_topics.topics}):
            if message.topic == instruction:
                self._instructions.append((message.log_time, message.message.data))
            elif message.topic in modalities:
                modality = modalities[message.topic]
                sign = {"doppler_sign": self._doppler_sign} if modality == RADAR else {}
                reading = CONVERTERS[modality][message.type](message.message, topic=message.topic, **sign)
                yield message.log_time, modality, reading.stamp, reading
            else:
                self._truth_topics.take(message)

    def _instruction_at(self, stamp: int) -> str:
        """The newest instruction given at or before `stamp` [ns]; where the recorder's clock is another one, the first."""
        place = bisect_right(self._instructions, stamp, key=lambda entry: entry[0])
        return self._instructions[max(place - 1, 0)][1] if self._instructions else ""

    def _calibration(self, given: Calibration | None) -> Calibration:
        topic = self.inputs.get("tf_static")
        if topic is None:
            if given is not None:
                return given
            fault = f"{self.bag.path} has no messages on {TF_STATIC}"
            raise BagError(f"{fault}; record it, name it: --topic tf_static=TOPIC, or give the extrinsics: --calibration FILE")
        transforms = [t for m in self.bag.messages([topic]) for t in m.message.transforms]
        recorded = Calibration.from_transforms(transforms, f"{self.bag.path}: {topic}")
        return given.over(recorded) if given else recorded

"""A recording replayed over DDS, at real rate, into the node in a second process, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.node import Node

from mmsense_ros.data.recording import Recording
from mmsense_ros.data.topics import ANSWERED, INPUTS, TF_STATIC, TRUTHS
from mmsense_ros.messages.sensing import sensing_of
from mmsense_ros.ros.player import Player
from mmsense_ros.ros.process import MARKERS, RESULTS, Process, Reports, await_listeners, check_alive, spin_for
from mmsense_ros.ros.program import participant
from mmsense_ros.ros.types import message_class
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA

LAST_WORDS = 1.5  #: [s] after the last message, for the last results and a last /diagnostics
ANSWERS = (RESULTS, "/sense/beam", MARKERS)  #: that are recorded of a replay
FOR_THE_NODE = ("camera_info", "instruction", "tf_static")  #: inputs that it reads beside its sensors


@dataclass
class Heard:
    """What came back from the node."""

    reports: Reports
    results: dict[int, Sensing] = field(default_factory=dict)  #: by stamp [ns]
    sent: int = 0  #: camera frames

    @property
    def snapshots(self) -> int:
        """How many the node made, as it last said."""
        return int(self.reports.perception.get("snapshots", len(self.results)))

    def sensing(self, message: Any) -> None:
        """A SensingResult."""
        result = sensing_of(message)
        self.results[result.stamp] = result


def replay(
    recording: Recording,
    process: Process,
    look: Callable[[Heard], None],
    seconds: float = float("inf"),
    recorder: Process | None = None,
) -> Heard:
    """Play the sensors that are not withheld, on the topics the node expects them on, and listen; in this thread alone.

    `look` is called after each message. If there is a `recorder`, the truth is played for it, and /clock. Raises NodeFailed.
    """
    topics = _topics(recording, truth=recorder is not None)
    processes = (process, recorder) if recorder else (process,)
    with participant(lambda: Node("mmsense_replay")) as (node, executor):
        heard = Heard(Reports(node))
        node.create_subscription(message_class("mmsense_ros/msg/SensingResult"), RESULTS, heard.sensing, 100)
        others = set(recording.bag.types) - topics.keys()
        with closing(Player(node, recording.bag.path, leave_out=others, clock=recorder is not None, rename=topics)) as player:
            truths, recorders = {recording.inputs.get(name) for name in TRUTHS}, len(processes) - 1
            inputs = [
                (publisher, recorders + (topic not in truths))
                for topic, publisher in player.publishers.items()
                if publisher.topic_name != TF_STATIC  # both are given the calibration instead
            ]
            outputs = dict.fromkeys(ANSWERS, recorders) | {RESULTS: 1 + recorders}
            await_listeners(executor, inputs, heard.reports, outputs, *processes)
            for entry in player.play(seconds, lambda left: executor.spin_once(timeout_sec=left)):
                heard.sent += entry.topic == recording.topics.get(CAMERA)
                check_alive(*processes)
                look(heard)
            spin_for(LAST_WORDS, executor)
    return heard


def write_calibration(recording: Recording, folder: Path) -> Path:
    """The recording's extrinsics as a file for the node's parameter `calibration`."""
    path = folder.resolve() / "calibration.yaml"
    recording.calibration.save(path)
    return path


def recorded(recording: Recording) -> list[str]:
    """What a recorder finds of a replay."""
    return sorted({*_topics(recording, truth=True).values(), *ANSWERS, ANSWERED, "/diagnostics"})


def _topics(recording: Recording, truth: bool) -> Mapping[str, str]:
    """Topic of the bag -> topic of the node."""
    wanted = {*FOR_THE_NODE, *(TRUTHS if truth else ()), *(name for name in recording.topics if name not in recording.drop)}
    return {topic: INPUTS[name].home(recording.bag.types[topic]) for name, topic in recording.inputs.items() if name in wanted}

"""What is in somebody else's bag, which of its topics are likely our inputs, and what is missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.doppler import doppler_sign
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.data.topics import CLOUD, CUBE, IMAGE, INPUTS
from mmsense_ros.errors import MessageError, MMSenseError
from mmsense_ros.messages.camera import ENCODINGS
from mmsense_ros.messages.header import frame_of
from mmsense_ros.messages.radar import FIELDS as RADAR_FIELDS
from mmsense_ros.messages.radar import radar_points
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR

#: What a word in a topic's name says for an input, by input.
WORDS: dict[str, dict[str, int]] = {
    CAMERA: {"camera": 2, "cam": 2, "image": 1, "rgb": 2, "color": 2, "front": 2, "depth": -9, "disparity": -9, "mask": -9,
             "label": -9, "segmentation": -9, "annotated": -9, "overlay": -9, "thermal": -3, "infra": -3, "back": -2, "rear": -2,
             "left": -1, "right": -1},
    RADAR: {"radar": 4, "mmwave": 4, "front": 2, "rear": -2, "back": -2},
    LIDAR: {"lidar": 4, "velodyne": 4, "ouster": 4, "hesai": 4, "livox": 4, "laser": 2, "points": 1, "top": 1, "front": 1,
            "roof": 1, "radar": -9, "filtered": -2, "ground": -2, "cluster": -3, "obstacle": -3, "depth": -3},
    "camera_info": {"front": 2, "depth": -9, "rear": -2},
    "instruction": {"instruction": 9, "command": 1},
    "tf_static": {"static": 9},
    "power": {"noise": -9, "truth": 1},
    "noise_free": {"noise": 9},
    "truth": {"truth": 9, "sense": -9},
    "terminal_fix": {"terminal": 9, "rover": 2, "vehicle": 2, "base": -9},
    "base_fix": {"base": 9, "station": 2},
}  # fmt: skip
NAMED = (
    "instruction",
    "tf_static",
    "noise_free",
    "truth",
    "terminal_fix",
    "base_fix",
)  #: inputs whose type alone says too little
LOOKED_AT = 300  #: messages of a radar
AS_EXPECTED = 100  #: the topic on which an input is expected beats every likeness


@dataclass(frozen=True)
class Topic:
    """What a topic holds; `rate` [Hz] is NaN for fewer than two messages, `frame` and `fields` are of the first message."""

    name: str
    type: str
    count: int
    rate: float
    frame: str = ""
    fields: tuple[str, ...] = ()  #: of a PointCloud2, or the encoding of an Image


@dataclass(frozen=True)
class Inspection:
    """A bag's topics, the input -> topic that is proposed, the faults that stand in the way, and the command line."""

    topics: tuple[Topic, ...]
    proposed: Mapping[str, str]
    missing: tuple[str, ...]
    command: str


def inspect(path: str | Path, calibration: Path | None = None) -> Inspection:
    """Look at a bag; extrinsics may come from a file too. Raises BagError if it cannot be read."""
    with BagReader(path) as bag:
        topics = tuple(_topic(bag, name) for name, count in sorted(bag.topics.items()) if count)
        proposed = {name: best for name in INPUTS if (best := _best(name, topics))}
        faults = [f"no topic for {name}: go without it (--drop {name})" for name in MODALITIES if name not in proposed]
        faults += _unplaced(bag, topics, proposed, calibration)
        turned = RADAR in proposed and bag.types[proposed[RADAR]] == CLOUD and _turned(bag, proposed[RADAR])
    words = ["mmsense", "evaluate", str(path)]
    for name, topic in proposed.items():
        if topic not in INPUTS[name].topics:
            words += ["--topic", f"{name}={topic}"]
    words += ["--doppler-sign", "-1"] if turned else []
    words += [word for name in MODALITIES if name not in proposed for word in ("--drop", name)]
    if calibration or any("transform" in fault or "extrinsics" in fault for fault in faults):
        words += ["--calibration", str(calibration or "calibration.yaml")]
    return Inspection(topics, proposed, tuple(faults), shlex.join(words))


def _topic(bag: BagReader, name: str) -> Topic:
    kind, count = bag.types[name], bag.topics[name]
    rate = (count - 1) / bag.duration if count > 1 and bag.duration else float("nan")
    try:
        first = next(bag.messages([name])).message
    except MMSenseError:  # a type that nobody knows has nothing to tell
        return Topic(name, kind, count, rate)
    return Topic(name, kind, count, rate, _frame(first), _fields(first, kind))


def _frame(message: Any) -> str:
    if hasattr(message, "transforms"):
        return ", ".join(f"{frame_of(t)} > {t.child_frame_id.lstrip('/')}" for t in message.transforms)
    return frame_of(message) if hasattr(message, "header") else ""


def _fields(message: Any, kind: str) -> tuple[str, ...]:
    if kind == CLOUD:
        return tuple(field.name for field in message.fields)
    return (message.encoding,) if kind == IMAGE else ()


def _best(name: str, topics: tuple[Topic, ...]) -> str:
    """The topic most like an input, empty if none is like it at all; of equals, the one with the most messages."""
    likeness = {topic: _likeness(name, topic) for topic in topics if topic.type in INPUTS[name].types}
    least = 1 if name in NAMED else -4
    chosen = max((t for t in likeness if likeness[t] >= least), key=lambda t: (likeness[t], t.count), default=None)
    return chosen.name if chosen else ""


def _likeness(name: str, topic: Topic) -> int:
    words = [word for word in re.split(r"[^a-z]+", topic.name.lower()) if word]
    score = sum(value for word, value in WORDS[name].items() if any(word in said for said in words))
    fields = set(topic.fields)
    doppler = bool(fields & set(RADAR_FIELDS["velocity"])) or topic.type == CUBE
    if name == RADAR:
        score += 5 + ("rcs" in fields) if doppler else -99
    elif name == LIDAR:
        score += 2 * ("ring" in fields) + ("intensity" in fields) - 9 * doppler
    elif name == CAMERA and topic.type == IMAGE and not fields & set(ENCODINGS):
        score -= 99
    expected = list(INPUTS[name].topics)
    return score + (AS_EXPECTED // (1 + expected.index(topic.name)) if topic.name in expected else 0)


def _turned(bag: BagReader, topic: str) -> bool:
    """Whether what comes nearer has positive velocities."""
    try:
        return doppler_sign(radar_points(entry.message, topic) for entry in islice(bag.messages([topic]), LOOKED_AT)) < 0
    except MessageError:  # to read them will say what is wrong
        return False


def _unplaced(bag: BagReader, topics: tuple[Topic, ...], proposed: Mapping[str, str], calibration: Path | None) -> list[str]:
    """Sensors whose place is not known, in words."""
    known = Calibration.load(calibration) if calibration else None
    if static := proposed.get("tf_static"):
        transforms = [t for message in bag.messages([static]) for t in message.message.transforms]
        recorded = Calibration.from_transforms(transforms, f"{bag.path}: {static}")
        known = known.over(recorded) if known else recorded
    if known is None:
        return ["no extrinsics: neither a topic of static transforms nor a file (--calibration, see config/calibration.yaml)"]
    frames = {topic.name: topic.frame for topic in topics}
    faults = []
    for name in (name for name in MODALITIES if name in proposed):
        try:
            known.antenna_from(frames[proposed[name]])
        except MMSenseError as error:
            faults.append(f"{name}: {error}")
    return faults

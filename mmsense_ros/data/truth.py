"""What was so: the truth of a bag, from its truth topics or from a file beside it. Every part of it may be missing."""

from __future__ import annotations

import json
import struct
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from mmsense_ros.data.rosbag import BagMessage
from mmsense_ros.errors import ConfigError
from mmsense_ros.messages.link import beam_powers
from mmsense_ros.snapshot import NANOSECONDS

REACH = 15_000_000  #: [ns] a snapshot's truth may be so much older or newer: half the period of a camera at 30 Hz
Thing = tuple[tuple[float, float, float], str]  #: where [m, antenna_array], and the class or activity
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Truth:
    """What was so at one moment; None is what nobody recorded.

    Powers are (beams,) linear, measured and exact; `traffic` is the number of vehicles a class.
    """

    power: np.ndarray | None = None
    terminal: str | None = None  #: whose power it is
    noise_free: np.ndarray | None = None
    best_ahead: int | None = None
    blocked: float | None = None
    blocked_ahead: float | None = None
    pathloss: float | None = None  #: [dB]
    traffic: dict[str, float] | None = None
    objects: tuple[Thing, ...] | None = None
    people: tuple[Thing, ...] | None = None


class TruthTopics:
    """Truth out of the messages of `topics` (input of data/topics.py -> topic), which are read only when asked for."""

    def __init__(self, topics: Mapping[str, str]) -> None:
        self.topics = {topic: name for name, topic in topics.items()}
        self._messages: dict[str, _ByStamp[BagMessage]] = {name: _ByStamp() for name in topics}

    def take(self, message: BagMessage) -> None:
        """Keep a message of one of the topics."""
        self._messages[self.topics[message.topic]].put(_stamp(message.data), message)

    def parts_at(self, stamp: int) -> dict[str, Any]:
        """What is known of the moment `stamp` [ns], by the fields of Truth."""
        parts: dict[str, Any] = {}
        for name, messages in self._messages.items():
            if (entry := messages.near(stamp)) is not None:
                parts |= _sensing(entry.message) if name == "truth" else _powers(name, entry.message)
        return parts


class TruthFile:
    """Truth beside a bag: JSON Lines, one object a moment. `stamp` [ns] is required, everything else may be left out or null:

    `scenario` (name of the bag; without it the line holds for every bag), `power` and `noise_free` (a number a beam, linear),
    `terminal` (a name: whose power it is), `best_ahead` (index of the beam that is best at the horizon), `blocked`,
    `blocked_ahead` (0, 1), `pathloss` [dB], `traffic` ({class: number}), `objects` ([{"position": [x, y, z], "label": class}],
    [m] in antenna_array), `people` (the same, the label being the activity). Stamps need not be those of the camera: the
    nearest within 15 ms counts.

    Raises ConfigError, naming file and line.
    """

    def __init__(self, path: str | Path, scenario: str = "") -> None:
        self._lines: _ByStamp[dict[str, Any]] = _ByStamp()
        known = {field.name for field in fields(Truth)}
        try:
            lines = Path(path).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"truth {path} cannot be read ({error}); name a file of JSON lines") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                stamp, name = int(entry.pop("stamp")), entry.pop("scenario", "")
                if unknown := sorted(entry.keys() - known):
                    raise ValueError(f"it has {', '.join(unknown)}, known are {', '.join(sorted(known))}")
                parts = {key: _typed(key, value) for key, value in entry.items() if value is not None}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                fault = f"{path}, line {number} is no truth of a moment ({error})"
                raise ConfigError(f"{fault}; see `mmsense evaluate --help`, --truth") from error
            if name in ("", scenario):
                self._lines.put(stamp, parts)

    def parts_at(self, stamp: int) -> dict[str, Any]:
        """What is known of the moment `stamp` [ns], by the fields of Truth."""
        return self._lines.near(stamp) or {}


class _ByStamp(Generic[T]):
    """Things by their stamps [ns]; the one nearest to a moment stands for it, if it is within REACH."""

    def __init__(self) -> None:
        self._things: dict[int, T] = {}
        self._stamps: list[int] = []

    def put(self, stamp: int, thing: T) -> None:
        self._things[stamp] = thing

    def near(self, stamp: int) -> T | None:
        if stamp in self._things:
            return self._things[stamp]
        if len(self._stamps) < len(self._things):
            self._stamps = sorted(self._things)
        place = bisect_left(self._stamps, stamp)
        around = self._stamps[max(place - 1, 0) : place + 1]
        nearest = min(around, key=lambda other: abs(other - stamp), default=None)
        return self._things[nearest] if nearest is not None and abs(nearest - stamp) <= REACH else None


def _stamp(data: bytes) -> int:
    """Header stamp [ns] of a serialized message that begins with its header: it follows four bytes about the encoding."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return seconds * NANOSECONDS + nanoseconds


def _powers(name: str, message: Any) -> dict[str, Any]:
    """What a BeamPower tells: of those that were measured, whose they are too."""
    return {name: beam_powers(message)} | ({"terminal": message.terminal} if name == "power" else {})


def _sensing(message: Any) -> dict[str, Any]:
    """What a SensingResult tells."""
    return {
        "best_ahead": int(message.beam_ahead.beams[0]) if len(message.beam_ahead.beams) else None,
        "blocked": message.blockage,
        "blocked_ahead": message.blockage_ahead,
        "pathloss": message.pathloss,
        "traffic": {count.label: count.count for count in message.traffic} if len(message.traffic) else None,
        "objects": tuple((_xyz(thing.position), thing.label) for thing in message.objects),
        "people": tuple((_xyz(person.position), person.activity) for person in message.people),
    }


def _xyz(point: Any) -> tuple[float, float, float]:
    return point.x, point.y, point.z


def _typed(key: str, value: Any) -> Any:
    """A value of a line of JSON as the type of that field of Truth."""
    if key in ("power", "noise_free"):
        return np.array([float(number) for number in value])
    if key in ("objects", "people"):
        return tuple(((float(x), float(y), float(z)), str(label)) for (x, y, z), label in map(_thing, value))
    if key == "traffic":
        return {str(label): float(count) for label, count in value.items()}
    return {"best_ahead": int, "terminal": str}.get(key, float)(value)


def _thing(entry: dict[str, Any]) -> tuple[list[float], str]:
    return entry["position"], entry["label"]

"""What the truth topics of a bag tell of a moment, as rows of shards.

What they do not tell is not known, rather than not there: numbers are NaN, indices UNKNOWN, what is on the street UNTOLD, and none of
it is learned. A bag none of whose messages speaks of vehicles (people, counts) does not tell of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmsense_ros.anchors import ACTIVITIES, COLOURS, LANES, OBJECT_LABELS, UNKNOWN
from mmsense_ros.codebook import Codebook
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.data.topics import TRUTH_POWER, TRUTH_SENSING
from mmsense_ros.errors import BagError
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.link import beam_powers
from mmsense_ros.snapshot import NANOSECONDS
from mmsense_ros.training.shards import ACTIVITY, COLOUR, LABEL, LANE, THINGS, UNTOLD, decibels, object_slot, person_slot
from mmsense_ros.training.wording import Name

NEAR = 60_000_000  #: [ns] truth so far from a moment is still that moment's: half the period of 10 Hz, and some jitter


class RecordedTruth:
    """Sweeps and sensing of a bag, from the topics `inputs` (data/topics.py) has for them.

    Raises BagError for a bag with neither, with another codebook or with labels nobody knows.
    """

    def __init__(self, bag: BagReader, inputs: Mapping[str, str], horizon: float) -> None:
        self.path, self.horizon = bag.path, horizon
        power, self._topic = inputs.get("power", TRUTH_POWER), inputs.get("truth", TRUTH_SENSING)
        self._sweeps, self._sensing = (_Timeline(bag, topic) for topic in (power, self._topic))
        if not self._sweeps.messages and not self._sensing.messages:
            fault = f"{bag.path} has no messages on {power} or {self._topic}"
            raise BagError(f"{fault}, so there is nothing to learn from it; record what was so, or leave the bag out")
        beams = Codebook().beams
        if odd := {len(sweep.power) for sweep in self._sweeps.messages} - {beams}:
            raise BagError(f"{bag.path}: {power} holds sweeps of {odd.pop()} beams; the model's codebook has {beams}")
        sensed = self._sensing.messages
        self._vehicles = any(len(sensing.objects) for sensing in sensed)
        self._people = any(len(sensing.people) for sensing in sensed)

    def tell(self, row: dict[str, np.ndarray], stamp: int, instruction: str) -> None:
        """Fills the truth of the moment `stamp` [ns] into `row`, a layout of one snapshot; its first terminal is the bag's one."""
        unknown = {"power": row["power"].shape, "blocked": row["blocked"].shape, "pathloss": row["pathloss"].shape}
        row |= {name: np.full(shape, np.nan, np.float32) for name, shape in unknown.items()}
        row["traffic"] = np.full((1, len(OBJECT_LABELS)), np.nan, np.float32)
        row["objects"][..., LABEL], row["people"][..., ACTIVITY] = UNTOLD, UNTOLD
        row["phrases"] = np.full(row["phrases"].shape, b"", f"S{max(len(instruction.encode()), 1)}")
        row["phrases"][0, 0] = instruction.encode()
        sweep, sensing = self._sweeps.near(stamp), self._sensing.near(stamp)
        row["served"][0, 0] = sweep is not None or sensing is not None
        if sweep is not None:
            later = self._sweeps.near(stamp + round(self.horizon * NANOSECONDS))
            row["power"][0, 0, 0] = _decibels(sweep)
            if later is not None and later.terminal == sweep.terminal:
                row["power"][0, 0, 1] = _decibels(later)
        if sensing is not None:
            row["blocked"][0, 0, 0] = np.round(sensing.blockage)
            if abs(sensing.horizon - self.horizon) < 1e-3:
                row["blocked"][0, 0, 1] = np.round(sensing.blockage_ahead)
            row["pathloss"][0, 0] = sensing.pathloss if sensing.pathloss > 0 else np.nan
            for count in sensing.traffic:
                row["traffic"][0, self._index(count.label, OBJECT_LABELS)] = count.count
            self._list(row, sensing)
            _ground(row, Name.of(instruction))

    def _list(self, row: dict[str, np.ndarray], sensing: Any) -> None:
        """Vehicles and people."""
        if self._vehicles:
            row["objects"][..., LABEL] = np.nan
            for slot, thing in enumerate(sensing.objects[:THINGS]):
                row["objects"][0, slot] = _vehicle(thing, self._index(thing.label, OBJECT_LABELS))
        if self._people:
            row["people"][..., ACTIVITY] = np.nan
            for slot, person in enumerate(sensing.people[:THINGS]):
                row["people"][0, slot] = person_slot(self._index(person.activity, ACTIVITIES), _xyz(person.position))

    def _index(self, label: str, known: Sequence[str]) -> int:
        if label and label not in known:
            fault = f"{self.path}: {self._topic} speaks of '{label}'"
            raise BagError(f"{fault}; say {', '.join(known)}, or nothing ('') where it is none of these")
        return known.index(label) if label else UNKNOWN


class _Timeline:
    """The messages of a topic by their stamps."""

    def __init__(self, bag: BagReader, topic: str) -> None:
        by_stamp = {stamp_of(recorded.message): recorded.message for recorded in bag.messages([topic])}
        self._stamps = sorted(by_stamp)
        self.messages = [by_stamp[stamp] for stamp in self._stamps]

    def near(self, stamp: int) -> Any | None:
        """The one nearest to `stamp` [ns]; None if none is NEAR."""
        place = bisect_left(self._stamps, stamp)
        there = range(max(place - 1, 0), min(place + 1, len(self._stamps)))
        nearest = min(there, key=lambda index: abs(self._stamps[index] - stamp), default=None)
        return None if nearest is None or abs(self._stamps[nearest] - stamp) > NEAR else self.messages[nearest]


def _decibels(sweep: Any) -> np.ndarray:
    """(beams,) [dB]; NaN if nothing was received."""
    power = beam_powers(sweep).astype(np.float64)
    return decibels(power) if power.max() > 0 else np.full(len(power), np.nan)


def _vehicle(thing: Any, label: int) -> np.ndarray:
    """A slot of `objects`; a size that is not above 0 was not filled in."""
    length, width, height = (extent if extent > 0 else np.nan for extent in _xyz(thing.size))
    return object_slot(label, UNKNOWN, _xyz(thing.position), _xyz(thing.velocity), (length, width, height), thing.yaw)


def _ground(row: dict[str, np.ndarray], name: Name) -> None:
    """Which vehicle carries the terminal is told only where its class is named and just one such vehicle is in view, which then has
    the colour and is in the lane that is named."""
    label = OBJECT_LABELS.index(name.label) if name.label else UNKNOWN
    alike = np.flatnonzero(row["objects"][0, :, LABEL] == label)
    if name.label and len(alike) == 1 and row["traffic"][0, label] == 1:
        row["terminals"][0, 0] = alike[0]
        row["objects"][0, alike[0], COLOUR] = COLOURS.index(name.colour) if name.colour else UNKNOWN
        row["objects"][0, alike[0], LANE] = LANES.index(name.lane) if name.lane else UNKNOWN


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z

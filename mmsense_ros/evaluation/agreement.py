"""How what the node answered live differs from what is answered offline, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsense_ros.perception import FORGETTING
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import NANOSECONDS

ALIKE = 1e-4  #: answers closer than this are the same: messages hold float32
INSTRUCTION, READINGS, MEMORY, UNEXPLAINED = "other instruction", "other readings", "other memory", "unexplained"


@dataclass(frozen=True)
class Agreement:
    """Counts of frames. `differing` says why, the first reason that holds:

    "other instruction": it was changed while the frame was on its way; "other readings": real arrivals paired the frame with other
    radar or LiDAR messages; "other memory": one of those holds, or there was a drop, in the seconds that the model remembers;
    "unexplained" should be 0.
    """

    frames: int = 0  #: answered in both
    agreeing: int = 0  #: of these, with the same answers
    dropped: int = 0  #: answered offline alone
    added: int = 0  #: answered live alone
    differing: Counter[str] = field(default_factory=Counter)
    largest: Mapping[str, float] = field(default_factory=dict)  #: difference an answer, over the frames that differ or not

    @classmethod
    def between(cls, offline: Sequence[Sensing], live: Mapping[int, Sensing]) -> Agreement:
        """Of the answers `offline`, in order, with those of the node by stamp [ns]."""
        agreeing, differing, largest, strange = 0, Counter[str](), {}, -np.inf
        for one in offline:
            other, reason = live.get(one.stamp), ""
            if other is None:
                strange = one.stamp
                continue
            found = differences(one, other)
            largest = {name: max(value, largest.get(name, 0.0)) for name, value in found.items()}
            if one.instruction != other.instruction:
                reason = INSTRUCTION
            elif _readings(one) != _readings(other):
                reason = READINGS
            elif one.stamp - strange <= FORGETTING * NANOSECONDS:
                reason = MEMORY
            if max(found.values()) <= ALIKE:
                agreeing += 1
            else:
                differing[reason or UNEXPLAINED] += 1
            if reason in (INSTRUCTION, READINGS):
                strange = one.stamp
        stamps = {one.stamp for one in offline}
        shared = len(stamps & live.keys())
        return cls(shared, agreeing, len(stamps) - shared, len(live.keys() - stamps), differing, largest)

    @classmethod
    def joined(cls, parts: Iterable[Agreement]) -> Agreement:
        """Of several bags together."""
        parts = list(parts)
        names = dict.fromkeys(name for part in parts for name in part.largest)
        return cls(
            *(sum(getattr(part, name) for part in parts) for name in ("frames", "agreeing", "dropped", "added")),
            sum((part.differing for part in parts), Counter()),
            {name: max(part.largest.get(name, 0.0) for part in parts) for name in names},
        )

    def figures(self) -> dict[str, Any]:
        """JSON-ready."""
        counts = {name: getattr(self, name) for name in ("frames", "agreeing", "dropped", "added")}
        return counts | {"differing": dict(self.differing), "largest_difference": dict(self.largest)}


def differences(one: Sensing, other: Sensing) -> dict[str, float]:
    """Largest difference of each answer; of beams, of the probabilities of those that both name: messages hold the likeliest."""
    found = {}
    for name in ("beam", "beam_ahead"):
        a, b = getattr(one, name).probabilities, getattr(other, name).probabilities
        named = (a > 0) & (b > 0)
        found[name] = float(np.abs(a - b)[named].max(initial=0.0)) if named.any() else 1.0
    found["blockage"] = max(abs(one.blockage - other.blockage), abs(one.blockage_ahead - other.blockage_ahead))
    found["pathloss_db"] = abs(one.pathloss - other.pathloss)
    found["traffic"] = max((abs(count - other.traffic.get(label, 0.0)) for label, count in one.traffic.items()), default=0.0)
    found["objects"] = float(abs(len(one.objects) - len(other.objects)))
    found["people"] = float(abs(len(one.people) - len(other.people)))
    return found


def _readings(sensing: Sensing) -> list[float | None]:
    """Which readings were answered about: their ages [s], rounded to what float32 holds."""
    return [round(modality.age, 4) if modality.available else None for modality in sensing.modalities]

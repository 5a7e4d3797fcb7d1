"""How far answers of the live node and answers given offline are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from mmsense_ros.sensing import SensedObject, SensedPerson, Sensing

ROUNDING = 1e-5  #: answers closer than this are the same: messages hold float32, which rounds 200 dB by 8e-6
#: What live answers are held against, by its key in a report, in words.
AGAINST = {
    "offline": "offline",
    "same_readings": "offline, given the same frames, readings and instructions",
}
COUNTS = ("frames", "agreeing", "differing", "dropped", "added")


@dataclass(frozen=True)
class Agreement:
    """Counts of frames."""

    frames: int = 0  #: answered in both
    agreeing: int = 0  #: of these, with the same answers
    dropped: int = 0  #: answered offline alone
    added: int = 0  #: answered live alone
    largest: Mapping[str, float] = field(default_factory=dict)  #: difference an answer, over the frames in both

    @classmethod
    def between(cls, offline: Sequence[Sensing], live: Mapping[int, Sensing]) -> Agreement:
        """Of the answers `offline` with those of the node by stamp [ns]."""
        found = [differences(one, live[one.stamp]) for one in offline if one.stamp in live]
        agreeing = sum(max(frame.values()) <= ROUNDING for frame in found)
        largest = {name: max(frame[name] for frame in found) for name in (found[0] if found else ())}
        return cls(len(found), agreeing, len(offline) - len(found), len(live) - len(found), largest)

    @classmethod
    def joined(cls, parts: Iterable[Agreement]) -> Agreement:
        """Of several bags together."""
        parts = list(parts)
        names = dict.fromkeys(name for part in parts for name in part.largest)
        return cls(
            *(sum(getattr(part, name) for part in parts) for name in ("frames", "agreeing", "dropped", "added")),
            {name: max(part.largest.get(name, 0.0) for part in parts) for name in names},
        )

    @property
    def differing(self) -> int:
        """Frames in both, with other answers."""
        return self.frames - self.agreeing

    def figures(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in COUNTS} | {"largest_difference": dict(self.largest)}


def differences(one: Sensing, other: Sensing) -> dict[str, float]:
    """Largest difference of each answer: of the probabilities of beams that both name, for messages hold the likeliest, or 1 if the
    sets to sweep differ; for vehicles and people, how many differ in anything."""
    found = {}
    for name in ("beam", "beam_ahead"):
        forecasts = getattr(one, name), getattr(other, name)
        a, b = (forecast.probabilities for forecast in forecasts)
        named = (a > 0) & (b > 0)
        swept = [forecast.sweep_set.tolist() for forecast in forecasts]
        found[name] = float(np.abs(a - b)[named].max(initial=0.0)) if named.any() and swept[0] == swept[1] else 1.0
    found["blockage"] = max(abs(one.blockage - other.blockage), abs(one.blockage_ahead - other.blockage_ahead))
    found["pathloss_db"] = abs(one.pathloss - other.pathloss)
    found["traffic"] = max((abs(count - other.traffic.get(label, 0.0)) for label, count in one.traffic.items()), default=0.0)
    found["objects"] = _unlike(one.objects, other.objects)
    found["people"] = _unlike(one.people, other.people)
    return found


def _unlike(some: Sequence[SensedObject | SensedPerson], others: Sequence[SensedObject | SensedPerson]) -> float:
    same = sum(_alike(*pair) for pair in zip(some, others))
    return float(max(len(some), len(others)) - same)


def _alike(one: SensedObject | SensedPerson, other: SensedObject | SensedPerson) -> bool:
    pairs = zip(_flat(one), _flat(other), strict=True)
    return all(a == b if isinstance(a, str) else abs(a - b) <= ROUNDING for a, b in pairs)


def _flat(thing: SensedObject | SensedPerson) -> Iterable[str | float]:
    return chain.from_iterable(value if isinstance(value, tuple) else (value,) for value in astuple(thing))

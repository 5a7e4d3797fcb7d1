"""Which readings an answer was made from, told by their stamps: a result that comes over the air names only their ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import NANOSECONDS, Reading, Snapshot

TOLERANCE = 1_000_000  #: [ns] ages are rounded


def snapshot_of(sensing: Sensing, readings: Mapping[str, Iterable[Reading]]) -> Snapshot:
    """The snapshot that `sensing` answers, of the `readings` of each sensor; it lacks those that are not among them."""
    found: dict[str, Reading] = {}
    for state in sensing.modalities:
        if state.available and (kept := tuple(readings.get(state.modality, ()))):
            stamp = sensing.stamp - round(state.age * NANOSECONDS)
            nearest = min(kept, key=lambda reading: abs(reading.stamp - stamp))
            if abs(nearest.stamp - stamp) <= TOLERANCE:
                found[state.modality] = nearest
    return Snapshot(sensing.stamp, found)

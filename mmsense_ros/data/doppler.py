"""Which way a radar's Doppler counts, told by how its detections move."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from scipy.spatial import cKDTree

from mmsense_ros.snapshot import NANOSECONDS, RadarPoints

APART = 0.2  #: [s] between two looks at the same things, at most twice that
LEAST = 0.5  #: [m] of way meanwhile, radially, that clutter and noise do not hide
FEWEST = 50  #: detections found again, without which nothing is told
SURE = 2 / 3  #: of them, that must speak for a sign


def doppler_sign(readings: Iterable[RadarPoints]) -> int:
    """1 if detections of positive velocity recede, as ours do, -1 if they come nearer, 0 if `readings`, in time order, do not tell."""
    found, receding = 0, 0
    earlier: deque[RadarPoints] = deque()
    for now in readings:
        earlier.append(now)
        while len(earlier) > 1 and now.stamp - earlier[1].stamp >= APART * NANOSECONDS:
            earlier.popleft()
        seconds = (now.stamp - earlier[0].stamp) / NANOSECONDS
        if APART <= seconds <= 2 * APART and len(now.xyz):
            nearer = _nearer(earlier[0], now, seconds)
            found, receding = found + len(nearer), receding + int(nearer.sum())
    if found < FEWEST or max(receding, found - receding) < SURE * found:
        return 0
    return 1 if 2 * receding > found else -1


def _nearer(before: RadarPoints, now: RadarPoints, seconds: float) -> np.ndarray:
    """(n,) bool: of the detections found again, whether nearer to where they are if they recede than to where they are if not."""
    way = before.velocity * seconds
    moved = np.abs(way) >= LEAST
    way, place = way[moved, None], before.xyz[moved]
    radially = way * place / np.maximum(np.linalg.norm(place, axis=1, keepdims=True), LEAST)
    tree = cKDTree(np.column_stack([now.xyz, now.velocity * seconds]))
    away, towards = (tree.query(np.column_stack([place + step, way]))[0] for step in (radially, -radially))
    again = np.minimum(away, towards) < np.abs(way[:, 0]) / 2
    return (away < towards)[again]

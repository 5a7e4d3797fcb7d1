"""Annotated scenes as truth: what of them lies in view, as the simulator's truth has it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmsense_ros.calibration import ANTENNA_FRAME
from mmsense_ros.data.datasets.records import TYPES
from mmsense_ros.data.datasets.source import Record
from mmsense_ros.data.topics import TRUTH_SENSING
from mmsense_ros.messages.sensing import scene_message
from mmsense_ros.sensing import SensedObject, SensedPerson
from mmsense_ros.sensors.grid import PolarGrid


def scene_record(stamp: int, objects: Iterable[SensedObject], people: Iterable[SensedPerson], counted: Iterable[str]) -> Record:
    """What of the annotated vehicles and people the maps show; `counted` are the classes that the annotations tell apart."""
    seen = [thing for thing in objects if _in_view(thing.position)]
    met = [person for person in people if _in_view(person.position)]
    return TRUTH_SENSING, scene_message(TYPES, stamp, ANTENNA_FRAME, seen, met, dict.fromkeys(counted)), stamp


def _in_view(position: tuple[float, float, float]) -> bool:
    """Whether a place [m] in antenna_array lies within the codebook's view and the maps' range."""
    x, y, _ = position
    return bool(PolarGrid().cells(np.array([x]), np.array([y]))[1][0])

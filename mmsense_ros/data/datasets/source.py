"""What a dataset is to the converter: its samples, one after another, as messages; and what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mmsense_ros.errors import MMSenseError
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR

FRAMES = {CAMERA: "camera_optical", RADAR: "radar", LIDAR: "lidar"}  #: of the sensors, as in config/calibration.yaml
Record = tuple[str, Any, int]  #: topic, message of the rosbags library, log time [ns]


@dataclass
class Tally:
    """What became of a dataset. `strict` makes the first fault fatal."""

    strict: bool = False
    samples: int = 0
    messages: Counter[str] = field(default_factory=Counter)  #: topic -> number
    skipped: list[str] = field(default_factory=list)  #: one line a file that could not be used: its name and why
    left_out: Counter[str] = field(default_factory=Counter)  #: annotated class that the truth has no place for -> number

    @contextmanager
    def part(self) -> Iterator[None]:
        """Around whatever depends on one file: its error skips the rest of the block."""
        try:
            yield
        except MMSenseError as error:
            if self.strict:
                raise
            self.skipped.append(str(error))


class Source(Protocol):
    """One recording of a dataset."""

    count: int  #: samples in all
    poses: Mapping[str, np.ndarray]  #: antenna_from_frame (4, 4) a frame of its sensors
    assumed: list[str]  #: what the data does not say and was taken instead, a sentence each

    def samples(self, tally: Tally) -> Iterator[list[Record]]:
        """The messages of each sample in order of time, read from their files one sample at a time; may be empty.

        A file that is missing or damaged goes to the tally.
        """

"""`mmsense convert`: the one writer of all datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmsense_ros.calibration import ANTENNA_FRAME
from mmsense_ros.data.datasets.source import Source, Tally
from mmsense_ros.data.rosbag import BagWriter
from mmsense_ros.data.topics import INSTRUCTION, TF_STATIC
from mmsense_ros.errors import BagError
from mmsense_ros.messages.link import string_message, transforms_message
from mmsense_ros.messages.types import RosbagTypes


def convert(
    source: Source,
    out: str | Path,
    storage: str = "mcap",
    strict: bool = False,
    instruction: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Write `source` as a rosbag2 folder `out`; memory holds one sample at a time.

    `progress` is called with (samples done, samples in all). Raises BagError if `out` cannot be written or nothing can be
    read; with `strict`, any error of a file, which leaves no readable bag behind.
    """
    types, tally = RosbagTypes(), Tally(strict)
    with BagWriter(out, storage) as bag:
        for done, records in enumerate(source.samples(tally), 1):
            if records and not tally.samples:
                begin = records[0][2]
                if source.poses:
                    bag.write(TF_STATIC, transforms_message(types, begin, ANTENNA_FRAME, source.poses), begin)
                bag.write(INSTRUCTION, string_message(types, instruction), begin)
            tally.samples += bool(records)
            for topic, message, log_time in records:
                bag.write(topic, message, log_time)
                tally.messages[topic] += 1
            if progress:
                progress(done, source.count)
        if not tally.samples:
            first = tally.skipped[0] if tally.skipped else "it is empty; name a folder with samples"
            raise BagError(f"nothing to convert: {first}")
    return tally

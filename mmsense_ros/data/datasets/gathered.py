"""Scenarios of DeepSense 6G gathered as arrays (see data/deepsense.py): measured power and positions, no sensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mmsense_ros.data.datasets.records import base_record, deepsense_power_record, terminal_record
from mmsense_ros.data.datasets.source import Record, Tally
from mmsense_ros.data.datasets.stamps import GAP, drive_stamps
from mmsense_ros.data.deepsense import gathered, scenarios
from mmsense_ros.errors import BagError


class Gathered:
    """One scenario of the folder, the only one there by default. Raises BagError."""

    poses: Mapping[str, np.ndarray] = {}

    def __init__(self, folder: str | Path, scenario: int | None = None, rate: float = 10.0) -> None:
        there = scenarios(folder)
        if scenario is None and len(there) > 1:
            raise BagError(f"{folder} holds scenarios {', '.join(map(str, there))}; name one: --scenario N")
        self._data = gathered(folder, there[0] if scenario is None else scenario)
        self._stamps = drive_stamps(self._data.drive, rate)
        self.count = len(self._data.drive)
        self.assumed = [f"the data has no stamps: samples are {rate:g} a second, drives {GAP:g} s apart"]

    def samples(self, tally: Tally) -> Iterator[list[Record]]:
        """See `Source`."""
        data = self._data
        for stamp, power, terminal, base, drive in zip(
            self._stamps.tolist(), data.power, data.terminal, data.base, data.drive.tolist(), strict=True
        ):
            yield [
                deepsense_power_record(power, stamp, str(drive)),
                terminal_record(terminal, stamp),
                base_record(base, stamp),
            ]

"""DeepSense 6G (Alkhateeb et al., IEEE Communications Magazine 61(9), 2023): scenario folders and the multi-modal challenge's.

A CSV indexes files by paths relative to itself. A scenario's row is one sample (unit1_rgb, unit1_radar, unit1_lidar,
unit1_pwr_60ghz, unit1_beam, unit1_loc, unit2_loc, seq_index, time_stamp[UTC]). A row of the challenge is a window of five
(unit1_rgb_1..5, unit1_radar_1..5, unit1_lidar_1..5, unit2_loc_1..2), of which columns without a number tell the last; windows overlap
in time and are therefore kept apart as drives of their own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.datasets.clouds import lidar_file
from mmsense_ros.data.datasets.deepsense6g_files import NOMINAL_CHIRP, cube, numbers
from mmsense_ros.data.datasets.records import (
    base_record,
    camera_records,
    deepsense_power_record,
    lidar_record,
    radar_record,
    terminal_record,
)
from mmsense_ros.data.datasets.source import FRAMES, Record, Tally
from mmsense_ros.data.datasets.stamps import GAP, clock_of, drive_stamps
from mmsense_ros.errors import BagError
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, Chirp, RadarCube

RGB, CUBE, CLOUD, POWER, BEAM = "unit1_rgb", "unit1_radar", "unit1_lidar", "unit1_pwr_60ghz", "unit1_beam"
BASE, TERMINAL, CALIBRATED = "unit1_loc", "unit2_loc", "unit2_loc_cal"
DRIVE, CLOCKS = "seq_index", ("time_stamp[UTC]", "time_stamp")
BEAMS = 64  #: of the codebook that `unit1_beam` counts in
NOTHING = ("", "nan", "none")  #: cells that name no file

#: No mounting is published: all at the array, along its boresight. The street of scenarios 31 to 34 lies at negative x of their
#: LiDAR clouds (there the challenge's entrants cut them out), so it is taken to look backwards.
NOMINAL_POSES = {
    FRAMES[CAMERA]: np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    FRAMES[RADAR]: np.eye(4),
    FRAMES[LIDAR]: np.diag([-1.0, -1, 1, 1]),
}
ASSUMED_POSES = (
    "no extrinsics are published: every sensor is at the antenna array, camera and radar along its boresight, the LiDAR turned by "
    "180 degrees about z; measure yours and give --calibration YAML"
)


@dataclass(frozen=True)
class Sample:
    """What the index says of one moment: cells by column, without the number of a window's frame."""

    cells: Mapping[str, str]
    drive: str


class DeepSense6G:
    """A CSV, or the folder of a single one. Raises BagError if it cannot be read, CalibrationError if a sensor has no pose."""

    def __init__(
        self,
        path: str | Path,
        rate: float = 10.0,
        chirp: Chirp = NOMINAL_CHIRP,
        calibration: Calibration | None = None,
    ) -> None:
        self._index = _index(Path(path))
        self._samples, windows = _samples(self._index)
        self._chirp = chirp
        self.count = len(self._samples)
        self.assumed: list[str] = []
        clock = next((name for name in CLOCKS if name in self._samples[0].cells), None)
        times = clock_of([sample.cells.get(clock, "") for sample in self._samples], windows) if clock else None
        if times is None:
            fault = f"{clock} cannot be used" if clock else "the index has no stamps"
            self.assumed.append(f"{fault}: samples are {rate:g} a second, drives {GAP:g} s apart")
        self._stamps = drive_stamps(windows, rate, times).tolist()
        used = {column for sample in self._samples for column in sample.cells}
        sensors = {FRAMES[sensor] for sensor, column in ((CAMERA, RGB), (RADAR, CUBE), (LIDAR, CLOUD)) if column in used}
        if calibration is None and sensors:
            self.assumed.append(ASSUMED_POSES)
        given = calibration.antenna_from if calibration else NOMINAL_POSES.__getitem__
        self.poses = {frame: given(frame) for frame in FRAMES.values() if frame in sensors}
        if CUBE in used:
            self.assumed.append(f"radar cubes are taken to have {chirp}; correct it with --chirp YAML")
        if DRIVE not in used:
            self.assumed.append(
                f"the index has no {DRIVE}: {'each window' if len(set(windows)) > 1 else 'all of it'} is one drive"
            )
        if any(BEAM in sample.cells and POWER not in sample.cells for sample in self._samples):
            words = "the labelled beam's power is set to 1 and all others' to 0, so figures of lost power mean nothing"
            self.assumed.append(f"where the index has {BEAM} but no {POWER}, {words}")

    def samples(self, tally: Tally) -> Iterator[list[Record]]:
        """See `Source`."""
        readers: tuple[tuple[str, Callable[[Path, int, str], list[Record]]], ...] = (
            (CUBE, lambda path, stamp, _: [radar_record(RadarCube(stamp, FRAMES[RADAR], cube(path), self._chirp))]),
            (CLOUD, lambda path, stamp, _: [lidar_record(lidar_file(path, stamp, FRAMES[LIDAR]))]),
            (RGB, lambda path, stamp, _: camera_records(path, stamp)),
            (BASE, lambda path, stamp, _: [base_record(numbers(path, 2, -180), stamp)]),
            (TERMINAL, lambda path, stamp, _: [terminal_record(numbers(path, 2, -180), stamp)]),
            (POWER, lambda path, stamp, drive: [deepsense_power_record(numbers(path), stamp, drive)]),
        )
        for stamp, sample in zip(self._stamps, self._samples, strict=True):
            records: list[Record] = []
            for column, read in readers:
                if column in sample.cells:
                    with tally.part():
                        path = self._index.parent / sample.cells[column].replace("\\", "/")
                        records += read(path, stamp, sample.drive)
            if POWER not in sample.cells and BEAM in sample.cells:
                with tally.part():
                    label = _beam(self._index, sample.cells[BEAM])
                    records.append(deepsense_power_record(np.eye(BEAMS)[label], stamp, sample.drive))
            yield records


def _index(path: Path) -> Path:
    files = [path] if path.suffix == ".csv" else sorted(path.glob("*.csv"))
    if len(files) != 1:
        found = f"{len(files)} CSV files ({', '.join(file.name for file in files)})" if files else "no CSV file"
        raise BagError(f"{path} holds {found}; name the index of the scenario")
    return files[0]


def _samples(path: Path) -> tuple[list[Sample], np.ndarray]:
    """The samples of an index, and the stretch of time (N,) int that each belongs to."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [{(key or "").strip(): (cell or "").strip() for key, cell in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise BagError(f"{path} cannot be read as an index ({error}); copy it again") from error
    columns = rows[0] if rows else {}
    frames = max(
        (int(found[1]) for name in columns if (found := re.fullmatch(rf"(?:{RGB}|{CUBE}|{CLOUD})_(\d+)", name))), default=0
    )
    if not frames and not {RGB, CUBE, CLOUD, POWER} & set(columns):
        raise BagError(f"{path} has columns {', '.join(columns) or 'none'}, none of DeepSense 6G's; name its index")
    samples, windows = [], []
    for number, row in enumerate(rows):
        for frame in range(1, max(frames, 1) + 1):
            last = frame == max(frames, 1)
            own = {name.removesuffix(f"_{frame}"): cell for name, cell in row.items() if name.endswith(f"_{frame}")}
            cells = {name: cell for name, cell in ((row if last else {}) | own).items() if cell.lower() not in NOTHING}
            if TERMINAL not in cells and CALIBRATED in cells:
                cells[TERMINAL] = cells[CALIBRATED]
            if cells:
                drive = row.get(DRIVE) or (str(number + 1) if frames else "1")
                samples.append(Sample(cells, drive.removesuffix(".0")))
                windows.append(number if frames else drive)
    if not samples:
        raise BagError(f"{path} names no files; name the index of a scenario")
    _, stretches = np.unique(np.array(windows), return_inverse=True)
    return samples, stretches


def _beam(path: Path, cell: str) -> int:
    """Place of a label, which counts from 1, in the codebook."""
    try:
        label = int(float(cell))
        if not 1 <= label <= BEAMS:
            raise ValueError
    except ValueError as error:
        raise BagError(f"{path}: {BEAM} {cell} is not 1..{BEAMS}; correct the index") from error
    return label - 1

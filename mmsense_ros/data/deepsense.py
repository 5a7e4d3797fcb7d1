"""DeepSense 6G (Alkhateeb et al. 2023) as gathered for Position-Beam-Prediction (Morais and Alkhateeb 2022): arrays a scenario."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsense_ros.errors import BagError

METRES_PER_DEGREE = 111_320.0  #: of latitude; a street is small enough for a flat earth
FEWEST_DRIVES = 3  #: to learn from, to calibrate and to test on


@dataclass(frozen=True)
class DriveBys:
    """N snapshots of one scenario, in time order within a drive-by."""

    scenario: int
    power: np.ndarray  #: (N, beams) linear, as received on each beam
    position: np.ndarray  #: (N, 2) [m] of the transmitter east and north of the base station, by GPS as measured
    drive: np.ndarray  #: (N,) int, number of the drive-by


def scenarios(folder: str | Path) -> list[int]:
    """Numbers of the scenarios that `folder` holds; BagError if there is none."""
    found = {re.match(r"scenario(\d+)_", path.name) for path in Path(folder).glob("scenario*_unit1_pwr_60ghz_*.npy")}
    if not any(found):
        raise BagError(f"{folder} holds no scenario*_unit1_pwr_60ghz_*.npy; name a folder of gathered DeepSense 6G arrays")
    return sorted(int(match[1]) for match in found if match)


@dataclass(frozen=True)
class Scenario:
    """N snapshots as they were gathered, in time order within a drive-by."""

    power: np.ndarray  #: (N, beams) linear, as received on each beam
    terminal: np.ndarray  #: (N, 2) latitude and longitude of the transmitter [degrees]
    base: np.ndarray  #: (N, 2) the same of the base station
    drive: np.ndarray  #: (N,) int, number of the drive-by


def gathered(folder: str | Path, scenario: int) -> Scenario:
    """One scenario's arrays; BagError names the file that is missing, damaged or at odds with the others, and the remedy."""
    path, power = _array(folder, scenario, "unit1_pwr_60ghz", float, 2)
    if power.shape[1] < 2 or not (power > 0).all():
        raise BagError(f"{path} must hold a positive power for each of several beams; gather linear power, not dB")
    count = len(power)
    _, base = _array(folder, scenario, "unit1_loc", float, 2, count)
    _, terminal = _array(folder, scenario, "unit2_loc", float, 2, count)
    _, drive = _array(folder, scenario, "seq_index", np.int64, 1, count)
    return Scenario(power, terminal, base, drive)


def load(folder: str | Path, scenario: int) -> DriveBys:
    """One scenario on the ground; BagError as by `gathered`, or if its drive-bys are too few to hold any out."""
    data = gathered(folder, scenario)
    if len(np.unique(data.drive)) < FEWEST_DRIVES:
        path, _ = _array(folder, scenario, "seq_index", np.int64, 1)
        raise BagError(f"{path} has fewer than {FEWEST_DRIVES} drive-bys, too few to hold any out; gather the whole scenario")
    north, east = ((data.terminal - data.base) * METRES_PER_DEGREE).T
    position = np.stack([east * np.cos(np.deg2rad(data.base[:, 0])), north], axis=1)
    return DriveBys(scenario, data.power, position, data.drive)


def _array(
    folder: str | Path, scenario: int, name: str, kind: type, dimensions: int, count: int | None = None
) -> tuple[Path, np.ndarray]:
    """The path and content of scenario<n>_<name>_<first>-<last>.npy, finite, of `dimensions` and `count` rows."""
    pattern = f"scenario{scenario}_{name}_[0-9]*.npy"
    paths = sorted(Path(folder).glob(pattern))
    if len(paths) != 1:
        raise BagError(f"{Path(folder) / pattern}: {len(paths)} files, one is needed; gather the scenario into a fresh folder")
    try:
        values = np.load(paths[0], allow_pickle=False).astype(kind, casting="same_kind")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise BagError(f"{paths[0]} is missing or damaged ({error}); copy it again") from error
    if values.ndim != dimensions or not len(values) or not np.isfinite(values).all():
        raise BagError(f"{paths[0]} must hold finite numbers in {dimensions} dimensions, not {values.shape}; copy it again")
    if count not in (None, len(values)) or (name.endswith("_loc") and values.shape[1] != 2):
        raise BagError(
            f"{paths[0]} has shape {values.shape}, but there are {count} snapshots; gather all arrays anew, together"
        )
    return paths[0], values

"""DeepSense 6G (Alkhateeb et al. 2023) as gathered for Position-Beam-Prediction (Morais and Alkhateeb 2022): arrays a scenario."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsense_ros.data.drivebys import FEWEST_DRIVES, DriveBys, metres
from mmsense_ros.errors import BagError

RATE = 10.0  #: [snapshots/s] nominal; the arrays have no stamps


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
    position = metres(data.terminal, data.base)
    return DriveBys(f"scenario {scenario}", data.power, position, data.drive, np.arange(len(data.drive)) / RATE)


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

"""Drive-bys: what a phased array measured of terminals that passed, and where they were. From bags, or from arrays (deepsense.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.data.topics import TRUTH_POWER, topics_of
from mmsense_ros.errors import BagError
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.link import beam_powers
from mmsense_ros.snapshot import MODALITIES, NANOSECONDS

METRES_PER_DEGREE = 111_320.0  #: of latitude; a street is small enough for a flat earth
FEWEST_DRIVES = 3  #: to learn from, to calibrate and to test on
FIX_AGE = 1.0  #: [s] from a sweep to the nearest fix, beyond which its position is not known


@dataclass(frozen=True)
class DriveBys:
    """N snapshots of one scenario, in time order within a drive-by."""

    scenario: str
    power: np.ndarray  #: (N, beams) linear, as received on each beam
    position: np.ndarray  #: (N, 2) [m] of the transmitter east and north of the base station, as measured; NaN if not known
    drive: np.ndarray  #: (N,) int, number of the drive-by
    time: np.ndarray  #: (N,) [s]


def metres(place: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(N, 2) [m] east and north of `base`, both (N, 2) latitude and longitude [degrees]."""
    north, east = ((place - base) * METRES_PER_DEGREE).T
    return np.stack([east * np.cos(np.deg2rad(base[:, 0])), north], axis=1)


def senses(path: str | Path, topics: Mapping[str, str]) -> bool:
    """Whether a bag holds any sensor's readings. `topics` renames inputs (data/topics.py). Raises BagError."""
    with BagReader(path) as bag:
        return any(name in topics_of(bag, topics, MODALITIES) for name in MODALITIES)


def drive_bys(path: str | Path, topics: Mapping[str, str], scenario: str) -> DriveBys:
    """The sweeps of a bag, each terminal a drive-by, numbered as they came, with positions from its fixes where it has any.

    `topics` renames inputs (data/topics.py). Raises BagError if there are no sweeps, or they are not positive powers of one codebook.
    """
    sweeps: list[tuple[float, str, np.ndarray]] = []
    fixes: dict[str, list[tuple[float, float, float]]] = {"terminal_fix": [], "base_fix": []}
    with BagReader(path) as bag:
        inputs = topics_of(bag, topics, MODALITIES)
        if "power" not in inputs:
            fault = f"{bag.path} has neither a sensor's readings nor sweeps on {TRUTH_POWER}"
            raise BagError(f"{fault}; name their topics: --topic INPUT=TOPIC (--inspect lists them)")
        names = {inputs[name]: name for name in ("power", *fixes) if name in inputs}
        for entry in bag.messages(names):
            message, seconds = entry.message, stamp_of(entry.message) / NANOSECONDS
            if names[entry.topic] == "power":
                sweeps.append((seconds, message.terminal, np.asarray(beam_powers(message), float)))
            else:
                fixes[names[entry.topic]].append((seconds, message.latitude, message.longitude))
    sweeps.sort(key=lambda sweep: sweep[:2])
    seconds, terminals, powers = (list(column) for column in zip(*sweeps))
    if len({len(power) for power in powers}) > 1 or not all((np.isfinite(power) & (power > 0)).all() for power in powers):
        raise BagError(f"{path}: {inputs['power']} must hold the positive powers of one codebook's beams; record it again")
    time = np.array(seconds)
    terminal, base = (_between(fixes[name], time) for name in ("terminal_fix", "base_fix"))
    numbers = {name: number for number, name in enumerate(dict.fromkeys(terminals))}
    drive = np.array([numbers[name] for name in terminals])
    order = np.argsort(drive, kind="stable")
    return DriveBys(scenario, np.array(powers)[order], metres(terminal, base)[order], drive[order], time[order])


def _between(fixes: list[tuple[float, float, float]], time: np.ndarray) -> np.ndarray:
    """Latitude and longitude (N, 2) at `time` (N,) [s], NaN where no fix is near."""
    if not fixes:
        return np.full((len(time), 2), np.nan)
    seconds, *degrees = np.array(sorted(fixes)).T
    after = np.searchsorted(seconds, time).clip(0, len(seconds) - 1)
    age = np.minimum(np.abs(time - seconds[after]), np.abs(time - seconds[(after - 1).clip(0)]))
    place = np.stack([np.interp(time, seconds, values) for values in degrees], axis=1)
    return np.where(age[:, None] <= FIX_AGE, place, np.nan)

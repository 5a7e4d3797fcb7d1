"""What a model answered and what was so, frame by frame, as columns: what reports, pictures and comparisons are made from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mmsense_ros.errors import ConfigError

DETECTIONS = ("object_", "person_")  #: columns with a row for each matched pair, not for each frame


@dataclass(frozen=True, eq=False)
class Frames:
    """N frames of one or several scenarios, in order. Truth that was not recorded is NaN, and -1 where it is an index.

    Detections are rows of their own, `*_frame` saying which frame each belongs to: M pairs of something found and the true thing it
    was matched with.
    """

    scenario: np.ndarray  #: (N,) str, name of the bag
    stamp: np.ndarray  #: (N,) int64 [ns]
    beam: np.ndarray  #: (N, beams) float32, calibrated probabilities now
    ahead: np.ndarray  #: (N, beams) float32, the same at the horizon
    sweep: np.ndarray  #: (N, beams) bool, the conformal set now
    sweep_ahead: np.ndarray  #: (N, beams) bool
    power: np.ndarray  #: (N, beams) linear, measured
    terminal: np.ndarray  #: (N,) str, whose power it is, empty if not known
    noise_free: np.ndarray  #: (N, beams) linear, exact
    best_ahead: np.ndarray  #: (N,) int, the best beam at the horizon
    blockage: np.ndarray  #: (N, 2) probability, now and ahead
    blocked: np.ndarray  #: (N, 2) 0 or 1
    pathloss: np.ndarray  #: (N,) [dB]
    true_pathloss: np.ndarray  #: (N,) [dB]
    traffic: np.ndarray  #: (N, labels) expected number of vehicles of each class
    true_traffic: np.ndarray  #: (N, labels)
    gate: np.ndarray  #: (N, 3) weights of camera, radar, LiDAR
    latency: np.ndarray  #: (N,) [ms] from readings to answers
    objects: np.ndarray  #: (N, 2) int, how many vehicles were found, and how many there were; -1 if not known
    people: np.ndarray  #: (N, 2) int
    object_frame: np.ndarray  #: (M,) int, the frame of each matched vehicle
    object_range: np.ndarray  #: (M,) [m] true distance from the array
    object_error: np.ndarray  #: (M,) [m] on the ground
    object_agreed: np.ndarray  #: (M,) 1 if its class was right, 0 if not, NaN if it is not known
    person_frame: np.ndarray
    person_range: np.ndarray
    person_error: np.ndarray
    person_agreed: np.ndarray  #: (M,) the same of their activity

    def __len__(self) -> int:
        return len(self.stamp)

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: frames of which the power of every beam was measured."""
        return np.isfinite(self.power).all(axis=1)

    def only(self, rows: np.ndarray) -> Frames:
        """The frames `rows` (n,) int, in that order, a frame as often as it is named."""
        rows = np.arange(len(self))[np.asarray(rows, np.int64)]
        columns = {name: values[rows] for name, values in self._columns().items() if not name.startswith(DETECTIONS)}
        for kind in DETECTIONS:
            frame = getattr(self, f"{kind}frame")
            order = np.argsort(frame, kind="stable")
            first, last = (np.searchsorted(frame[order], rows, side) for side in ("left", "right"))
            count = last - first
            place = np.arange(count.sum()) + np.repeat(first - (np.cumsum(count) - count), count)
            columns |= {name: values[order[place]] for name, values in self._columns().items() if name.startswith(kind)}
            columns[f"{kind}frame"] = np.repeat(np.arange(len(rows)), count)
        return Frames(**columns)

    @classmethod
    def joined(cls, parts: Sequence[Frames]) -> Frames:
        """All frames of several recordings, at least one, one after another."""
        starts = np.cumsum([0, *(len(part) for part in parts)])
        columns = {}
        for name in (field.name for field in fields(cls)):
            values = [getattr(part, name) for part in parts]
            if name.endswith("_frame"):
                values = [frame + start for frame, start in zip(values, starts[:-1], strict=True)]
            columns[name] = np.concatenate(values)
        return cls(**columns)

    def save(self, path: Path) -> None:
        """Writes an .npz."""
        np.savez_compressed(path, **self._columns())

    @classmethod
    def load(cls, path: Path) -> Frames:
        """Reads one. Raises ConfigError, naming the file, if it is missing, damaged or of another version."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
            raise ConfigError(f"{path} is missing or damaged ({error}); run `mmsense evaluate` again") from error

    def _columns(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

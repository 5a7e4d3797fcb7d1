"""`Sensing`: what MMSense answers about one snapshot, before it becomes a message, a picture or a score.

Units and ranges are those of msg/SensingResult.msg and its parts; positions are in the `antenna_array` frame (REP-103).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class BeamForecast:
    """Beams towards the terminal, `horizon` seconds ahead.

    `probabilities` (beams,) float32 over the whole codebook, calibrated; `sweep_set` (n,) int, the conformal set, most likely
    first; `expected_power_loss` [dB].
    """

    horizon: float
    probabilities: np.ndarray
    sweep_set: np.ndarray
    coverage: float
    expected_power_loss: float

    @property
    def ranked(self) -> np.ndarray:
        """All beam indices, most likely first, (beams,) int."""
        return np.argsort(-self.probabilities, kind="stable")

    @property
    def best(self) -> int:
        """The most likely beam."""
        return int(np.argmax(self.probabilities))

    @property
    def sweep_saving(self) -> float:
        """Part of the exhaustive sweep that the conformal set saves, 0..1."""
        return 1.0 - len(self.sweep_set) / len(self.probabilities)


@dataclass(frozen=True)
class SensedObject:
    """A vehicle: `position`, `velocity`, `size` are (x, y, z) tuples."""

    label: str
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float
    score: float


@dataclass(frozen=True)
class SensedPerson:
    """A person and what they do."""

    position: tuple[float, float, float]
    activity: str
    activity_probability: float
    score: float


@dataclass(frozen=True)
class ModalityState:
    """What one sensor contributed: gate weight 0..1 and age [s] (NaN if not available)."""

    modality: str
    available: bool
    gate: float
    age: float


@dataclass(frozen=True, eq=False)
class Sensing:
    """All answers about the snapshot stamped `stamp` [ns]."""

    stamp: int
    frame_id: str
    instruction: str
    modalities: tuple[ModalityState, ...]
    beam: BeamForecast
    beam_ahead: BeamForecast
    blockage: float
    blockage_ahead: float
    pathloss: float
    objects: tuple[SensedObject, ...] = ()
    people: tuple[SensedPerson, ...] = ()
    traffic: Mapping[str, float] = field(default_factory=dict)
    engine: str = ""
    precision: str = ""
    latency_ms: Mapping[str, float] = field(default_factory=dict)

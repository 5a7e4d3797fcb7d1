"""The beam codebook: which directions the phased array can point at, and what the array makes of a direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

MIRRORED = "_mirrored"  #: ends the name of a codebook in messages whose beam 0 points furthest to the right


@dataclass(frozen=True)
class Codebook:
    """Beams of a half-wavelength uniform linear array, uniform in azimuth.

    Beam 0 points furthest to the left (+y), the last beam furthest to the right, as columns lie in an image seen along
    boresight. The same axis is the azimuth axis of the radar and LiDAR maps: column k of a 64-column map is beam k.
    """

    elements: int = 16
    beams: int = 64
    half_view: float = np.pi / 4  #: [rad] the beams cover -half_view..half_view
    carrier: float = 60.48e9  #: [Hz]

    @property
    def name(self) -> str:
        """Short name for messages, such as `ula16x64`."""
        return f"ula{self.elements}x{self.beams}"

    @cached_property
    def azimuths(self) -> np.ndarray:
        """Direction of each beam, (beams,) [rad], counter-clockwise from boresight, descending."""
        step = 2 * self.half_view / self.beams
        return self.half_view - step * (np.arange(self.beams) + 0.5)

    def steering(self, azimuth: np.ndarray) -> np.ndarray:
        """Array response (..., elements) complex to plane waves from `azimuth` (...) [rad]; each entry has modulus 1."""
        n = np.arange(self.elements) - (self.elements - 1) / 2
        return np.exp(1j * np.pi * np.sin(np.asarray(azimuth))[..., None] * n)

    @cached_property
    def weights(self) -> np.ndarray:
        """Unit-norm beamforming weights, (beams, elements) complex."""
        return self.steering(self.azimuths) / np.sqrt(self.elements)

    def beam_of(self, azimuth: np.ndarray) -> np.ndarray:
        """Index of the beam nearest to `azimuth` [rad], clipped to the codebook."""
        step = 2 * self.half_view / self.beams
        return np.clip(np.floor((self.half_view - np.asarray(azimuth)) / step).astype(int), 0, self.beams - 1)

"""The FMCW radar: an ADC cube summed from scatterers.

A scatterer at range R, azimuth theta (positive left) and radial velocity v adds, at receive antenna k, sample n and chirp m,
a exp(j 2 pi (2 R slope n / (c f_s) + 2 v f_0 m T_c / c - k d sin(theta))): beat frequency grows with range, slow-time
frequency is positive for what recedes (Richards, Fundamentals of Radar Signal Processing, 2nd ed., ch. 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.sensors.radar import LIGHT
from mmsense_ros.snapshot import Chirp

CHIRP = Chirp(start_frequency=77e9, slope=17e12, sample_rate=10e6, chirp_interval=60e-6, rx_spacing=0.5)
RX, SAMPLES, CHIRPS = 4, 256, 128
GAIN = 6000.0  #: amplitude of a 1 m^2 scatterer at 10 m, in ADC steps times 100
NOISE = 12.0  #: [ADC steps] rms of each of I and Q


@dataclass(frozen=True, eq=False)
class Scatterers:
    """N points that send echoes back: `distance` [m], `azimuth` [rad], radial `velocity` [m/s], `rcs` [m^2], `phase` [rad], (N,) each."""

    distance: np.ndarray
    azimuth: np.ndarray
    velocity: np.ndarray
    rcs: np.ndarray
    phase: np.ndarray

    def echoes(self) -> tuple[np.ndarray, np.ndarray]:
        """Fast-time signals (N, SAMPLES) and their amplitudes at each antenna (RX, N), complex64."""
        amplitude = GAIN * np.sqrt(self.rcs) / np.maximum(self.distance, 2.0) ** 2 * np.exp(1j * self.phase)
        beat = 2 * self.distance * CHIRP.slope / (LIGHT * CHIRP.sample_rate)
        across = np.exp(-2j * np.pi * CHIRP.rx_spacing * np.sin(self.azimuth) * np.arange(RX)[:, None]) * amplitude
        return _tones(beat, SAMPLES), across.astype(np.complex64)


def still_echo(scatterers: Scatterers) -> np.ndarray:
    """What scatterers that never move add to every chirp, (RX, SAMPLES) complex64."""
    fast, across = scatterers.echoes()
    return across @ fast


def adc_cube(moving: Scatterers, still: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Samples (RX, SAMPLES, CHIRPS) complex64, whole ADC steps, of what moves, of a `still_echo` and of noise."""
    fast, across = moving.echoes()
    slow = _tones(2 * moving.velocity * CHIRP.start_frequency * CHIRP.chirp_interval / LIGHT, CHIRPS)
    cube = NOISE * noise.standard_normal((RX, SAMPLES, CHIRPS, 2), np.float32).view(np.complex64)[..., 0]
    cube += still[:, :, None]
    # In doubles: how many threads share the product changes its last digit, which must not change a whole step.
    slow = slow.astype(np.complex128)
    for k in range(RX):
        cube[k] += (fast * across[k][:, None]).T.astype(np.complex128) @ slow
    steps = np.rint(cube.view(np.float32))
    return np.clip(steps, -32768, 32767, out=steps).view(np.complex64)


def _tones(frequency: np.ndarray, count: int) -> np.ndarray:
    """exp(j 2 pi f n), (N, count) complex64, of frequencies (N,) in cycles a step."""
    turns = np.mod(frequency[:, None] * np.arange(count), 1.0).astype(np.float32) * np.float32(2 * np.pi)
    tones = np.empty(turns.shape, np.complex64)
    np.cos(turns, out=tones.real)
    np.sin(turns, out=tones.imag)
    return tones

"""Radar: ADC cube or detections to a polar map of power, mean Doppler and the power of what moves.

From a cube: windowed range and Doppler FFTs; then, a range bin, the antennas' covariance R = sum_d x_d x_d^H over the Doppler
bins d. Capon's weights w = R^-1 s / (s^H R^-1 s) towards each azimuth give power w^H R w (Capon, Proc. IEEE 57(8), 1969). The same
weights read S = sum_d x_d x_d^H over the bins that stand out of the noise only, and, over those of them that are none of the few
around zero, where walls and the ground are, M0 = sum_m x_m x_m^H and M1 = sum_m v_m x_m x_m^H. Mean Doppler is w^H M1 w / w^H S w:
bins of noise alone have no part in it. The power of what moves is w^H M0 w. Both powers are over one floor, that of the noise in all
Doppler bins together. A radar without elevation measures slant range; rows are taken as such.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import Chirp, RadarCube, RadarPoints

LIGHT = 299_792_458.0  #: [m/s]
POWER_UNIT = 40.0  #: [dB] one unit of the power channel, above the noise floor
TINY = 1e-12  #: power of nothing
VELOCITY_UNIT = 10.0  #: [m/s] one unit of the Doppler channel
DETECTED = 4.0  #: over the median energy of all range and Doppler bins, from which a bin is more than noise
LEAK = 1e-4  #: part of the strongest bin at its range up to which a bin may be what the window lets through of that
SHORT_LEAK = 0.25  #: the same, times the square of the chirps, where these are few: the window's zeros lie beside the bins then
STILL_BINS = 2  #: Doppler bins from zero at which something moves: the window spreads what stands still over those nearer
STILL_SPEED = 0.2  #: [m/s] up to which a detection stands still
LOADING = 0.02  #: diagonal loading of the covariance, relative to its mean diagonal


def radar_map(reading: RadarCube | RadarPoints, antenna_from_radar: np.ndarray, grid: PolarGrid) -> np.ndarray:
    """(3, rows, columns) float32: power over the noise floor [40 dB], mean radial velocity [10 m/s], power of what moves [40 dB].

    All are 0 where nothing is.
    """
    if isinstance(reading, RadarCube):
        return _cube_map(reading, antenna_from_radar, grid)
    return _points_map(reading, antenna_from_radar, grid)


def _points_map(reading: RadarPoints, antenna_from_radar: np.ndarray, grid: PolarGrid) -> np.ndarray:
    x, y, _ = antenna_from_radar[:3, :3] @ reading.xyz.T + antenna_from_radar[:3, 3:]
    cell, inside = grid.cells(x, y)
    cell, velocity = cell[inside], reading.velocity[inside].astype(np.float64)
    power = 10 ** (np.clip(reading.intensity[inside].astype(np.float64), -60, 120) / 10)
    moving = power * (np.abs(velocity) > STILL_SPEED)
    total, moving_power, drift = (
        np.bincount(cell, weights=weights, minlength=grid.rows * grid.columns) for weights in (power, moving, moving * velocity)
    )
    channels = np.stack([_units(total), drift / np.maximum(total, TINY) / VELOCITY_UNIT, _units(moving_power)])
    return channels.astype(np.float32).reshape(3, *grid.shape)


def _cube_map(reading: RadarCube, antenna_from_radar: np.ndarray, grid: PolarGrid) -> np.ndarray:
    rx, samples, chirps = reading.adc.shape
    chirp = reading.chirp
    unambiguous = samples if np.iscomplexobj(reading.adc) else samples // 2
    bins = max(min(int(np.ceil((grid.max_range + 3) / range_bin(chirp, samples))), unambiguous), 1)
    fast_window, slow_window = _windows(samples, chirps)
    adc = np.conj(reading.adc) if chirp.slope < 0 else reading.adc  # a falling chirp turns the beat frequency round
    spectrum = fft.fft(adc * fast_window[:, None], axis=1)[:, :bins] * slow_window
    # (bins, rx, chirps): Doppler last, so that covariances are plain matrix products.
    doppler = fft.fft(spectrum, axis=2).transpose(1, 0, 2)
    steps = fft.fftfreq(chirps, 1 / chirps).astype(np.float32)
    velocity = steps * np.float32(LIGHT / (2 * chirp.start_frequency * chirp.chirp_interval * chirps))
    if chirp.slope < 0:
        velocity = -velocity
    energy = np.einsum("rkd,rkd->rd", doppler.real, doppler.real) + np.einsum("rkd,rkd->rd", doppler.imag, doppler.imag)
    seen = energy > np.maximum(
        DETECTED * np.median(energy), max(LEAK, SHORT_LEAK / chirps**2) * energy.max(axis=1, keepdims=True)
    )
    moving = seen & (np.abs(steps) >= STILL_BINS)
    conjugate = doppler.conj().transpose(0, 2, 1)
    moved = doppler * moving[:, None]
    covariance, *parts = (
        np.matmul(weighed, conjugate) for weighed in (doppler, doppler * seen[:, None], moved, moved * velocity)
    )
    level = np.trace(covariance, axis1=1, axis2=2).real / rx
    loaded = covariance + (LOADING * level + 1e-9)[:, None, None] * np.eye(rx, dtype=covariance.dtype)
    steering = _steering(rx, chirp.rx_spacing, grid)
    if chirp.slope < 0:
        steering = steering.conj()
    weights = np.linalg.solve(loaded, np.broadcast_to(steering, (bins, *steering.shape)))
    weights /= np.einsum("ka,rka->ra", steering.conj(), weights).real[:, None, :]
    power, seen_power, moving_power, drift = (
        np.einsum("rka,rka->ra", weights.conj(), np.matmul(part, weights)).real for part in (covariance, *parts)
    )
    floor = max(float(np.percentile(power, 10)), TINY)
    mean = np.where(moving_power > floor, drift / np.maximum(seen_power, TINY), 0) / VELOCITY_UNIT
    polar = np.stack([_units(power / floor), mean, _units(moving_power / floor)], axis=-1)
    columns, rows = _lookup(antenna_from_radar.tobytes(), range_bin(chirp, samples), grid)
    resampled = cv2.remap(
        polar.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.ascontiguousarray(resampled.transpose(2, 0, 1))


def _units(power: np.ndarray) -> np.ndarray:
    """Power over the noise floor in POWER_UNIT, 0 to 2."""
    return np.clip(10 * np.log10(np.maximum(power, TINY)) / POWER_UNIT, 0, 2)


def range_bin(chirp: Chirp, samples: int) -> float:
    """Depth of a range bin [m] of an FFT over `samples`."""
    return LIGHT * chirp.sample_rate / (2 * abs(chirp.slope) * samples)


@lru_cache(maxsize=4)
def _windows(samples: int, chirps: int) -> tuple[np.ndarray, np.ndarray]:
    return np.hanning(samples).astype(np.float32), np.hanning(chirps).astype(np.float32)


@lru_cache(maxsize=4)
def _steering(rx: int, spacing: float, grid: PolarGrid) -> np.ndarray:
    """(rx, columns) complex64 responses to the radar's own azimuths, spread as the grid's columns."""
    phase = -2 * np.pi * spacing * np.arange(rx)[:, None] * np.sin(grid.azimuths)
    return np.exp(1j * phase).astype(np.complex64)


@lru_cache(maxsize=8)
def _lookup(antenna_from_radar: bytes, bin_depth: float, grid: PolarGrid) -> tuple[np.ndarray, np.ndarray]:
    """Where in the radar's (bin, azimuth) image each cell of the grid lies: column and row (rows, columns) float32."""
    pose = np.frombuffer(antenna_from_radar).reshape(4, 4)
    distance = (np.arange(grid.rows)[:, None] + 0.5) * grid.range_step
    place = np.stack(
        [distance * np.cos(grid.azimuths), distance * np.sin(grid.azimuths), np.full(grid.shape, pose[2, 3])], axis=-1
    )
    local = (place - pose[:3, 3]) @ pose[:3, :3]
    azimuth = np.arctan2(local[..., 1], local[..., 0])
    column = (grid.half_view - azimuth) / grid.azimuth_step - 0.5
    # Half a column beyond the outermost centres still belongs to them.
    column = np.where((column > -0.75) & (column < grid.columns - 0.25), np.clip(column, 0, grid.columns - 1), -10)
    return column.astype(np.float32), (np.linalg.norm(local, axis=-1) / bin_depth).astype(np.float32)

"""Radar: ADC cube or detections to a polar map of power, mean Doppler and Doppler spread.

From a cube: windowed range and Doppler FFTs; then, a range bin, the antennas' covariance R = sum_d x_d x_d^H over the Doppler
bins and its first two Doppler moments R1, R2 (weighted by v_d, v_d^2). Capon's weights w = R^-1 s / (s^H R^-1 s) towards each
azimuth give power w^H R w, mean Doppler w^H R1 w / w^H R w and spread (Capon, Proc. IEEE 57(8), 1969). A radar without
elevation measures slant range; rows are taken as such.
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
VELOCITY_UNIT = 10.0  #: [m/s] one unit of the Doppler channels
CLEAR = 15.0  #: [dB] above the noise floor from which a cell's Doppler is taken in full
LOADING = 0.02  #: diagonal loading of the covariance, relative to its mean diagonal


def radar_map(reading: RadarCube | RadarPoints, antenna_from_radar: np.ndarray, grid: PolarGrid) -> np.ndarray:
    """(3, rows, columns) float32: power over the noise floor [40 dB], mean and spread of radial velocity [10 m/s]; else 0."""
    if isinstance(reading, RadarCube):
        return _cube_map(reading, antenna_from_radar, grid)
    return _points_map(reading, antenna_from_radar, grid)


def _points_map(reading: RadarPoints, antenna_from_radar: np.ndarray, grid: PolarGrid) -> np.ndarray:
    x, y, _ = antenna_from_radar[:3, :3] @ reading.xyz.T + antenna_from_radar[:3, 3:]
    cell, inside = grid.cells(x, y)
    cell, velocity = cell[inside], reading.velocity[inside].astype(np.float64)
    power = 10 ** (np.clip(reading.intensity[inside].astype(np.float64), -60, 120) / 10)
    total, first, second = (
        np.bincount(cell, weights=power * velocity**moment, minlength=grid.rows * grid.columns) for moment in range(3)
    )
    met = total > 0
    channels = np.zeros((3, len(total)), np.float32)
    mean = first[met] / total[met]
    channels[0, met] = np.clip(10 * np.log10(total[met]) / POWER_UNIT, 0, 2)
    channels[1, met] = mean / VELOCITY_UNIT
    channels[2, met] = np.sqrt(np.maximum(second[met] / total[met] - mean**2, 0)) / VELOCITY_UNIT
    return channels.reshape(3, *grid.shape)


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
    velocity = fft.fftfreq(chirps, chirp.chirp_interval).astype(np.float32) * np.float32(LIGHT / (2 * chirp.start_frequency))
    if chirp.slope < 0:
        velocity = -velocity
    conjugate = doppler.conj().transpose(0, 2, 1)
    zeroth, first, second = (np.matmul(doppler * velocity**moment, conjugate) for moment in range(3))
    level = np.trace(zeroth, axis1=1, axis2=2).real / rx
    loaded = zeroth + (LOADING * level + 1e-9)[:, None, None] * np.eye(rx, dtype=zeroth.dtype)
    steering = _steering(rx, chirp.rx_spacing, grid)
    if chirp.slope < 0:
        steering = steering.conj()
    weights = np.linalg.solve(loaded, np.broadcast_to(steering, (bins, *steering.shape)))
    weights /= np.einsum("ka,rka->ra", steering.conj(), weights).real[:, None, :]
    power, drift, scatter = (
        np.einsum("rka,rka->ra", weights.conj(), np.matmul(moment, weights)).real for moment in (zeroth, first, second)
    )
    mean = drift / np.maximum(power, 1e-12)
    spread = np.sqrt(np.maximum(scatter / np.maximum(power, 1e-12) - mean**2, 0))
    over_noise = 10 * np.log10(np.maximum(power, 1e-12) / max(float(np.percentile(power, 10)), 1e-12))
    clear = np.clip(over_noise / CLEAR, 0, 1) / VELOCITY_UNIT  # the Doppler of noise means nothing
    polar = np.stack([np.clip(over_noise / POWER_UNIT, 0, 2), mean * clear, spread * clear], axis=-1)
    columns, rows = _lookup(antenna_from_radar.tobytes(), range_bin(chirp, samples), grid)
    resampled = cv2.remap(
        polar.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.ascontiguousarray(resampled.transpose(2, 0, 1))


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

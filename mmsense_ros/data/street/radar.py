"""The FMCW radar: an ADC cube summed from scatterers, and the detections a CFAR detector takes from it.

A scatterer at range R, azimuth theta (positive left) and radial velocity v adds, at receive antenna k, sample n and chirp m,
a exp(j 2 pi (2 R slope n / (c f_s) + 2 v f_0 m T_c / c - k d sin(theta))): beat frequency grows with range, slow-time
frequency is positive for what recedes (Richards, Fundamentals of Radar Signal Processing, 2nd ed., ch. 8).
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from mmsense_ros.snapshot import Chirp, RadarCube, RadarPoints

LIGHT = 299_792_458.0  #: [m/s]
CHIRP = Chirp(start_frequency=77e9, slope=17e12, sample_rate=10e6, chirp_interval=60e-6, rx_spacing=0.5)
RX, SAMPLES, CHIRPS = 4, 256, 128
GAIN = 6000.0  #: amplitude of a 1 m^2 scatterer at 10 m, in ADC steps times 100
NOISE = 12.0  #: [ADC steps] rms of each of I and Q
TRAINING, GUARD = 12, 3  #: CFAR cells on either side, in range
FACTOR = 6.0  #: detection threshold over the local noise
MOST = 256  #: detections of one frame


def adc_cube(
    distance: np.ndarray, azimuth: np.ndarray, velocity: np.ndarray, rcs: np.ndarray, phase: np.ndarray, noise: np.random.Generator
) -> np.ndarray:
    """Samples (RX, SAMPLES, CHIRPS) complex64, whole ADC steps, of N scatterers: [m], [rad], [m/s], [m^2], [rad]."""
    amplitude = GAIN * np.sqrt(rcs) / np.maximum(distance, 2.0) ** 2 * np.exp(1j * phase)
    beat = 2 * distance * CHIRP.slope / (LIGHT * CHIRP.sample_rate)
    doppler = 2 * velocity * CHIRP.start_frequency * CHIRP.chirp_interval / LIGHT
    fast = np.exp(2j * np.pi * beat * np.arange(SAMPLES)[:, None]).astype(np.complex64)
    slow = np.exp(2j * np.pi * doppler * np.arange(CHIRPS)[:, None]).astype(np.complex64)
    across = np.exp(-2j * np.pi * CHIRP.rx_spacing * np.sin(azimuth) * np.arange(RX)[:, None]) * amplitude
    cube = np.empty((RX, SAMPLES, CHIRPS), np.complex64)
    for k in range(RX):
        cube[k] = (fast * across[k].astype(np.complex64)) @ slow.T
    cube += NOISE * noise.standard_normal((*cube.shape, 2), np.float32).view(np.complex64)[..., 0]
    steps = np.clip(np.rint(cube.view(np.float32)), -32768, 32767)
    return steps.view(np.complex64)


def detect(cube: RadarCube) -> RadarPoints:
    """Detections by cell-averaging CFAR over the range-Doppler map; azimuth from a zero-padded FFT over the antennas.

    The array is horizontal, so elevation is unknown: points lie in the plane z = 0 of the radar.
    """
    rx, samples, chirps = cube.adc.shape
    chirp = cube.chirp
    window = np.outer(np.hanning(samples), np.hanning(chirps)).astype(np.float32)
    spectrum = fft.fftshift(fft.fft2(cube.adc * window, axes=(1, 2)), axes=2)
    power = (np.abs(spectrum) ** 2).sum(axis=0)
    reach = TRAINING + GUARD
    around = ndimage.uniform_filter1d(power, 2 * reach + 1, axis=0, mode="nearest") * (2 * reach + 1)
    within = ndimage.uniform_filter1d(power, 2 * GUARD + 1, axis=0, mode="nearest") * (2 * GUARD + 1)
    # The smaller of local and median level, so that one strong neighbour does not mask a weak one.
    local = (around - within) / (2 * TRAINING)
    floor = np.minimum(local, 3 * np.median(power))
    peak = ndimage.maximum_filter(power, size=(3, 3), mode=("nearest", "wrap")) == power
    row, column = np.nonzero(peak & (power > FACTOR * np.maximum(floor, np.median(power))))
    strongest = np.argsort(-power[row, column], kind="stable")[:MOST]
    row, column = row[strongest], column[strongest]
    bins = 64
    angles = fft.fftshift(fft.fft(spectrum[:, row, column], bins, axis=0), axes=0)
    step = np.abs(angles).argmax(axis=0) - bins // 2
    sine = np.clip(-step / bins / chirp.rx_spacing, -1, 1)
    distance = row * LIGHT * chirp.sample_rate / (2 * chirp.slope * samples)
    velocity = (column - chirps // 2) * LIGHT / (2 * chirp.start_frequency * chirp.chirp_interval * chirps)
    xyz = np.stack([distance * np.sqrt(1 - sine**2), distance * sine, np.zeros_like(distance)], axis=1)
    level = 10 * np.log10(power[row, column] / np.median(power)) if len(row) else np.zeros(0)
    return RadarPoints(cube.stamp, cube.frame_id, xyz.astype(np.float32), velocity.astype(np.float32), level.astype(np.float32))

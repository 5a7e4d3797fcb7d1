"""Detections out of an ADC cube: what the street simulator records beside its cubes, and what is shown of a radar without others."""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from mmsense_ros.sensors.radar import LIGHT, range_bin
from mmsense_ros.snapshot import RadarCube, RadarPoints

TRAINING, GUARD = 12, 3  #: CFAR cells on either side, in range
FACTOR = 6.0  #: detection threshold over the local noise
MOST = 256  #: detections of one frame
ANGLES = 64  #: at least so many steps across the field of view


def detect(cube: RadarCube) -> RadarPoints:
    """Detections by cell-averaging CFAR over the range-Doppler map; azimuth from a zero-padded FFT over the antennas.

    The array is horizontal, so elevation is unknown: points lie in the plane z = 0 of the radar.
    """
    rx, samples, chirps = cube.adc.shape
    chirp = cube.chirp
    window = np.outer(np.hanning(samples), np.hanning(chirps)).astype(np.float32)
    adc = np.conj(cube.adc) if chirp.slope < 0 else cube.adc  # a falling chirp turns the beat frequency round
    spectrum = fft.fftshift(fft.fft2(adc * window, axes=(1, 2)), axes=2)
    if not np.iscomplexobj(adc):
        spectrum = spectrum[:, : max(samples // 2, 1)]  # beyond lies the mirror image
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
    bins = max(ANGLES, rx)
    angles = fft.fftshift(fft.fft(spectrum[:, row, column], bins, axis=0), axes=0)
    turned = np.sign(chirp.slope)  # as the beat frequency, so the other phases
    sine = np.clip(-turned * (np.abs(angles).argmax(axis=0) - bins // 2) / bins / chirp.rx_spacing, -1, 1)
    distance = row * range_bin(chirp, samples)
    velocity = turned * (column - chirps // 2) * LIGHT / (2 * chirp.start_frequency * chirp.chirp_interval * chirps)
    xyz = np.stack([distance * np.sqrt(1 - sine**2), distance * sine, np.zeros_like(distance)], axis=1)
    level = 10 * np.log10(power[row, column] / np.median(power)) if len(row) else np.zeros(0)
    return RadarPoints(cube.stamp, cube.frame_id, xyz.astype(np.float32), velocity.astype(np.float32), level.astype(np.float32))

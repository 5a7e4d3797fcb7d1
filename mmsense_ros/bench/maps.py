"""What each sensor's map costs, beside the same map written the obvious way in numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mmsense_ros.evaluation.metrics import percentiles
from mmsense_ros.sensors.camera import camera_map
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.sensors.lidar import DENSITY_UNIT, HEIGHT_UNIT, lidar_map
from mmsense_ros.sensors.radar import (
    DETECTED,
    LEAK,
    LIGHT,
    LOADING,
    POWER_UNIT,
    SHORT_LEAK,
    STILL_BINS,
    STILL_SPEED,
    VELOCITY_UNIT,
    radar_map,
    range_bin,
)
from mmsense_ros.snapshot import CameraReading, Chirp, LidarReading, RadarCube, RadarPoints

GRID = PolarGrid()
SIZE = (160, 120)
STILL = np.eye(4)
CHIRP = Chirp(start_frequency=77e9, slope=17e12, sample_rate=10e6, chirp_interval=60e-6, rx_spacing=0.5)


def run(json_file: Path | None = None, repeats: int = 100) -> dict[str, Any]:
    """Print latencies [ms] of `repeats` maps each and, as `differs`, how far ours are from the obvious ones at most."""
    figures: dict[str, Any] = {}
    table = Table("map", "p50 (ms)", "p95 (ms)", "p99 (ms)", "numpy (ms)", "differs", box=None, header_style="bold")
    for name, (ours, obvious) in contenders().items():
        differs = float(np.abs(ours() - obvious()).max())
        latency = percentiles([_timed(ours) for _ in range(repeats)])
        plain = float(np.median([_timed(obvious) for _ in range(max(repeats // 20, 3))]))
        figures[name] = {"latency_ms": latency, "numpy_ms": plain, "differs": differs}
        table.add_row(name, *(f"{value:.2f}" for value in latency.values()), f"{plain:.2f}", f"{differs:.1g}")
    Console().print(table)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def contenders() -> dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]]:
    """Name -> (our map, the obvious one) of made-up readings of usual sizes."""
    rng = np.random.default_rng(0)
    pairs: dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]] = {}
    for width, height in ((640, 480), (1280, 720)):
        image = CameraReading(0, "camera", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        pairs[f"camera {width}x{height}"] = partial(camera_map, image, SIZE), partial(obvious_camera, image)
    for points in (30_000, 120_000):
        sweep = LidarReading(0, "lidar", _places(rng, points), rng.random(points, np.float32))
        pairs[f"lidar {points // 1000}k points"] = partial(lidar_map, sweep, STILL, GRID), partial(obvious_lidar, sweep)
    velocity, level = rng.normal(0, 5, 200).astype(np.float32), rng.uniform(5, 40, 200).astype(np.float32)
    detections = RadarPoints(0, "radar", _places(rng, 200), velocity, level)
    pairs["radar 200 points"] = partial(radar_map, detections, STILL, GRID), partial(obvious_points, detections)
    cube = RadarCube(0, "radar", _samples(rng), CHIRP)
    pairs["radar cube 4x256x128"] = partial(radar_map, cube, STILL, GRID), partial(obvious_cube, cube)
    return pairs


def obvious_camera(reading: CameraReading) -> np.ndarray:
    """The mean of each block of pixels."""
    height, width, _ = reading.image.shape
    blocks = reading.image.reshape(SIZE[1], height // SIZE[1], SIZE[0], width // SIZE[0], 3)
    return (blocks.mean(axis=(1, 3)) / 255).transpose(2, 0, 1).astype(np.float32)


def obvious_lidar(reading: LidarReading) -> np.ndarray:
    """Point by point with ufunc.at."""
    row, column, inside = _cells(reading.xyz)
    height, intensity, count = np.full(GRID.shape, -np.inf), np.zeros(GRID.shape), np.zeros(GRID.shape)
    np.maximum.at(height, (row, column), reading.xyz[inside, 2])
    np.add.at(intensity, (row, column), reading.intensity[inside])
    np.add.at(count, (row, column), 1)
    met = count > 0
    return np.stack(
        [np.where(met, height / HEIGHT_UNIT, 0), intensity / np.maximum(count, 1), np.log1p(count) / DENSITY_UNIT]
    ).astype(np.float32)


def obvious_points(reading: RadarPoints) -> np.ndarray:
    """Detection by detection with ufunc.at."""
    row, column, inside = _cells(reading.xyz)
    power, velocity = 10 ** (reading.intensity[inside].astype(float) / 10), reading.velocity[inside].astype(float)
    moving = np.abs(velocity) > STILL_SPEED
    total, moved, drift = np.zeros((3, *GRID.shape))
    np.add.at(total, (row, column), power)
    np.add.at(moved, (row, column), power * moving)
    np.add.at(drift, (row, column), power * moving * velocity)
    mean = np.divide(drift, total, out=np.zeros(GRID.shape), where=moved > 0)
    return np.stack([_level(total), mean / VELOCITY_UNIT, _level(moved)]).astype(np.float32)


def obvious_cube(reading: RadarCube) -> np.ndarray:
    """Range bin by range bin, azimuth by azimuth, in double precision."""
    rx, samples, chirps = reading.adc.shape
    chirp, depth = reading.chirp, range_bin(reading.chirp, samples)
    window = np.hanning(samples)[:, None] * np.hanning(chirps)
    spectrum = np.fft.fft2(reading.adc * window, axes=(1, 2))
    velocity = np.fft.fftfreq(chirps, chirp.chirp_interval) * LIGHT / (2 * chirp.start_frequency)
    bins = min(int(np.ceil((GRID.max_range + 3) / depth)), samples)
    energy = (np.abs(spectrum[:, :bins]) ** 2).sum(axis=0)
    seen = energy > np.maximum(
        DETECTED * np.median(energy), max(LEAK, SHORT_LEAK / chirps**2) * energy.max(axis=1, keepdims=True)
    )
    moving = seen & (np.abs(np.fft.fftfreq(chirps, 1 / chirps)) >= STILL_BINS)
    power, moved, mean = np.zeros((3, bins, GRID.columns))
    for r in range(bins):
        x = spectrum[:, r]
        covariance = x @ x.conj().T
        inverse = np.linalg.inv(covariance + (LOADING * np.trace(covariance).real / rx + 1e-9) * np.eye(rx))
        for k, azimuth in enumerate(GRID.azimuths):
            steering = np.exp(-2j * np.pi * chirp.rx_spacing * np.arange(rx) * np.sin(azimuth))
            weights = inverse @ steering / (steering.conj() @ inverse @ steering)
            doppler = np.abs(weights.conj() @ x) ** 2
            power[r, k], moved[r, k] = doppler.sum(), doppler[moving[r]].sum()
            shown = doppler[seen[r]].sum()
            mean[r, k] = doppler[moving[r]] @ velocity[moving[r]] / max(shown, 1e-12)
    floor = max(np.percentile(power, 10), 1e-12)
    distance = (np.arange(GRID.rows) + 0.5) * GRID.range_step
    channels = (_level(power / floor), np.where(moved > floor, mean, 0) / VELOCITY_UNIT, _level(moved / floor))
    resampled = [[np.interp(distance / depth, np.arange(bins), image[:, k]) for k in range(GRID.columns)] for image in channels]
    return np.array(resampled).transpose(0, 2, 1).astype(np.float32)


def _level(power: np.ndarray) -> np.ndarray:
    """Power over 1 in POWER_UNIT."""
    return np.clip(10 * np.log10(np.maximum(power, 1e-12)) / POWER_UNIT, 0, 2)


def _cells(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the points inside the grid, and which those are."""
    x, y, _ = xyz.T
    row = np.floor(np.hypot(x, y) / np.float32(GRID.range_step)).astype(int)
    column = np.floor((np.float32(GRID.half_view) - np.arctan2(y, x)) / np.float32(GRID.azimuth_step)).astype(int)
    inside = (row < GRID.rows) & (column >= 0) & (column < GRID.columns)
    return row[inside], column[inside], inside


def _places(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) float32 points in view [m], in the middle of cells so that rounding moves none to the next."""
    row, column = rng.integers(0, GRID.rows, count), rng.integers(0, GRID.columns, count)
    distance, azimuth = (row + 0.5) * GRID.range_step, GRID.azimuths[column]
    return np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(-3, 3, count)], axis=1).astype(
        np.float32
    )


def _samples(rng: np.random.Generator) -> np.ndarray:
    """(4, 256, 128) complex64 beat signals of thirty targets in noise."""
    rx, samples, chirps = 4, 256, 128
    antenna, fast, slow = np.arange(rx)[:, None, None], np.arange(samples)[:, None], np.arange(chirps)
    adc = rng.normal(0, 12, (rx, samples, chirps, 2)) @ [1, 1j]
    for beat, doppler, sine in rng.uniform((0.02, -0.4, -0.7), (0.4, 0.4, 0.7), (30, 3)):
        adc += 50 * np.exp(2j * np.pi * (beat * fast + doppler * slow - CHIRP.rx_spacing * sine * antenna))
    return adc.astype(np.complex64)


def _timed(call: Callable[[], np.ndarray]) -> float:
    began = perf_counter()
    call()
    return 1e3 * (perf_counter() - began)

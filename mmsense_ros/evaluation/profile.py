"""How a link's power falls off from its best beam: what the simulator is held against real measurements by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def offset_profile(power: np.ndarray, furthest: int = 6) -> np.ndarray:
    """Mean normalized power (furthest + 1,) at 0, 1, ... beams from the best, over both sides, of `power` (N, beams) linear."""
    power = np.asarray(power, float)
    normalized = power / power.max(axis=1, keepdims=True)
    best = normalized.argmax(axis=1)
    beams = np.arange(power.shape[1])
    away = abs(beams - best[:, None])
    return np.array([normalized[away == offset].mean() for offset in range(furthest + 1)])


def best_to_median_db(power: np.ndarray) -> float:
    """Median over samples of the best beam's power over the median beam's [dB]."""
    power = np.asarray(power, float)
    return float(np.median(10 * np.log10(power.max(axis=1) / np.median(power, axis=1))))


def simulated_power(seeds: Iterable[int], moments: int = 12, seconds: float = 30.0) -> np.ndarray:
    """Measured sweeps (N, beams) of the served vehicles of some streets; needs the extra `sim`."""
    from mmsense_ros.data.street import Street, StreetConfig

    small, sweeps = StreetConfig(width=32, height=24, lidar_lines=2, lidar_steps=8), []
    for seed in seeds:
        street = Street(seed, small, seconds)
        for t in np.linspace(0.5, seconds - 0.5, moments):
            served = street.served(float(t))
            if served is not None:
                sweeps.append(street.link(served, float(t)).power)
    return np.array(sweeps)

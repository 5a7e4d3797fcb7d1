"""The LiDAR: a fan of lines swept over the field of view, with range noise, drop-outs and intensity by material and incidence.

Through fog or rain of extinction a [1/m] an echo from range r and reflectivity q comes back as q exp(-2 a r) / r^2, and drops send
back b exp(-2 a r) / r^2 themselves (Rasshofer et al., Adv. Radio Sci. 9, 2011; Hahner et al., ICCV 2021). The last echo that is
strong enough counts, so drops are measured only where nothing behind them is.
"""

from __future__ import annotations

import numpy as np

from mmsense_ros.data.street.raycast import Scene, rays_from

RANGE_NOISE = 0.02  #: [m]
MAX_RANGE = 90.0  #: [m]
SPECIFIED = 0.1  #: reflectivity that is still measured at MAX_RANGE on a clear day
BLIND = 2.0  #: [m] nearer than which the transmitted and the received beam do not overlap
BACKSCATTER = (
    np.pi * 3.0 * 0.046 / 3.0
)  #: [m] reflectivity of drops by extinction: half a pulse of 20 ns, and 0.046 / visibility
MISTAKEN = 0.1  #: part of the drops' echoes that the sensor's filters let pass


class Lidar:
    """A scanning LiDAR at `position` in the antenna frame, axes as the antenna's, `lines` by `steps` rays over 110 degrees."""

    def __init__(self, static: Scene, position: np.ndarray, lines: int, steps: int, extinction: float = 0.0) -> None:
        self._extinction = extinction
        self.pose = np.eye(4)  #: antenna_from_lidar
        self.pose[:3, 3] = position
        elevation = np.deg2rad(np.linspace(-38.0, 4.0, lines))[:, None]
        azimuth = np.deg2rad(np.linspace(55.0, -55.0, steps))[None, :]
        x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
        z = np.broadcast_to(np.sin(elevation), x.shape)
        self._directions = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)
        self._rays = rays_from(self.pose[:3, 3], self._directions)
        hits = static.cast(self._rays)
        self._distance = hits.distance
        tint = static.parts.colour.mean(axis=1)[np.where(np.isfinite(hits.distance), hits.part, 0)] / 255
        self._intensity = tint * abs((hits.normal * self._directions).sum(axis=1))

    def sweep(self, moving: Scene, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) float32 [m] in the LiDAR's frame and intensities (N,) float32 0..1."""
        hits = moving.cast(self._rays)
        nearer = hits.distance < self._distance
        distance = np.where(nearer, hits.distance, self._distance)
        tint = moving.parts.colour.mean(axis=1)[np.where(nearer, hits.part, 0)] / 255
        incidence = abs((hits.normal * self._directions).sum(axis=1))
        intensity = np.where(nearer, tint * (0.3 + 0.7 * incidence), self._intensity)
        kept = (distance < MAX_RANGE) & (noise.random(len(distance)) > 0.02 + 0.1 * (distance / MAX_RANGE) ** 2)
        true, bright = distance[kept], intensity[kept]
        measured = true + noise.normal(0, RANGE_NOISE, len(true))
        points = (measured[:, None] * self._directions[kept]).astype(np.float32)
        strength = np.clip(bright + noise.normal(0, 0.02, len(points)), 0, 1).astype(np.float32)
        if not self._extinction:
            return points, strength
        left = np.exp(-2 * self._extinction * true)
        # What a clear day shows of darker things, it shows at no extinction here too.
        heard = np.maximum(bright, SPECIFIED) * left / true**2 >= SPECIFIED / MAX_RANGE**2
        silent = np.ones(len(distance), bool)
        silent[np.flatnonzero(kept)[heard]] = False
        drops, glint = self._drops(np.where(silent, distance, 0.0), noise)
        return np.concatenate([points[heard], drops]), np.concatenate([(strength * left.astype(np.float32))[heard], glint])

    def _drops(self, free: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) and intensities (N,) of drops, nearer than `free` (rays,) [m] along each ray."""
        away = BLIND / (1 - noise.random(len(free)))  # [m], as often as 1 / r^2 is strong
        echo = BACKSCATTER * self._extinction * np.exp(-2 * self._extinction * away) * noise.exponential(size=len(free))
        caught = (noise.random(len(free)) < MISTAKEN) & (away < free) & (echo / away**2 >= SPECIFIED / MAX_RANGE**2)
        points = away[caught, None] * self._directions[caught]
        return points.astype(np.float32), np.clip(echo[caught], 0, 1).astype(np.float32)

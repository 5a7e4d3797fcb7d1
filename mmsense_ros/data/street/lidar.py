"""The LiDAR: a fan of lines swept over the field of view, with range noise, drop-outs and intensity by material and incidence."""

from __future__ import annotations

import numpy as np

from mmsense_ros.data.street.raycast import Scene, rays_from

RANGE_NOISE = 0.02  #: [m]
MAX_RANGE = 90.0  #: [m]


class Lidar:
    """A scanning LiDAR at `position` in the antenna frame, axes as the antenna's, `lines` by `steps` rays over 110 degrees."""

    def __init__(self, static: Scene, position: np.ndarray, lines: int, steps: int) -> None:
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
        distance = distance[kept] + noise.normal(0, RANGE_NOISE, int(kept.sum()))
        points = distance[:, None] * self._directions[kept]
        return points.astype(np.float32), np.clip(intensity[kept] + noise.normal(0, 0.02, len(points)), 0, 1).astype(np.float32)

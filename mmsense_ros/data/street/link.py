"""The 60 GHz link: line of sight and first-order reflections, blocked by what stands between, into the codebook's beams.

Path gains by Friis; a blocked path loses what a knife edge takes (ITU-R P.526-15, eq. 31); reflections come from walls (image
method) and from the sides of large vehicles. What the array makes of a path is its codebook's pattern, broadened by an amplitude
taper, on a floor of diffuse scattering that follows the link's own level; a sweep is measured with noise of so many dB a beam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.codebook import Codebook

LIGHT = 299_792_458.0
WALL_LOSS, VEHICLE_LOSS = 9.0, 16.0  #: [dB] of a reflection, at 60 GHz (Maltsev et al., IEEE 802.11-09/0334r8)
SLIPPING = 0.78  #: Fresnel parameter below which an edge takes nothing


@dataclass(frozen=True)
class LinkConfig:
    """What makes the link's beams look real; the defaults match DeepSense 6G scenarios 1, 2 and 5 (docs/link_profile.png).

    `taper` of the array's amplitudes, 0 (uniform) to 1 (cosine); `floor` of diffuse power relative to the strongest beam,
    varying by `spread` [dB] from moment to moment and by `ripple` [dB] from beam to beam; `noise` of a measured beam [dB].
    """

    taper: float = 0.9
    floor: float = 0.19
    spread: float = 1.5
    ripple: float = 0.8
    noise: float = 0.2


@dataclass(frozen=True, eq=False)
class Link:
    """`power_noise_free` and `power` (beams,) linear, received at transmit power 1; `blocked`: no line of sight; `pathloss` [dB]
    of the strongest path, antenna gains excluded."""

    power_noise_free: np.ndarray
    power: np.ndarray
    blocked: bool
    pathloss: float


@dataclass(frozen=True, eq=False)
class Obstacles:
    """Upright boxes (n): centre (n, 3), half extents (n, 3), yaw (n,) [rad]."""

    centre: np.ndarray
    half: np.ndarray
    yaw: np.ndarray

    def without(self, index: int) -> Obstacles:
        """All but one."""
        keep = np.arange(len(self.yaw)) != index
        return Obstacles(self.centre[keep], self.half[keep], self.yaw[keep])

    def obstruction(self, start: np.ndarray, end: np.ndarray) -> tuple[float, bool]:
        """Loss [dB] that boxes between `start` (3,) and `end` (3,) cause, and whether any cuts the straight line."""
        if not len(self.yaw):
            return 0.0, False
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)
        a = np.einsum("nij,nj->ni", turn, start[:2] - self.centre[:, :2])
        b = np.einsum("nij,nj->ni", turn, end[:2] - self.centre[:, :2])
        step = np.where(abs(b - a) < 1e-9, 1e-9, b - a)
        first, second = (-self.half[:, :2] - a) / step, (self.half[:, :2] - a) / step
        enter, leave = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)
        crossed = (enter < leave) & (leave > 0.01) & (enter < 0.99)
        if not crossed.any():
            return 0.0, False
        length = float(np.linalg.norm(end - start))
        enter, leave = np.clip(enter[crossed], 0.01, 0.99), np.clip(leave[crossed], 0.01, 0.99)
        top = self.centre[crossed, 2] + self.half[crossed, 2]
        heights = start[2] + np.stack([enter, leave]) * (end[2] - start[2])
        excess = top - heights.min(axis=0)
        # Around a side is as good as over the top: how far the line passes inside the box sideways.
        middle = a[crossed] + ((enter + leave) / 2)[:, None] * step[crossed]
        along = np.linalg.norm(step[crossed], axis=1, keepdims=True)
        sideways = np.stack([-step[crossed][:, 1], step[crossed][:, 0]], axis=1) / along
        reach = (abs(sideways) * self.half[crossed, :2]).sum(axis=1) - abs((sideways * middle).sum(axis=1))
        share = (enter + leave) / 2
        edge = np.minimum(excess, np.maximum(reach, 0.0))
        spread = np.sqrt(2 / (LIGHT / 60.48e9) / (length * share * (1 - share)))
        v = edge * spread
        loss = np.where(v > -SLIPPING, 6.9 + 20 * np.log10(np.sqrt((v - 0.1) ** 2 + 1) + v - 0.1), 0.0)
        return float(np.minimum(np.maximum(loss, 0), 35.0).sum()), bool((excess > 0).any())


def measure(
    terminal: np.ndarray,
    others: Obstacles,
    walls: list[tuple[np.ndarray, np.ndarray, float, float]],
    codebook: Codebook,
    config: LinkConfig,
    noise: np.random.Generator,
    rain_loss: float = 0.0,
) -> Link:
    """The link from the array at the origin to `terminal` (3,) among `others`, through rain that takes `rain_loss` [dB/km].

    `walls` are (point (2,), unit normal (2,), half width [m], top z [m]) of facades that face the street.
    """
    paths = [_path(terminal, float(np.linalg.norm(terminal)), 0.0, rain_loss)]
    loss, blocked = others.obstruction(np.zeros(3), terminal)
    paths[0] = (paths[0][0], paths[0][1] * 10 ** (-loss / 20), paths[0][2] + loss)
    for point, normal, half, top in walls:
        image = terminal.copy()
        image[:2] -= 2 * ((terminal[:2] - point) @ normal) * normal
        across = image[:2] @ normal
        if abs(across) < 1e-6:
            continue
        hit = image * ((point @ normal) / across)
        sideways = abs((hit[:2] - point) @ np.array([-normal[1], normal[0]]))
        if sideways < half and hit[2] < top and hit[0] > 0:
            extra = others.obstruction(np.zeros(3), hit)[0] + others.obstruction(terminal, hit)[0] + WALL_LOSS
            paths.append(_path(hit, float(np.linalg.norm(image)), extra, rain_loss))
    for index in range(len(others.yaw)):
        side = others.centre[index] * [1, 1, 0] + [0, 0, others.centre[index, 2]]
        between = np.linalg.norm(side - terminal)
        if others.half[index, 2] > 1.0 and between < 15.0:
            paths.append(
                _path(
                    side,
                    float(np.linalg.norm(side) + between),
                    VEHICLE_LOSS + others.without(index).obstruction(np.zeros(3), side)[0],
                    rain_loss,
                )
            )
    n = np.arange(codebook.elements) - (codebook.elements - 1) / 2
    amplitude = (1 - config.taper) + config.taper * np.cos(np.pi * n / codebook.elements)
    weights = codebook.weights * amplitude / np.sqrt((amplitude**2).mean())
    azimuth = np.array([path[0] for path in paths])
    gain = np.array([path[1] for path in paths])
    power = np.abs(weights.conj() @ (codebook.steering(azimuth).T @ gain)) ** 2
    floor = min(config.floor * 10 ** (config.spread * noise.standard_normal() / 10), 0.9)
    power += power.max() * floor / (1 - floor) * 10 ** (config.ripple * noise.standard_normal(codebook.beams) / 10)
    measured = power * 10 ** (config.noise * noise.standard_normal(codebook.beams) / 10)
    return Link(power.astype(np.float32), measured.astype(np.float32), blocked, float(min(path[2] for path in paths)))


def _path(towards: np.ndarray, length: float, extra: float, rain_loss: float) -> tuple[float, complex, float]:
    """Azimuth [rad], complex amplitude, path loss [dB] of a path of `length` [m] that loses `extra` dB and `rain_loss` dB/km."""
    wavelength = LIGHT / 60.48e9
    loss = 20 * np.log10(4 * np.pi * length / wavelength) + extra + rain_loss * length / 1000
    return (
        float(np.arctan2(towards[1], towards[0])),
        10 ** (-loss / 20) * np.exp(-2j * np.pi * length / wavelength),
        float(loss),
    )

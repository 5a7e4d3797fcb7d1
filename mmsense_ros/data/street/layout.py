"""Where everything that never moves is: the roadside unit, lanes, sidewalks, buildings, poles, the sun; drawn from a seed.

Frame: `antenna_array`, whose origin is the array and whose x is boresight; the ground is the plane z = -height. Along the road
runs `s`, across it `d` (away from the roadside unit): x = d cos(a) - s sin(a), y = d sin(a) + s cos(a), a being the road's angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LANE_WIDTH, PARKING = 3.4, 2.2  #: [m]
FACADES = ((176, 160, 140), (150, 110, 92), (188, 182, 172), (128, 134, 142), (170, 140, 110), (140, 128, 120))


@dataclass(frozen=True)
class Lane:
    """A lane: distance `d` of its centre [m], `direction` +1 or -1 along s, cruising speed [m/s]."""

    d: float
    direction: int
    speed: float
    name: str  #: "near", "middle" or "far"


@dataclass(frozen=True)
class Block:
    """A box that stands still: centre (s, d), size (along s, along d, height) [m], RGB 0..255."""

    s: float
    d: float
    size: tuple[float, float, float]
    colour: tuple[int, int, int]
    windows: bool = False


@dataclass(frozen=True)
class Layout:
    """One street; lengths in metres, angles in radians."""

    height: float
    angle: float
    lanes: tuple[Lane, ...]
    near_kerb: float
    far_kerb: float
    buildings: tuple[Block, ...]
    poles: tuple[Block, ...]
    sun: tuple[float, float, float]  #: unit vector towards it
    sunlight: float

    def place(self, s: np.ndarray, d: np.ndarray) -> np.ndarray:
        """(..., 2) x, y of road coordinates."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([d * cos - s * sin, d * sin + s * cos], axis=-1)

    @property
    def along(self) -> float:
        """Heading of +s [rad]."""
        return self.angle + np.pi / 2

    @property
    def facade(self) -> tuple[float, float]:
        """Azimuth [rad] in which the facades across the street face the roadside unit, and their mean distance [m]."""
        return self.angle, float(np.mean([block.d - block.size[1] / 2 for block in self.buildings]))

    @property
    def sidewalks(self) -> tuple[float, float]:
        """Distances of the two sidewalks' middles."""
        return self.near_kerb - 1.6, self.far_kerb + 1.6


def make_layout(rng: np.random.Generator) -> Layout:
    """A random street."""
    height = rng.uniform(4.0, 6.5)
    near_kerb = rng.uniform(7.5, 11.0)
    count = int(rng.integers(2, 5))
    first = 1 if rng.random() < 0.5 else -1
    lanes = []
    for index in range(count):
        name = "near" if index == 0 else "far" if index == count - 1 else "middle"
        direction = first if index < (count + 1) // 2 else -first
        lanes.append(Lane(near_kerb + 0.3 + LANE_WIDTH * (index + 0.5), direction, rng.uniform(5.0, 12.0), name))
    far_kerb = near_kerb + 0.6 + LANE_WIDTH * count + PARKING
    setback = far_kerb + rng.uniform(3.4, 6.0)
    buildings, s = [], -75.0
    while s < 75.0:
        width, depth = rng.uniform(9.0, 22.0), rng.uniform(8.0, 14.0)
        colour = FACADES[int(rng.integers(len(FACADES)))]
        recess = rng.uniform(0.0, 1.5)
        buildings.append(
            Block(s + width / 2, setback + recess + depth / 2, (width, depth, rng.uniform(6.0, 16.0)), colour, True)
        )
        s += width + (rng.uniform(3.0, 9.0) if rng.random() < 0.35 else 0.0)
    poles = [
        Block(s, far_kerb + 0.6, (0.22, 0.22, rng.uniform(4.0, 6.5)), (92, 94, 96))
        for s in np.arange(-60, 61, 18.0) + rng.uniform(-6, 6)
    ]
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 1.1)
    sun = (np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation))
    angle = np.deg2rad(rng.uniform(-18.0, 18.0))
    return Layout(
        height,
        float(angle),
        tuple(lanes),
        near_kerb,
        far_kerb,
        tuple(buildings),
        tuple(poles),
        tuple(map(float, sun)),
        rng.uniform(0.55, 1.0),
    )

"""What night, fog, rain, glare and a dirty lens make of the camera's picture.

In the order in which light meets them: lamps instead of the sun; extinction and airlight (Koschmieder's law,
L = L0 exp(-a d) + A (1 - exp(-a d))); streaks of drops that fall while the shutter is open (Garg and Nayar, IJCV 75(1), 2007);
veiling glare 1 / (theta^2 + c) around what dazzles (CIE 146:2002); dirt I0 (1 - a) + a b (Gu et al., ACM TOG 28(5), 2009); noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mmsense_ros.data.street.bodies import LAMP, REAR, Parts
from mmsense_ros.data.street.conditions import Conditions
from mmsense_ros.data.street.layout import PARKING, Layout
from mmsense_ros.data.street.raycast import Scene, rays_from

COARSE = 160  #: [pixels] width at which light and glare, smooth as they are, are computed
MOONLIGHT, GLOW = 0.04, 0.15  #: light of a night sky, and of lit fog, in parts of a dull day's
STREET_LAMP, HEADLAMP = 26.0, 90.0  #: illuminance at 1 m in parts of a dull day's
HEADLAMP_LOBE, DIP = 24, 0.05  #: power of the cosine that a headlamp's beam falls off with; how far down it is turned [rad]
SODIUM = np.array([1.0, 0.84, 0.62], np.float32)
AIRLIGHT = np.array([202.0, 210.0, 218.0], np.float32)
SUN_GLARE, LAMP_GLARE, CLEAN = 900.0, 600.0, 0.12  #: veil right beside the sun, a headlamp near by; part of it in a clean lens
CORE = 0.1  #: [rad] where the veil has fallen to a half
CEILING = 1000.0  #: [m] of fog or rain before the sky
STREAKS = 12.0  #: a picture, for each mm/h
SOIL = np.array([0.42, 0.38, 0.32], np.float32)  #: what dirt lets through, blurred


@dataclass(frozen=True, eq=False)
class Lamps:
    """N headlamp pairs or rear lamps: `place` (N, 3) [m], where they shine (N, 3), `rear` (N,) bool."""

    place: np.ndarray
    direction: np.ndarray
    rear: np.ndarray


def under_sky(layout: Layout, conditions: Conditions, static: Scene, eye: np.ndarray, rng: np.random.Generator) -> Layout:
    """The layout with the sun of these conditions: none, or for glare a low one between the roofs that `eye` (3,) looks into."""
    if conditions.sunless:
        return replace(layout, sunlight=0.0)
    if conditions.glare == 0:
        return layout
    azimuth = np.append(rng.uniform(-0.6, 0.6, 24), 0.0)
    elevation = np.append(rng.uniform(0.22, 0.4, 24), 0.6)  # the last stands above any roof
    suns = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1)
    first = int(static.lit(rays_from(eye, suns)).argmax())
    return replace(layout, sun=tuple(map(float, suns[first])), sunlight=1.0)


class Optics:
    """All of it for a camera at `eye` (3,) whose pixels look along `directions` (height, width, 3); `project` as the camera's."""

    def __init__(
        self,
        conditions: Conditions,
        layout: Layout,
        eye: np.ndarray,
        directions: np.ndarray,
        project: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        rng: np.random.Generator,
    ) -> None:
        self.conditions, self._layout, self._eye, self._project = conditions, layout, eye, project
        self._height, self._width = directions.shape[:2]
        self._step = max(self._width // COARSE, 1)
        self._coarse = directions[self._step // 2 :: self._step, self._step // 2 :: self._step]
        self._slant = rng.uniform(-0.25, 0.25)
        self._dirt = _blotches(conditions.dirt, self._width, self._height, rng)
        self._posts = _posts(layout)

    def through(self, picture: np.ndarray, depth: np.ndarray, moving: Scene, noise: np.random.Generator) -> np.ndarray:
        """(height, width, 3) float32 0..255 of a `picture` taken in plain light; `depth` (height, width) [m], inf for the sky."""
        conditions, lamps = self.conditions, None
        if conditions.night:
            lamps = self._lamps(moving.parts)
            picture = picture * self._full(self._light(depth, lamps))
            self._draw(picture, depth, lamps)
        if conditions.extinction:
            left = np.exp(-conditions.extinction * np.minimum(depth, CEILING))[..., None]
            picture = picture * left + self._airlight * (1 - left)
        if conditions.rain:
            picture = self._streaked(picture, noise)
        if conditions.night or conditions.glare:
            picture = picture + self._full(self._veil(depth, moving, lamps))
        picture = np.clip(picture, 0, 255)
        if conditions.dirt:
            small = cv2.resize(picture, self._coarse.shape[1::-1], interpolation=cv2.INTER_AREA)
            behind = self._full(cv2.GaussianBlur(small, (0, 0), 5.0)) * SOIL
            picture = picture + self._dirt * (behind - picture)
        if conditions.night:  # a high gain: read noise and shot noise
            picture = picture + noise.standard_normal(picture.shape, np.float32) * np.sqrt(20.0 + 1.2 * picture)
        return picture.astype(np.float32)

    @property
    def _airlight(self) -> np.ndarray:
        return AIRLIGHT * np.float32(GLOW if self.conditions.night else 1.0)

    def _full(self, coarse: np.ndarray) -> np.ndarray:
        """A coarse picture at full size."""
        return cv2.resize(coarse.astype(np.float32), (self._width, self._height), interpolation=cv2.INTER_LINEAR)

    def _lamps(self, parts: Parts) -> Lamps:
        """The lamps of all vehicles but the parked ones."""
        cos, sin = np.cos(self._layout.angle), np.sin(self._layout.angle)
        found = []
        for colour, rear in ((LAMP, False), (REAR, True)):
            mine = (parts.colour == colour).all(axis=1)
            place = parts.centre[mine].reshape(-1, 2, 3).mean(axis=1) if not rear else parts.centre[mine]
            ahead = parts.axes[mine, 0].reshape(len(place), -1, 3)[:, 0] * (-1 if rear else 1)
            ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
            driven = place[:, 0] * cos + place[:, 1] * sin < self._layout.far_kerb - PARKING
            found.append((place[driven], ahead[driven], np.full(int(driven.sum()), rear)))
        return Lamps(*(np.concatenate(values) for values in zip(*found, strict=True)))

    def _light(self, depth: np.ndarray, lamps: Lamps) -> np.ndarray:
        """(rows, columns, 3) of light on what the coarse pixels show, in parts of a dull day's."""
        half = self._step // 2
        away = depth[half :: self._step, half :: self._step, None]
        shown = np.where(np.isfinite(away), self._eye + np.where(np.isfinite(away), away, 0) * self._coarse, np.float32(1e6))
        shown = shown.astype(np.float32)
        light = np.full(shown.shape, MOONLIGHT, np.float32)
        for post in self._posts:
            light += STREET_LAMP * _shone(shown, post, np.array([0.0, 0.0, -1.0]), 1)[..., None] * SODIUM
        for place, direction in zip(lamps.place[~lamps.rear], lamps.direction[~lamps.rear], strict=True):
            light += HEADLAMP * _shone(shown, place, direction - [0, 0, DIP], HEADLAMP_LOBE)[..., None]
        return light

    def _draw(self, picture: np.ndarray, depth: np.ndarray, lamps: Lamps) -> None:
        """Lamps that shine towards the camera, in place."""
        towards, distance = self._seen(lamps)
        pixel, ahead = self._project(lamps.place)
        for n in np.flatnonzero((towards > 0) & (ahead > 0.5)):
            (u, v), size = np.rint(pixel[n]).astype(int), self._width / 2 * 0.16 / distance[n]
            if 0 <= u < self._width and 0 <= v < self._height and depth[v, u] > distance[n] - 0.6:
                colour = (
                    (150.0, 14.0, 8.0) if lamps.rear[n] else tuple(250.0 + 700 * towards[n] ** 2 * np.array([1, 0.97, 0.88]))
                )
                cv2.circle(picture, (int(u), int(v)), max(round(size), 0), colour, -1)

    def _seen(self, lamps: Lamps) -> tuple[np.ndarray, np.ndarray]:
        """Cosine (N,) between where lamps shine and the camera, and how far they are (N,) [m]."""
        way = self._eye - lamps.place
        distance = np.linalg.norm(way, axis=1)
        return (way * lamps.direction).sum(axis=1) / distance, distance

    def _streaked(self, picture: np.ndarray, noise: np.random.Generator) -> np.ndarray:
        """The picture behind drops that are near enough to be seen singly."""
        count = noise.poisson(STREAKS * self.conditions.rain)
        away = 0.4 + 2.6 * np.cbrt(noise.random(count))  # [m], evenly spread in space
        start = noise.uniform(-0.1, 1.1, (count, 2)) * (self._width, self._height)
        focal = self._width / 2
        length, wide = focal * 0.09 / away, focal * 0.003 / away
        end = start + length[:, None] * [np.sin(self._slant), np.cos(self._slant)]
        mask = np.zeros(picture.shape[:2], np.uint8)
        for n in range(count):
            shade, thick = round(150 * min(wide[n], 1.0)), max(round(wide[n]), 1)
            cv2.line(mask, np.rint(start[n]).astype(int), np.rint(end[n]).astype(int), shade, thick, cv2.LINE_AA)
        cover = mask[..., None] / np.float32(255)
        return picture + cover * (self._airlight * np.float32(1.1) - picture)

    def _veil(self, depth: np.ndarray, moving: Scene, lamps: Lamps | None) -> np.ndarray:
        """(rows, columns, 3): light that the lens scatters around the sun or, by night, headlamps."""
        veil = np.zeros((*self._coarse.shape[:2], 3), np.float32)
        if lamps is None:
            sun = np.array(self._layout.sun)
            if not self.conditions.sunless and moving.lit(rays_from(self._eye, sun[None]))[0]:
                veil += SUN_GLARE * self.conditions.glare * self._around(sun) * np.float32([1.0, 0.96, 0.88])
            return veil
        towards, distance = self._seen(lamps)
        pixel, ahead = self._project(lamps.place)
        scattered = LAMP_GLARE * (CLEAN + self.conditions.glare)
        for n in np.flatnonzero((towards > 0) & (ahead > 0.5) & ~lamps.rear):
            u, v = np.clip(np.rint(pixel[n]), 0, [self._width - 1, self._height - 1]).astype(int)
            if depth[v, u] > distance[n] - 0.6:
                direction = (lamps.place[n] - self._eye) / distance[n]
                veil += scattered * towards[n] ** 2 * min((10.0 / distance[n]) ** 2, 1.0) * self._around(direction)
        return veil

    def _around(self, direction: np.ndarray) -> np.ndarray:
        """(rows, columns, 1) of scattered light, 1 in `direction` (3,)."""
        return (CORE**2 / (2 - 2 * self._coarse @ direction.astype(np.float32) + CORE**2))[..., None]


def _shone(shown: np.ndarray, place: np.ndarray, direction: np.ndarray, lobe: int) -> np.ndarray:
    """Light (rows, columns) on the points `shown` (rows, columns, 3) from a lamp of intensity 1."""
    way = shown - place.astype(np.float32)
    square = np.einsum("ijk,ijk->ij", way, way) + 1.0
    cosine = way @ (direction / np.linalg.norm(direction)).astype(np.float32) / np.sqrt(square)
    return np.maximum(cosine, 0) ** lobe / square


def _posts(layout: Layout) -> list[np.ndarray]:
    """Street lamps: at the tops of the poles across the road, and on this side one above the unit and one either way."""
    far = [(layout.place(np.array(p.s), np.array(p.d - 1.2)), p.size[2] - layout.height) for p in layout.poles]
    near = [(layout.place(np.array(s), np.array(1.5)), 1.5) for s in (-26.0, 0.0, 26.0)]
    return [np.array([*xy, up]) for xy, up in far + near]


def _blotches(share: float, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width, 1) float32 0..0.95: how much dirt takes, over `share` of the lens; the same dirt at any size."""
    field = sum(cv2.GaussianBlur(rng.standard_normal((120, 160)), (0, 0), sigma) * sigma for sigma in (2.5, 9.0))
    edge = np.quantile(field, 1 - share)
    thick = np.clip((field - edge) / (0.5 * field.std()), 0, 0.95) * (share > 0)
    return cv2.resize(thick.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)[..., None]

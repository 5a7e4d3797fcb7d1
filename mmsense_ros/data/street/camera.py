"""The camera: every pixel a ray, shaded by the sun. What never moves is cast once, what moves only where it can be seen."""

from __future__ import annotations

import cv2
import numpy as np

from mmsense_ros.data.street.bodies import Parts
from mmsense_ros.data.street.conditions import Conditions
from mmsense_ros.data.street.layout import LANE_WIDTH, PARKING, Layout
from mmsense_ros.data.street.optics import Optics, under_sky
from mmsense_ros.data.street.raycast import Hits, Scene, rays_from

AMBIENT = 0.5
GRAIN = 64  #: [pixels] by which the sheet of film grain is larger than the image: each image takes another cut of it
FAR_PIXEL = 10_000  #: a corner that far out of the picture is almost beside the camera: its outline is not drawn finely
HAZE = 220.0  #: [m] distance at which things fade into the sky by 1 - 1/e


class Camera:
    """A pinhole camera at `position` in the antenna frame, looking along boresight, `pitch` [rad] down; images (height, width, 3).

    `rng` draws what is the camera's own, `weather` what `conditions` add.
    """

    def __init__(
        self,
        layout: Layout,
        static: Scene,
        glazed: np.ndarray,
        position: np.ndarray,
        pitch: float,
        width: int,
        height: int,
        rng: np.random.Generator,
        conditions: Conditions,
        weather: np.random.Generator,
    ) -> None:
        layout = under_sky(layout, conditions, static, position, weather)
        self.width, self.height = width, height
        self.matrix = np.array(
            [[width / 2, 0, width / 2 - 0.5], [0, width / 2, height / 2 - 0.5], [0, 0, 1.0]]
        )  #: 90 degrees wide
        optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # REP-103: columns are optical x, y, z in the body frame
        cos, sin = np.cos(pitch), np.sin(pitch)
        down = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        self.pose = np.eye(4)  #: antenna_from_camera_optical
        self.pose[:3, :3], self.pose[:3, 3] = down @ optical, position
        self._layout, self._static, self._sun = layout, static, np.array(layout.sun)
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays = np.stack(
            [(u - self.matrix[0, 2]) / self.matrix[0, 0], (v - self.matrix[1, 2]) / self.matrix[1, 1], np.ones(u.shape)], -1
        )
        rays = rays.reshape(-1, 3) @ self.pose[:3, :3].T
        self._directions = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
        self._rays = rays_from(self.pose[:3, 3], self._directions)
        self._sky = _sky(self._directions, layout.sunlight)
        self._exposure = rng.uniform(0.9, 1.1)
        self._still(glazed, rng)
        grain = rng.integers(-6, 7, size=(height + GRAIN, width + GRAIN, 1), dtype=np.int8)
        self._grain = np.repeat(grain.astype(np.float32), 3, axis=2)
        shape = (height, width, 3)
        self._optics = (
            Optics(conditions, layout, self.pose[:3, 3], self._directions.reshape(shape), self.project, weather)
            if conditions != Conditions()
            else None
        )

    def image(self, moving: Scene, noise: np.random.Generator) -> np.ndarray:
        """(height, width, 3) uint8 RGB of the street with what moves on it."""
        shaded, depth = self._backdrop.copy(), self._depth
        pixels = np.flatnonzero(self._touched(moving.parts))
        if len(pixels):
            hits = moving.cast(self._rays.take(pixels, axis=0))
            nearer = hits.distance < self._depth[pixels]
            seen = np.flatnonzero(nearer)
            if len(seen):
                shaded[pixels[seen]] = self._shade_bodies(moving.parts, hits, seen, pixels[seen])
                depth = depth.copy()
                depth[pixels[seen]] = hits.distance[seen]
            ground = pixels[~nearer & self._sunny[pixels]]
            if len(ground):
                dark = ground[~moving.lit(self._sunward(self._points.take(ground, axis=0) + 0.02 * self._sun))]
                shaded[dark] = self._shadowed[dark]
        picture = shaded.reshape(self.height, self.width, 3)
        if self._optics:
            picture = self._optics.through(picture, depth.reshape(self.height, self.width), moving, noise)
        picture = cv2.GaussianBlur(picture, (3, 3), 0.55)
        row, column = noise.integers(0, GRAIN, 2)
        return cv2.add(picture, self._grain[row : row + self.height, column : column + self.width], dtype=cv2.CV_8U)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths (N,) [m] of points (N, 3) in the antenna frame."""
        local = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
        depth = np.maximum(local[:, 2], 1e-3)
        return local[:, :2] / depth[:, None] * self.matrix[0, 0] + self.matrix[:2, 2], local[:, 2]

    def _touched(self, parts: Parts) -> np.ndarray:
        """(pixels,) bool: where a moving thing or its shadow can be."""
        mask = np.zeros((self.height, self.width), np.uint8)
        corners = parts.corners
        drop = (corners[..., 2] + self._layout.height) / self._sun[2]
        points = np.concatenate([corners, corners - drop[..., None] * self._sun], axis=1)
        pixel, depth = (values.reshape(*points.shape[:2], -1) for values in self.project(points.reshape(-1, 3)))
        ahead = depth > 0.3
        pixel = np.where(ahead, pixel, [self.width / 2, 2.0 * self.height]).astype(np.float32)
        for owner in np.unique(parts.owner):
            mine = parts.owner == owner
            outline = pixel[mine].reshape(-1, 2)
            if ahead[mine].all() and abs(outline).max() < FAR_PIXEL:
                # Whatever a body shades lies between it and its shadow on the ground.
                hull = cv2.convexHull(outline)
            elif ahead[mine].any():
                (left, top), (right, bottom) = np.clip([outline.min(axis=0), outline.max(axis=0)], -1, FAR_PIXEL)
                hull = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
            else:
                continue
            cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
        return cv2.dilate(mask, np.ones((3, 3), np.uint8)).reshape(-1)

    def _sunward(self, origin: np.ndarray) -> np.ndarray:
        """Rays (R, 6) towards the sun."""
        return rays_from(origin, np.broadcast_to(self._sun, origin.shape))

    def _shade_bodies(self, parts: Parts, hits: Hits, seen: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        normal = hits.normal[seen]
        directions = self._directions.take(pixels, axis=0)
        normal = np.where((normal * directions).sum(axis=1, keepdims=True) > 0, -normal, normal)
        points = self.pose[:3, 3] + hits.distance[seen, None] * directions
        sunlight = np.maximum(normal @ self._sun, 0.0)
        facing = np.flatnonzero(sunlight > 0)
        sunlight[facing] *= self._static.lit(self._sunward(points[facing] + 0.03 * normal[facing]))
        return self._develop(
            parts.colour[hits.part[seen]], normal, sunlight, hits.distance[seen], self._sky.take(pixels, axis=0)
        )

    def _develop(
        self, colour: np.ndarray, normal: np.ndarray, sunlight: np.ndarray, distance: np.ndarray, sky: np.ndarray
    ) -> np.ndarray:
        """Colours (N, 3) float32 0..255 as the camera sees them before a `sky` (N, 3) of such colours."""
        above = 0.85 + 0.15 * normal[:, 2]
        light = self._exposure * (AMBIENT * above + 0.75 * self._layout.sunlight * sunlight)
        haze = 1.0 - np.exp(-distance / HAZE)
        lit = np.clip(colour * light[:, None], 0, 255)
        return (lit * (1 - haze[:, None]) + haze[:, None] * sky).astype(np.float32)

    def _still(self, glazed: np.ndarray, rng: np.random.Generator) -> None:
        """The street without anything that moves: depth, colours in light and in shadow."""
        hits = self._static.cast(self._rays)
        met = np.isfinite(hits.distance)
        self._depth = hits.distance
        distance = np.where(met, hits.distance, 0.0)
        self._points = (self.pose[:3, 3] + distance[:, None] * self._directions).astype(np.float32)
        normal = np.where((hits.normal * self._directions).sum(axis=1, keepdims=True) > 0, -hits.normal, hits.normal)
        part = np.where(met, hits.part, 0)
        colour = self._static.parts.colour[part].copy()
        upward = normal[:, 2] > 0.9
        ground = met & (part == 0) & upward
        colour[ground] = ground_colour(self._layout, self._points[ground], rng)
        walls = met & glazed[part] & ~upward
        colour[walls] = _wall_colour(self._layout, colour[walls], self._points[walls])
        sunlight = np.where(met, np.maximum(normal @ self._sun, 0.0), 0.0)
        facing = np.flatnonzero(sunlight > 0)
        sunlight[facing] *= self._static.lit(self._sunward(self._points[facing] + 0.03 * normal[facing]))
        self._sunny = sunlight > 0
        lit = self._develop(colour, normal, sunlight, distance, self._sky)
        dark = self._develop(colour, normal, np.zeros_like(sunlight), distance, self._sky)
        self._backdrop, self._shadowed = (np.where(met[:, None], shade, self._sky).astype(np.float32) for shade in (lit, dark))


def ground_colour(layout: Layout, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 3): asphalt with lane markings between the kerbs, paving beside it."""
    cos, sin = np.cos(layout.angle), np.sin(layout.angle)
    d = points[:, 0] * cos + points[:, 1] * sin
    s = points[:, 1] * cos - points[:, 0] * sin
    colour = np.where(((np.floor(s / 1.2) + np.floor(d / 1.2)) % 2 == 0)[:, None], [[150.0, 147, 140]], [[142.0, 139, 132]])
    road = (d > layout.near_kerb) & (d < layout.far_kerb)
    colour[road] = (84, 86, 90)
    colour[(abs(d - layout.near_kerb) < 0.15) | (abs(d - layout.far_kerb) < 0.15)] = (178, 176, 170)
    for lane in layout.lanes[:-1]:
        edge = lane.d + LANE_WIDTH / 2
        colour[(abs(d - edge) < 0.09) & (np.mod(s, 6.0) < 3.0)] = (222, 220, 210)
    for edge in (layout.near_kerb + 0.45, layout.far_kerb - PARKING):
        colour[abs(d - edge) < 0.07] = (212, 210, 200)
    return colour * rng.normal(1.0, 0.035, (len(points), 1))


def _wall_colour(layout: Layout, colour: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Storeys of windows on a facade."""
    along = points[:, 1] * np.cos(layout.angle) - points[:, 0] * np.sin(layout.angle)
    up = points[:, 2] + layout.height
    window = (np.mod(along, 2.6) > 1.0) & (np.mod(up, 3.1) > 1.1) & (np.mod(up, 3.1) < 2.6)
    shade = 62.0 + 26.0 * np.mod(np.floor(along / 2.6) * 0.37 + np.floor(up / 3.1) * 0.61, 1.0)
    glass = np.stack([shade * 0.85, shade, shade * 1.2], axis=-1)
    return np.where(window[:, None], glass, colour)


def _sky(directions: np.ndarray, sunlight: float) -> np.ndarray:
    """(N, 3) sky colours: pale at the horizon, blue above, greyer on dull days."""
    up = np.clip(directions[:, 2:3] * 2.2, 0, 1)
    horizon, zenith = np.array([206.0, 216, 226]), np.array([104.0, 156, 214]) * (0.6 + 0.4 * sunlight) + (1 - sunlight) * 60
    return horizon * (1 - up) + zenith * up

"""A small renderer of marker messages and point clouds: what rviz2 shows of them, drawn from far to near with this project's ink."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mmsense_ros.data.rosbag import message_class
from mmsense_ros.evaluation import ink

Marker = message_class("visualization_msgs/msg/Marker")
FIELD, NEAR = math.radians(45), 0.5  # of rviz2's camera; [m]
SUN = np.array([-0.35, 0.25, 0.9])
CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
FACES = ([0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3])
RIM = np.array([[math.cos(a) / 2, math.sin(a) / 2, 0.0] for a in np.linspace(0, 2 * math.pi, 25)])

Rgba = tuple[float, float, float, float]


class Scene:
    """A picture (height, width, 3) uint8 RGB seen from `eye` towards `focus` (antenna frame); things are added, then `draw`n."""

    def __init__(self, size: tuple[int, int], eye: np.ndarray, focus: np.ndarray, background: ink.Colour) -> None:
        width, height = size
        self.image = np.full((height, width, 3), background, np.uint8)
        ahead = (focus - eye) / np.linalg.norm(focus - eye)
        right = np.cross(ahead, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        self._turn, self._eye = np.stack([right, np.cross(ahead, right), ahead]), eye
        self._focal, self._middle = height / 2 / math.tan(FIELD / 2), np.array([width / 2, height / 2])
        self._things: list[tuple[float, Callable[[], None]]] = []
        self._words: list[tuple[float, Any]] = []

    def add_grid(self, cells: int, size: float, offset: np.ndarray, colour: ink.Colour) -> None:
        """A grid on the ground, below all else."""
        for k in (np.arange(cells + 1) - cells / 2) * size:
            for ends in (
                [[k, -cells * size / 2, 0], [k, cells * size / 2, 0]],
                [[-cells * size / 2, k, 0], [cells * size / 2, k, 0]],
            ):
                self._line(np.array(ends) + offset, (*(c / 255 for c in colour), 0.5), 1.0)

    def add_points(self, xyz: np.ndarray, colours: np.ndarray, alpha: float) -> None:
        """Points of two pixels: `xyz` (N, 3) [m], `colours` (N, 3) 0..255."""
        place, depth = self._seen(xyz)
        inside = (depth > NEAR) & ((place >= 0) & (place < 2 * self._middle - 1)).all(axis=1)
        for row in np.flatnonzero(inside)[np.argsort(-depth[inside])]:
            column, line = place[row].astype(int)
            spot = self.image[line : line + 2, column : column + 2]
            spot[...] = spot + (colours[row] - spot) * alpha

    def add_sphere(self, centre: np.ndarray, diameter: float, colour: Rgba) -> None:
        """A sphere, as a disc with a light on it."""
        (place,), (depth,) = self._seen(centre[None])
        radius = self._focal * diameter / 2 / depth

        def paint() -> None:
            for share, light in ((1.0, 0.7), (0.72, 1.0), (0.3, 1.25)):
                shade = tuple(min(255, round(255 * c * light)) for c in colour[:3])
                ink.disc(self.image, place - radius * (1 - share) * 0.5, radius * share, shade)

        if depth > NEAR:
            self._things.append((depth, paint))

    def add_marker(self, marker: Any) -> None:
        """A marker whose frame is the antenna's. Raises KeyError for a type that this cannot draw."""
        if marker.action == Marker.ADD:
            KINDS[marker.type](self, marker)

    def draw(self) -> np.ndarray:
        """The picture: things from far to near, words over them."""
        for _, paint in sorted(self._things, key=lambda thing: -thing[0]):
            paint()
        for _, words in sorted(self._words, key=lambda entry: -entry[0]):
            self._write(words)
        return self.image

    def _seen(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths (N,) [m] of points (N, 3)."""
        x, y, z = self._turn @ (np.asarray(points, float) - self._eye).T
        return np.stack([x, y], axis=1) * (self._focal / np.maximum(z, NEAR))[:, None] + self._middle, z

    def _face(self, points: np.ndarray, colour: Rgba, lit: bool = False) -> None:
        """A flat polygon (N, 3); those that are `lit` are seen from outside only."""
        place, depth = self._seen(points)
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        if (depth < NEAR).any() or (lit and normal @ (points[0] - self._eye) > 0):
            return
        light = 0.72 + 0.28 * float(normal @ SUN / np.linalg.norm(normal)) if lit else 1.0
        self._things.append(
            (float(depth.mean()), lambda: self._blend(lambda mask, a: ink.polygon(mask, place, a), colour, light))
        )

    def _line(self, ends: np.ndarray, colour: Rgba, pixels: float) -> None:
        first, second = self._turn[2] @ (ends - self._eye).T
        if max(first, second) <= NEAR:
            return
        if min(first, second) < NEAR:
            cut = ends[0] + (ends[1] - ends[0]) * (NEAR + 1e-3 - first) / (second - first)
            ends = np.array([cut, ends[1]]) if first < NEAR else np.array([ends[0], cut])
        place, depth = self._seen(ends)
        width = max(1, round(pixels))
        self._things.append(
            (float(depth.mean()), lambda: self._blend(lambda mask, a: ink.outline(mask, place, a, width), colour))
        )

    def _blend(self, paint: Callable[[np.ndarray, int], None], colour: Rgba, light: float = 1.0) -> None:
        mask = np.zeros(self.image.shape[:2], np.uint8)
        paint(mask, round(255 * min(colour[3], 1.0)))
        ink.blend(self.image, mask, tuple(min(255, round(255 * c * light)) for c in colour[:3]))

    def _scale(self, point: np.ndarray) -> float:
        """Pixels a metre at a point."""
        return self._focal / max(float(self._seen(point[None])[1][0]), NEAR)

    def _box(self, marker: Any) -> None:
        corners = _placed(CORNERS, marker)
        for face in FACES:
            self._face(corners[face], _rgba(marker.color), lit=True)
        for a, b in ((a, b) for face in FACES for a, b in zip(face, face[1:] + face[:1]) if a < b):
            self._line(corners[[a, b]], (*_rgba(marker.color)[:3], 1.0), 1.0)

    def _cylinder(self, marker: Any) -> None:
        low, high = (_placed(RIM + [0, 0, z], marker) for z in (-0.5, 0.5))
        for k in range(len(RIM) - 1):
            self._face(np.array([low[k], low[k + 1], high[k + 1], high[k]]), _rgba(marker.color), lit=True)
        self._face(high[:-1], _rgba(marker.color), lit=True)

    def _triangles(self, marker: Any) -> None:
        points = _placed(_array(marker.points), marker).reshape(-1, 3, 3)
        colours = list(marker.colors) or [marker.color] * len(points)
        for triangle, colour in zip(points, colours[:: len(colours) // max(len(points), 1) or 1], strict=True):
            self._face(triangle, _rgba(colour))

    def _lines(self, marker: Any) -> None:
        points = _placed(_array(marker.points), marker).reshape(-1, 2, 3)
        colours = list(marker.colors)[::2] or [marker.color] * len(points)
        for ends, colour in zip(points, colours, strict=True):
            self._line(ends, _rgba(colour), marker.scale.x * self._scale(ends.mean(axis=0)))

    def _arrow(self, marker: Any) -> None:
        """A shaft of diameter scale.x and a head of diameter scale.y and length scale.z."""
        tail, tip = _placed(_array(marker.points), marker)
        along = (tip - tail) / np.linalg.norm(tip - tail)
        neck = tip - along * marker.scale.z
        side = np.cross(along, neck - self._eye)
        side *= marker.scale.y / 2 / np.linalg.norm(side)
        self._line(np.array([tail, neck]), _rgba(marker.color), marker.scale.x * self._scale((tail + tip) / 2))
        self._face(np.array([neck + side, tip, neck - side]), _rgba(marker.color))

    def _text(self, marker: Any) -> None:
        place = _placed(np.zeros((1, 3)), marker)
        self._words.append((float(self._seen(place)[1][0]), marker))

    def _write(self, marker: Any) -> None:
        place = _placed(np.zeros((1, 3)), marker)
        ((x, y),), size = self._seen(place)[0], max(11, round(marker.scale.z * self._scale(place[0])))
        colour = tuple(round(255 * c) for c in _rgba(marker.color)[:3])
        for dx, dy, shade in ((-1, 0, ink.NIGHT), (1, 0, ink.NIGHT), (0, -1, ink.NIGHT), (0, 1, ink.NIGHT), (0, 0, colour)):
            ink.write(self.image, marker.text, x + dx, y + size / 3 + dy, size, shade, bold=True, align=0.5)


KINDS: dict[int, Callable[[Scene, Any], None]] = {
    Marker.CUBE: Scene._box,
    Marker.CYLINDER: Scene._cylinder,
    Marker.TRIANGLE_LIST: Scene._triangles,
    Marker.LINE_LIST: Scene._lines,
    Marker.ARROW: Scene._arrow,
    Marker.TEXT_VIEW_FACING: Scene._text,
}
SIZED = (Marker.CUBE, Marker.CYLINDER)  # whose scale is their size


def _placed(points: np.ndarray, marker: Any) -> np.ndarray:
    """Points (N, 3) of the marker's own frame in the antenna's."""
    q, p = marker.pose.orientation, marker.pose.position
    size = np.array([marker.scale.x, marker.scale.y, marker.scale.z]) if marker.type in SIZED else np.ones(3)
    axis, points = np.array([q.x, q.y, q.z]), points * size
    return points + 2 * np.cross(axis, np.cross(axis, points) + q.w * points) + [p.x, p.y, p.z]


def _array(points: Any) -> np.ndarray:
    return np.array([[point.x, point.y, point.z] for point in points]).reshape(-1, 3)


def _rgba(colour: Any) -> Rgba:
    return colour.r, colour.g, colour.b, colour.a

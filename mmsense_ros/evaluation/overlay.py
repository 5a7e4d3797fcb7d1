"""What was sensed, drawn on the camera image, with the beam fan and the panel beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from mmsense_ros.codebook import Codebook
from mmsense_ros.evaluation import ink
from mmsense_ros.evaluation.panel import PANEL_WIDTH, draw_panel, vehicle_colour
from mmsense_ros.sensing import SensedObject, SensedPerson, Sensing

SCENE_WIDTH = 960
SCENE_HEIGHTS = (600, 720)  #: [px] between these the scene takes the camera's aspect ratio; beyond, dark bands fill it
NEAR = 0.3  #: [m] nearer to the camera nothing is drawn
PERSON_HEIGHT, PERSON_WIDTH = 1.8, 0.7  #: [m] of the frame drawn about a person
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))


@dataclass
class Overlay:
    """Draws `Sensing` for one camera.

    `camera_matrix` (3, 3) is that of the undistorted image [px] and `antenna_from_camera` (4, 4) the pose of the optical
    frame (REP-103); without them only the panel tells where things are.
    """

    codebook: Codebook = field(default_factory=Codebook)
    camera_matrix: np.ndarray | None = None
    antenna_from_camera: np.ndarray | None = None
    _rows: int = field(default=SCENE_HEIGHTS[0], init=False)  # of the last scene, so that a film keeps its size

    def draw(self, image: np.ndarray | None, sensing: Sensing) -> np.ndarray:
        """Picture (600..720, 1280, 3) uint8 RGB of `sensing` on `image` (H, W, 3) uint8 RGB, None if the camera is missing."""
        if image is not None:
            self._rows = int(np.clip(round(SCENE_WIDTH * image.shape[0] / image.shape[1]), *SCENE_HEIGHTS))
        canvas = np.full((self._rows, SCENE_WIDTH + PANEL_WIDTH, 3), ink.NIGHT, np.uint8)
        draw_panel(canvas[:, SCENE_WIDTH:], sensing, self.codebook)
        if image is None:
            ink.write(canvas, "no camera image", SCENE_WIDTH / 2, self._rows / 2, 22, ink.MUTED, align=0.5)
            return canvas
        height, width = image.shape[:2]
        scale = min(SCENE_WIDTH / width, self._rows / height)
        columns, rows = round(width * scale), round(height * scale)
        left, top = (SCENE_WIDTH - columns) // 2, (self._rows - rows) // 2
        scene = canvas[top : top + rows, left : left + columns]
        cv2.resize(image, (columns, rows), scene, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        if self.camera_matrix is not None and self.antenna_from_camera is not None:
            matrix = np.diag([scale, scale, 1.0]) @ self.camera_matrix
            self._draw_scene(scene, _View(matrix, np.linalg.inv(self.antenna_from_camera)), sensing)
        return canvas

    def _draw_scene(self, scene: np.ndarray, view: _View, sensing: Sensing) -> None:
        """All that has a place in the image, the farthest first."""
        self._draw_fan(scene, view, sensing)
        labels = _Labels(scene)
        for thing in sorted(sensing.objects, key=lambda o: -math.hypot(*o.position[:2])):
            self._draw_object(scene, view, thing, labels)
        for person in sorted(sensing.people, key=lambda p: -math.hypot(*p.position[:2])):
            self._draw_person(scene, view, person, labels)
        labels.draw()

    def _draw_fan(self, scene: np.ndarray, view: _View, sensing: Sensing) -> None:
        """Beams as light from below the picture to where they meet the horizon; as bright as they are likely."""
        mask = np.zeros(scene.shape[:2], np.uint8)
        share = ink.brightness(sensing.beam.probabilities)
        step = 2 * self.codebook.half_view / self.codebook.beams
        foot = np.array([scene.shape[1] / 2, scene.shape[0] * 1.25])
        for beam in np.union1d(np.flatnonzero(share > 0.08), sensing.beam.sweep_set):
            edges = self.codebook.azimuths[beam] + np.array([step, -step]) / 2
            rim = view.directions(np.stack([np.cos(edges), np.sin(edges), np.zeros(2)], axis=1))
            if rim is not None:
                ink.polygon(mask, np.vstack([foot, rim]), int(36 + 130 * share[beam]))
        fade = np.linspace(1.0, 0.25, scene.shape[0], dtype=np.float32)[:, None]
        colour = ink.risk(sensing.blockage)
        ink.blend(scene, (mask * fade).astype(np.uint8), colour)
        best = self.codebook.azimuths[sensing.beam.best]
        rim = view.directions(np.array([[np.cos(best), np.sin(best), 0.0]]))
        if rim is not None:
            ink.disc(scene, rim[0], 5, ink.NIGHT)
            ink.disc(scene, rim[0], 4, colour)

    def _draw_object(self, scene: np.ndarray, view: _View, thing: SensedObject, labels: _Labels) -> None:
        corners = view.in_camera(box_corners(thing))
        if not (corners[:, 2] > NEAR).any():
            return
        colour = vehicle_colour(thing.label)
        front = corners[[0, 3, 7, 4]]
        if (front[:, 2] > NEAR).all():
            mask = np.zeros(scene.shape[:2], np.uint8)
            ink.polygon(mask, view.pixels(front), 70)
            ink.blend(scene, mask, colour)
        lines = [line for a, b in EDGES if (line := view.segment(corners[a], corners[b])) is not None]
        for width, shade in ((4, ink.NIGHT), (2, colour)):
            for line in lines:
                ink.outline(scene, line, shade, width)
        top = np.concatenate(lines).min(axis=0)
        speed = math.hypot(*thing.velocity[:2])
        labels.add(f"{thing.label}  {speed:.0f} m/s", np.concatenate(lines)[:, 0].mean(), top[1], colour)

    def _draw_person(self, scene: np.ndarray, view: _View, person: SensedPerson, labels: _Labels) -> None:
        x, y, z = person.position
        feet, head = view.in_camera(np.array([[x, y, z - PERSON_HEIGHT / 2], [x, y, z + PERSON_HEIGHT / 2]]))
        if min(feet[2], head[2]) <= NEAR:
            return
        (_, bottom), (middle, top) = view.pixels(np.array([feet, head]))
        half = abs(bottom - top) * PERSON_WIDTH / PERSON_HEIGHT / 2
        corner = half * 0.6
        for sx in (-1, 1):
            for edge, sy in ((top, 1), (bottom, -1)):
                ends = np.array([[0, sy * corner], [0, 0], [-sx * corner, 0]]) + [middle + sx * half, edge]
                ink.outline(scene, ends, ink.NIGHT, 4)
                ink.outline(scene, ends, ink.PERSON, 2)
        labels.add(person.activity, middle, top, ink.PERSON)


def box_corners(thing: SensedObject) -> np.ndarray:
    """Corners (8, 3) of the oriented box: 0..3 the bottom, 4..7 above them; 0, 3, 4 and 7 make the front."""
    along = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2 * thing.size[0]
    across = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 2 * thing.size[1]
    up = np.array([-1, -1, -1, -1, 1, 1, 1, 1]) / 2 * thing.size[2]
    cos, sin = math.cos(thing.yaw), math.sin(thing.yaw)
    return np.stack([cos * along - sin * across, sin * along + cos * across, up], axis=1) + thing.position


@dataclass(frozen=True, eq=False)
class _View:
    """A pinhole camera: `matrix` (3, 3) [px] of the scene, `camera_from_antenna` (4, 4)."""

    matrix: np.ndarray
    camera_from_antenna: np.ndarray

    def in_camera(self, points: np.ndarray) -> np.ndarray:
        return points @ self.camera_from_antenna[:3, :3].T + self.camera_from_antenna[:3, 3]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (N, 3) in front of the camera, to (N, 2) [px]."""
        image = points @ self.matrix.T
        return image[:, :2] / image[:, 2:]

    def directions(self, rays: np.ndarray) -> np.ndarray | None:
        """Antenna-frame directions (N, 3), to their vanishing points (N, 2) [px]; None if one looks away."""
        seen = rays @ self.camera_from_antenna[:3, :3].T
        return self.pixels(seen) if (seen[:, 2] > 0.05).all() else None

    def segment(self, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
        """The part of a..b (camera frame) in front of the camera, (2, 2) [px]."""
        if a[2] < NEAR and b[2] < NEAR:
            return None
        if a[2] < NEAR:
            a = b + (a - b) * (b[2] - NEAR) / (b[2] - a[2])
        elif b[2] < NEAR:
            b = a + (b - a) * (a[2] - NEAR) / (a[2] - b[2])
        return self.pixels(np.array([a, b]))


@dataclass
class _Labels:
    """Name tags, drawn last and moved upwards until none hides another."""

    scene: np.ndarray
    tags: list[tuple[str, float, float, ink.Colour]] = field(default_factory=list)

    def add(self, words: str, middle: float, bottom: float, colour: ink.Colour) -> None:
        self.tags.append((words, middle, bottom, colour))

    def draw(self) -> None:
        height, size, taken = 22, 14, []
        for words, middle, bottom, colour in reversed(self.tags):  # the nearest first: it keeps its place
            width = ink.text_width(words, size, bold=True) + 14
            if not 0 <= middle < self.scene.shape[1]:
                continue
            left = float(np.clip(middle - width / 2, 2, self.scene.shape[1] - width - 2))
            top = float(np.clip(bottom - height - 4, 2, self.scene.shape[0] - height - 2))
            near = [other for start, end, other in taken if left < end and left + width > start]
            while top > 2 and any(abs(top - other) < height for other in near):
                top -= height + 2
            taken.append((left, left + width, top))
            ink.bar(self.scene, left, top, width, height, colour)
            ink.write(self.scene, words, left + 7, top + 16, size, ink.NIGHT, bold=True)

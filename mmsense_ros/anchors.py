"""Anchored polar cells: how vehicles and people become cells of the model's dense outputs, and cells become them again.

Encoding (training targets) and decoding (perception) are each other's inverse. A thing belongs to the cell that holds its centre
(horizontal range and azimuth, `antenna_array` frame); offsets are in cells from the cell's centre. Cell q = row * columns + column.

`objects` (cells, 21): 0 objectness logit; 1:5 class logits; 5:11 colour logits; 11, 12 range and azimuth offset; 13 z of the centre [m];
14:17 log of length, width, height [m]; 17, 18 sine and cosine of the yaw; 19:21 velocity x, y [10 m/s].
`people` (cells, 4): 0 presence logit; 1, 2 range and azimuth offset; 3 z of the centre [m]. `activity` (cells, 4): logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmsense_ros.sensing import SensedObject, SensedPerson

OBJECT_LABELS = ("car", "van", "bus", "truck")
COLOURS = ("red", "blue", "green", "white", "black", "yellow")
LANES = ("near", "middle", "far", "parked")
ORDERS = ("leftmost", "second from the left", "third from the left", "fourth from the left", "rightmost")  #: places among likes
ACTIVITIES = ("stand", "walk", "run", "wave")
UNKNOWN = -1  #: index of a label, colour, lane or activity that nobody recorded

OBJECT_CHANNELS = 1 + len(OBJECT_LABELS) + len(COLOURS) + 10
PEOPLE_CHANNELS = 1 + 3
OBJECT_BOX = slice(1 + len(OBJECT_LABELS) + len(COLOURS), OBJECT_CHANNELS)
PEOPLE_BOX = slice(1, PEOPLE_CHANNELS)
VELOCITY_UNIT = 10.0  #: [m/s] one unit of the velocity channels


@dataclass(frozen=True)
class AnchorGrid:
    """Cells of range and azimuth; row 0 is nearest, column 0 furthest left, as in `PolarGrid`."""

    rows: int = 16
    columns: int = 32
    max_range: float = 64.0  #: [m]
    half_view: float = np.pi / 4  #: [rad]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.rows * self.columns

    def locate(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell index (N,) int, -1 outside the grid, and offsets (N, 2) of points `position` (N, 2 or 3) [m]."""
        position = np.asarray(position, np.float64).reshape(-1, np.shape(position)[-1])
        row = np.hypot(position[:, 0], position[:, 1]) * self.rows / self.max_range
        column = (self.half_view - np.arctan2(position[:, 1], position[:, 0])) * self.columns / (2 * self.half_view)
        inside = (row < self.rows) & (column >= 0) & (column < self.columns)
        cell = np.where(inside, np.floor(row) * self.columns + np.floor(column), -1).astype(np.int64)
        return cell, np.stack([row - np.floor(row) - 0.5, column - np.floor(column) - 0.5], axis=1)

    def place(self, cell: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Points (N, 2) x, y [m] at `offset` (N, 2) from the centres of `cell` (N,)."""
        distance = (cell // self.columns + 0.5 + offset[:, 0]) * self.max_range / self.rows
        azimuth = self.half_view - (cell % self.columns + 0.5 + offset[:, 1]) * 2 * self.half_view / self.columns
        return np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth)], axis=1)


def encode_boxes(
    position: np.ndarray, velocity: np.ndarray, size: np.ndarray, yaw: np.ndarray, grid: AnchorGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Vehicles (N, 3), (N, 3), (N, 3), (N,) as cell indices (N,) int (-1 outside) and box channels (N, 10) float32."""
    cell, offset = grid.locate(position)
    columns = [
        offset,
        position[:, 2:3],
        np.log(size),
        np.sin(yaw)[:, None],
        np.cos(yaw)[:, None],
        velocity[:, :2] / VELOCITY_UNIT,
    ]
    return cell, np.concatenate(columns, axis=1).astype(np.float32)


def encode_motion(position: np.ndarray, velocity: np.ndarray, grid: AnchorGrid) -> np.ndarray:
    """How fast things at `position` (N, 3) [m] with `velocity` (N, 3) [m/s] cross cells, (N, 2) float32 [rows/s, columns/s]."""
    (x, y), (vx, vy) = position[:, :2].T, velocity[:, :2].T
    distance = np.maximum(np.hypot(x, y), 1e-3)
    rows = (x * vx + y * vy) / distance * grid.rows / grid.max_range
    columns = -(x * vy - y * vx) / distance**2 * grid.columns / (2 * grid.half_view)
    return np.stack([rows, columns], axis=1).astype(np.float32)


def encode_people(position: np.ndarray, grid: AnchorGrid) -> tuple[np.ndarray, np.ndarray]:
    """People (N, 3) as cell indices (N,) int (-1 outside) and place channels (N, 3) float32."""
    cell, offset = grid.locate(position)
    return cell, np.concatenate([offset, position[:, 2:3]], axis=1).astype(np.float32)


def decode_objects(
    output: np.ndarray, grid: AnchorGrid, labels: Sequence[str] = OBJECT_LABELS, threshold: float = 0.3, apart: float = 2.0
) -> tuple[SensedObject, ...]:
    """Vehicles of the `objects` output (cells, 21), most confident first; of two nearer than `apart` [m] the better one stays."""
    score, cell = _candidates(output, threshold)
    box = output[cell, OBJECT_BOX].astype(np.float64)
    xy = grid.place(cell, box[:, 0:2])
    size = np.exp(np.clip(box[:, 3:6], -3.0, 4.0))
    yaw = np.arctan2(box[:, 6], box[:, 7])
    label = output[cell, 1 : 1 + len(labels)].argmax(axis=1)
    return tuple(
        SensedObject(
            label=labels[label[i]],
            position=(float(xy[i, 0]), float(xy[i, 1]), float(box[i, 2])),
            velocity=(float(box[i, 8] * VELOCITY_UNIT), float(box[i, 9] * VELOCITY_UNIT), 0.0),
            size=(float(size[i, 0]), float(size[i, 1]), float(size[i, 2])),
            yaw=float(yaw[i]),
            score=float(score[i]),
        )
        for i in _suppress(xy, apart)
    )


def decode_people(
    output: np.ndarray,
    activity: np.ndarray,
    grid: AnchorGrid,
    activities: Sequence[str] = ACTIVITIES,
    threshold: float = 0.3,
    apart: float = 0.6,
) -> tuple[SensedPerson, ...]:
    """People of the outputs `people` (cells, 4) and `activity` (cells, 4), most confident first; of two nearer than `apart` [m] the
    better one stays."""
    score, cell = _candidates(output, threshold)
    place = output[cell, PEOPLE_BOX].astype(np.float64)
    xy = grid.place(cell, place[:, 0:2])
    logits = activity[cell].astype(np.float64)
    likely = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(cell) else logits
    likely /= likely.sum(axis=1, keepdims=True)
    does = likely.argmax(axis=1)
    return tuple(
        SensedPerson(
            position=(float(xy[i, 0]), float(xy[i, 1]), float(place[i, 2])),
            activity=activities[does[i]],
            activity_probability=float(likely[i, does[i]]),
            score=float(score[i]),
        )
        for i in _suppress(xy, apart)
    )


def _candidates(output: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and cells of at least `threshold`, best first."""
    score = 1.0 / (1.0 + np.exp(-np.clip(output[:, 0].astype(np.float64), -50, 50)))
    order = np.argsort(-score, kind="stable")
    order = order[score[order] >= threshold]
    return score[order], order


def _suppress(xy: np.ndarray, apart: float) -> list[int]:
    """Indices that stay when each point removes all later ones nearer than `apart`."""
    near = np.hypot(*(xy[:, None] - xy).transpose(2, 0, 1)) < apart
    kept: list[int] = []
    for index, close in enumerate(near.tolist()):
        if not any(close[other] for other in kept):
            kept.append(index)
    return kept

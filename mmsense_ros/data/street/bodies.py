"""What things look like: every vehicle and person as a handful of coloured boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.data.street.traffic import COLOURS, Person, Vehicle

GLASS, TYRE, LAMP, REAR, SKIN, GREY = (
    (58, 72, 88),
    (28, 28, 30),
    (250, 244, 214),
    (150, 22, 20),
    (206, 160, 130),
    (150, 152, 156),
)
#: Boxes of a vehicle in units of its length, width, height: centre x, y, z, extent x, y, z, colour (None: the vehicle's own).
_WHEELS = tuple((x, y, 0.12, 0.14, 0.08, 0.24, TYRE) for x in (-0.3, 0.3) for y in (-0.468, 0.468))
_LAMPS = (
    (0.5, 0.32, 0.3, 0.012, 0.2, 0.1, LAMP), (0.5, -0.32, 0.3, 0.012, 0.2, 0.1, LAMP),
    (-0.5, 0.34, 0.34, 0.012, 0.18, 0.1, REAR), (-0.5, -0.34, 0.34, 0.012, 0.18, 0.1, REAR),
)  # fmt: skip
SHAPES = {
    "car": ((0.0, 0.0, 0.38, 1.0, 1.0, 0.42, None), (-0.06, 0.0, 0.77, 0.52, 0.86, 0.36, GLASS), (-0.06, 0.0, 0.97, 0.46, 0.8, 0.06, None)),
    "van": ((-0.06, 0.0, 0.55, 0.88, 1.0, 0.9, None), (0.42, 0.0, 0.36, 0.16, 0.96, 0.5, None), (0.385, 0.0, 0.74, 0.02, 0.86, 0.3, GLASS),
            (0.2, 0.0, 0.74, 0.2, 1.01, 0.24, GLASS)),
    "bus": ((0.0, 0.0, 0.33, 1.0, 1.0, 0.46, None), (0.0, 0.0, 0.68, 0.985, 1.005, 0.28, GLASS), (0.0, 0.0, 0.91, 1.0, 1.0, 0.18, None)),
    "truck": ((-0.13, 0.0, 0.6, 0.74, 1.0, 0.8, None), (0.38, 0.0, 0.4, 0.24, 0.96, 0.56, None), (0.4, 0.0, 0.6, 0.21, 0.98, 0.18, GLASS),
              (-0.1, 0.0, 0.17, 0.8, 0.7, 0.1, GREY)),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Parts:
    """P boxes: `centre` (P, 3) [m], `axes` (P, 3, 3) rows are half extents times unit axes [m], `colour` (P, 3), `owner` (P,) int."""

    centre: np.ndarray
    axes: np.ndarray
    colour: np.ndarray
    owner: np.ndarray

    @classmethod
    def joined(cls, parts: list[Parts]) -> Parts:
        """All boxes of several."""
        names = ("centre", "axes", "colour", "owner")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def corners(self) -> np.ndarray:
        """(P, 8, 3) corners."""
        return self.centre[:, None, :] + np.einsum("ks,psx->pkx", _CORNERS, self.axes)

    def triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (8P, 3) float32 and triangles (12P, 3) uint32; box p owns triangles 12p to 12p + 11."""
        faces = _FACES[None] + 8 * np.arange(len(self.centre), dtype=np.uint32)[:, None, None]
        return self.corners.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3)


_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_FACES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ],
    np.uint32,
)


def boxes(centre: np.ndarray, size: np.ndarray, yaw: float, colour: np.ndarray, owner: int) -> Parts:
    """Upright boxes (P, 3) turned about z by `yaw`."""
    axes = np.einsum("ps,sx->psx", np.asarray(size, float) / 2, _turned(yaw))
    count = len(axes)
    return Parts(np.asarray(centre, float), axes, np.asarray(colour, float).reshape(count, 3), np.full(count, owner))


def vehicle_parts(vehicle: Vehicle, xy: np.ndarray, ground: float, yaw: float, owner: int) -> Parts:
    """A vehicle standing on `ground` at `xy`, its front towards `yaw`."""
    rows = (*SHAPES[vehicle.label], *_WHEELS, *_LAMPS)
    size = np.array(vehicle.size)
    local = np.array([row[:3] for row in rows]) * size
    extent = np.array([row[3:6] for row in rows]) * size
    colour = [COLOURS[vehicle.colour] if row[6] is None else row[6] for row in rows]
    centre = local @ _turned(yaw) + [*xy, ground]
    return boxes(centre, extent, yaw, colour, owner)


def person_parts(person: Person, xy: np.ndarray, ground: float, yaw: float, activity: str, t: float, owner: int) -> Parts:
    """A person on `ground`: legs and arms swing when they walk or run, an arm waves above the head when they wave."""
    h = person.height
    swing, pace = {"walk": (0.45, 1.9), "run": (0.85, 2.9)}.get(activity, (0.0, 1.0))
    beat = np.sin(2 * np.pi * pace * t + person.phase)
    leg, arm = swing * beat, -0.8 * swing * beat
    hip, shoulder = 0.5 * h, 0.82 * h
    limbs = [
        (0.09, hip, leg, None, 0.5 * h, 0.15, person.trousers), (-0.09, hip, -leg, None, 0.5 * h, 0.15, person.trousers),
        (0.25, shoulder, arm, None, 0.38 * h, 0.1, person.shirt), (-0.25, shoulder, -arm, None, 0.38 * h, 0.1, person.shirt),
    ]  # fmt: skip
    if activity == "wave":
        sway = 0.5 * np.sin(2 * np.pi * 1.3 * t + person.phase)
        limbs[2] = (0.25, shoulder, 0.0, sway, 0.42 * h, 0.11, SKIN)
    turn = _turned(yaw)
    trunk = np.array([[0, 0, 0.67 * h], [0, 0, 0.93 * h]])
    parts = [
        boxes(trunk @ turn + [*xy, ground], [[0.24, 0.42, 0.34 * h], [0.2, 0.18, 0.14 * h]], yaw, [person.shirt, SKIN], owner)
    ]
    for side, root, pitch, roll, length, thick, colour in limbs:
        if roll is None:  # swings fore and aft, hanging down at pitch 0
            sin, cos = np.sin(pitch), np.cos(pitch)
            frame = np.array([[cos, 0, sin], [0, 1, 0], [sin, 0, -cos]])
        else:  # raised, swaying sideways
            sin, cos = np.sin(roll), np.cos(roll)
            frame = np.array([[-1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        centre = (np.array([0.0, side, root]) + frame[2] * length / 2) @ turn + [*xy, ground]
        axes = (frame * np.array([[thick], [thick], [length]]) / 2) @ turn
        parts.append(Parts(centre[None], axes[None], np.array([colour], float), np.array([owner])))
    return Parts.joined(parts)


def _turned(yaw: float) -> np.ndarray:
    """Rows are the turned unit axes, so that `local @ _turned(yaw)` turns row vectors."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])

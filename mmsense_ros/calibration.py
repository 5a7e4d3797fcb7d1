"""Where the sensors are: extrinsics from a YAML file, from /tf_static or given outright; never assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmsense_ros.errors import CalibrationError

ANTENNA_FRAME = "antenna_array"


class Calibration:
    """A tree of rigid transforms, asked for what leads into `antenna_array`.

    `parents` maps each frame to (parent, parent_from_frame (4, 4)). Raises CalibrationError if frames go round in a circle.
    """

    def __init__(self, parents: Mapping[str, tuple[str, np.ndarray]], source: str = "the calibration") -> None:
        self._parents = dict(parents)
        self._source = source
        self._known: dict[str, np.ndarray] = {}
        for frame in self._parents:
            self._chain(frame)

    @classmethod
    def from_matrices(cls, matrices: Mapping[str, np.ndarray]) -> Calibration:
        """From antenna_from_frame (4, 4) a frame."""
        return cls({frame: (ANTENNA_FRAME, np.asarray(matrix, float)) for frame, matrix in matrices.items()})

    @classmethod
    def from_transforms(cls, transforms: Iterable[Any], source: str = "/tf_static") -> Calibration:
        """From geometry_msgs/TransformStamped messages; a later one of a frame replaces an earlier."""
        parents = {}
        for item in transforms:
            t, q = item.transform.translation, item.transform.rotation
            child = item.child_frame_id.lstrip("/")
            place = f"{source}: {child}"
            parents[child] = (
                item.header.frame_id.lstrip("/"),
                _matrix([t.x, t.y, t.z], _turn([q.x, q.y, q.z, q.w], place), place),
            )
        return cls(parents, source)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """From a YAML file such as config/calibration.yaml: frames with `parent`, `translation` [m] and `rotation`, either
        roll, pitch, yaw [rad] about fixed axes (REP-103) or a quaternion x, y, z, w."""
        try:
            frames = yaml.load(Path(path).read_text(), _UniqueKeys)["frames"]
            items = list(frames.items())
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(f"calibration {path} cannot be read ({error}); see config/calibration.yaml") from error
        parents = {}
        for frame, entry in items:
            place = f"{path}: frame {frame}"
            if not isinstance(entry, dict) or set(entry) - {"parent", "translation", "rotation"} or len(entry) != 3:
                raise CalibrationError(f"{place} must have parent, translation and rotation; see config/calibration.yaml")
            parent, child = (_frame_name(name, place) for name in (entry["parent"], frame))
            if child in parents:
                raise CalibrationError(f"{place} stands there twice; keep one")
            parents[child] = (parent, _matrix(entry["translation"], _turn(entry["rotation"], place), place))
        return cls(parents, str(path))

    def save(self, path: str | Path) -> None:
        """Write a YAML file that `load` reads."""
        frames = {}
        for frame, (parent, matrix) in self._parents.items():
            rotation = [float(angle) for angle in _roll_pitch_yaw(matrix[:3, :3])]
            frames[frame] = {"parent": parent, "translation": [float(x) for x in matrix[:3, 3]], "rotation": rotation}
        Path(path).write_text(yaml.safe_dump({"frames": frames}, sort_keys=False, default_flow_style=None))

    def over(self, other: Calibration) -> Calibration:
        """Both together; of a frame that both know, this one is believed."""
        return Calibration(other._parents | self._parents, f"{self._source} with {other._source}")

    @property
    def frames(self) -> tuple[str, ...]:
        """All frames known, `antenna_array` first."""
        return (ANTENNA_FRAME, *(frame for frame in self._parents if frame != ANTENNA_FRAME))

    @property
    def poses(self) -> dict[str, np.ndarray]:
        """antenna_from_frame (4, 4) of every frame but the antenna's. Raises CalibrationError if one is not connected."""
        return {frame: self.antenna_from(frame) for frame in self.frames[1:]}

    def antenna_from(self, frame: str) -> np.ndarray:
        """antenna_from_frame (4, 4) float64. Raises CalibrationError, naming both frames, if nothing connects them."""
        if frame == ANTENNA_FRAME:
            return np.eye(4)
        if frame not in self._known:
            known = ", ".join(self.frames)
            fault = f"{self._source} has no transform from '{frame}' to '{ANTENNA_FRAME}' (it has {known})"
            raise CalibrationError(f"{fault}; add it, or correct the frame_id of the sensor's messages")
        return self._known[frame]

    def _chain(self, frame: str) -> None:
        """Follow the parents of `frame` up to the antenna, if they lead there, in either direction."""
        matrix, at, seen = np.eye(4), frame, [frame]
        while at in self._parents and at != ANTENNA_FRAME:
            at, step = self._parents[at]
            matrix = step @ matrix
            if at in seen:
                raise CalibrationError(
                    f"{self._source}: frames go round in a circle ({' -> '.join([*seen, at])}); give each one parent"
                )
            seen.append(at)
        root_from_antenna, top = np.eye(4), ANTENNA_FRAME
        climbed = {top}
        while top in self._parents:
            top, step = self._parents[top]
            root_from_antenna = step @ root_from_antenna
            if top in climbed:
                raise CalibrationError(f"{self._source}: frames go round in a circle through {top}; give each one parent")
            climbed.add(top)
        if at == ANTENNA_FRAME:
            self._known[frame] = matrix
            return
        if at == top:
            self._known[frame] = np.linalg.inv(root_from_antenna) @ matrix


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which no key may stand twice: of two poses of a frame, none is believed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _frame_name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not name.strip("/"):
        raise CalibrationError(f"{place}: {name} is no name of a frame; put a word there")
    return name.lstrip("/")


def _matrix(translation: Any, rotation: np.ndarray, place: str) -> np.ndarray:
    try:
        offset = np.asarray(translation, float).reshape(3)
    except (TypeError, ValueError):
        offset = np.full(3, np.nan)
    if not np.isfinite(offset).all():
        raise CalibrationError(f"{place}: translation {translation} is no x, y, z [m]; correct it")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, offset
    return matrix


def _turn(rotation: Any, place: str) -> np.ndarray:
    """Rotation matrix of roll, pitch, yaw or of a quaternion x, y, z, w."""
    try:
        values = np.asarray(rotation, float).reshape(-1)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if len(values) not in (3, 4) or not np.isfinite(values).all():
        raise CalibrationError(
            f"{place}: rotation {rotation} is neither roll, pitch, yaw [rad] nor a quaternion x, y, z, w; correct it"
        )
    if len(values) == 3:
        (cr, cp, cy), (sr, sp, sy) = np.cos(values), np.sin(values)
        return np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                [-sp, cp * sr, cp * cr],
            ]
        )
    norm = np.linalg.norm(values)
    if abs(norm - 1) > 0.01:
        raise CalibrationError(f"{place}: quaternion {values.tolist()} has length {norm:.3f}, not 1; correct it")
    x, y, z, w = values / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _roll_pitch_yaw(rotation: np.ndarray) -> tuple[float, float, float]:
    pitch = np.arcsin(np.clip(-rotation[2, 0], -1, 1))
    if abs(rotation[2, 0]) > 1 - 1e-9:  # looking straight up or down: yaw and roll turn about the same axis
        return np.arctan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0
    return np.arctan2(rotation[2, 1], rotation[2, 2]), pitch, np.arctan2(rotation[1, 0], rotation[0, 0])

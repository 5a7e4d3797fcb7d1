"""nuScenes (Caesar et al., CVPR 2020): one scene of a car's front camera, front radar and LiDAR.

The car stands in for a roadside unit: `antenna_array` is put at the LiDAR's origin and looks ahead. Radial velocities are as
measured, the car's own motion in them; those of the truth are over ground. Boxes are annotated twice a second and have the stamp of the
camera's keyframe.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmsense_ros.data.datasets.clouds import floats, lidar_of, pcd
from mmsense_ros.data.datasets.nuscenes_tables import Row, by_token, matrix
from mmsense_ros.data.datasets.records import camera_records, lidar_record, radar_record
from mmsense_ros.data.datasets.scene import scene_record
from mmsense_ros.data.datasets.source import FRAMES, Record, Tally
from mmsense_ros.errors import BagError
from mmsense_ros.messages.radar import RCS_FLOOR
from mmsense_ros.sensing import SensedObject, SensedPerson
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, RadarPoints

CHANNELS = {"CAM_FRONT": CAMERA, "RADAR_FRONT": RADAR, "LIDAR_TOP": LIDAR}
VEHICLES = {"vehicle.car": "car", "vehicle.truck": "truck", "vehicle.bus.rigid": "bus", "vehicle.bus.bendy": "bus"}
PERSON = "human.pedestrian."
ACTIVITIES = {"pedestrian.moving": "walk", "pedestrian.standing": "stand"}
SWEEP = 5  #: columns of a .pcd.bin file: x, y, z, intensity, ring
VALID, UNAMBIGUOUS = 0, 3  #: invalid_state and ambig_state of detections that the devkit keeps
MICROSECOND = 1000  #: [ns]
LONGEST = 1.5  #: [s] between annotations that still tell a velocity


class NuScenes:
    """A scene, the only one there by default, of a folder that holds one version (such as v1.0-mini), or of that version's.

    Raises BagError if there is none, or a table is missing or damaged.
    """

    def __init__(self, folder: str | Path, scene: str = "") -> None:
        self._tables = _version(Path(folder))
        with self._fitting():
            self._read(self._tables, _scene(self._tables, scene))
            self._annotate(self._tables)
        self.assumed = [
            "the antenna array is at the LiDAR and looks ahead",
            "people labelled as moving walk; the activity of those who sit or have no label is left empty",
            "vans are labelled as cars",
        ]

    def samples(self, tally: Tally) -> Iterator[list[Record]]:
        """See `Source`."""
        for row in self._data:
            records: list[Record] = []
            sensor, stamp = self._sensor[row["calibrated_sensor_token"]], row["timestamp"] * MICROSECOND
            with tally.part():
                path = self._tables.parent / row["filename"]
                if sensor == CAMERA:
                    records += camera_records(path, stamp, self._intrinsics)
                elif sensor == RADAR:
                    records.append(radar_record(radar_file(path, stamp)))
                else:
                    records.append(lidar_record(lidar_of(floats(path, SWEEP)[:, :4], stamp, FRAMES[LIDAR])))
            if self._is_keyframe(row):
                with tally.part(), self._fitting():
                    records.append(self._truth(row, stamp, tally))
            yield records

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Around whatever looks up rows of one table by another's."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            raise BagError(f"{self._tables} holds tables that do not fit each other ({error!r}); unpack them again") from error

    def _read(self, tables: Path, scene: str) -> None:
        """Read which files the scene has, and where the sensors and the car are."""
        self._moments = by_token(tables / "sample.json", lambda row: row["scene_token"] == scene)
        sensors = by_token(tables / "sensor.json", lambda row: row["channel"] in CHANNELS)
        calibrated = by_token(tables / "calibrated_sensor.json", lambda row: row["sensor_token"] in sensors)
        data = by_token(
            tables / "sample_data.json",
            lambda row: row["sample_token"] in self._moments and row["calibrated_sensor_token"] in calibrated,
        )
        self._data = sorted(data.values(), key=lambda row: row["timestamp"])
        self.count = len(self._data)
        self._sensor = {key: CHANNELS[sensors[row["sensor_token"]]["channel"]] for key, row in calibrated.items()}
        used = {self._sensor[row["calibrated_sensor_token"]]: calibrated[row["calibrated_sensor_token"]] for row in self._data}
        if LIDAR not in used:
            raise BagError(f"{tables / 'sample_data.json'} names no LIDAR_TOP files of the scene; unpack it again")
        ego_from_antenna = np.eye(4)
        ego_from_antenna[:3, 3] = used[LIDAR]["translation"]
        self._antenna_from_ego = np.linalg.inv(ego_from_antenna)
        self.poses = {FRAMES[sensor]: self._antenna_from_ego @ matrix(used[sensor]) for sensor in FRAMES if sensor in used}
        self._intrinsics = np.array(used[CAMERA]["camera_intrinsic"], float) if CAMERA in used else None
        keyframes = {row["ego_pose_token"] for row in self._data if self._is_keyframe(row)}
        self._egos = by_token(tables / "ego_pose.json", lambda row: row["token"] in keyframes)

    def _is_keyframe(self, row: Row) -> bool:
        return row["is_key_frame"] and self._sensor[row["calibrated_sensor_token"]] == CAMERA

    def _annotate(self, tables: Path) -> None:
        """Read the scene's boxes, and what they are called."""
        self._boxes = by_token(tables / "sample_annotation.json", lambda row: row["sample_token"] in self._moments)
        things = {box["instance_token"] for box in self._boxes.values()}
        instances = by_token(tables / "instance.json", lambda row: row["token"] in things)
        categories, attributes = by_token(tables / "category.json"), by_token(tables / "attribute.json")
        self._class = {key: categories[row["category_token"]]["name"] for key, row in instances.items()}
        self._attribute = {key: row["name"] for key, row in attributes.items()}
        self._by_moment: dict[str, list[Row]] = defaultdict(list)
        for box in self._boxes.values():
            self._by_moment[box["sample_token"]].append(box)

    def _truth(self, keyframe: Row, stamp: int, tally: Tally) -> Record:
        """The vehicles and people that at least one point of LiDAR or radar met."""
        antenna_from_world = self._antenna_from_ego @ np.linalg.inv(matrix(self._egos[keyframe["ego_pose_token"]]))
        objects, people = [], []
        for box in self._by_moment[keyframe["sample_token"]]:
            if not box["num_lidar_pts"] + box["num_radar_pts"]:
                continue
            name, pose = self._class[box["instance_token"]], antenna_from_world @ matrix(box)
            position = tuple(pose[:3, 3].tolist())
            if name in VEHICLES:
                width, length, height = box["size"]
                velocity = tuple((antenna_from_world[:3, :3] @ self._velocity(box)).tolist())
                yaw = math.atan2(pose[1, 0], pose[0, 0])
                objects.append(SensedObject(VEHICLES[name], position, velocity, (length, width, height), yaw, 1.0))
            elif name.startswith(PERSON):
                said = {self._attribute.get(token, "") for token in box["attribute_tokens"]}
                activity = next((ACTIVITIES[word] for word in sorted(said) if word in ACTIVITIES), "")
                people.append(SensedPerson(position, activity, 1.0, 1.0))
            else:
                tally.left_out[name] += 1
        return scene_record(stamp, objects, people, VEHICLES.values())

    def _velocity(self, box: Row) -> np.ndarray:
        """Over ground (3,) [m/s], from the annotations before and after; NaN if there are none near in time."""
        first, last = (self._boxes.get(box[other], box) for other in ("prev", "next"))
        steps = sum(end is not box for end in (first, last))
        start, stop = (self._moments[end["sample_token"]]["timestamp"] * 1e-6 for end in (first, last))
        if not steps or stop - start > LONGEST * steps:
            return np.full(3, np.nan)
        return (np.array(last["translation"]) - np.array(first["translation"])) / (stop - start)


def radar_file(path: Path, stamp: int) -> RadarPoints:
    """The valid, unambiguous detections of a .pcd file. Raises BagError."""
    points = pcd(path)
    needed = ("x", "y", "z", "rcs", "vx", "vy", "invalid_state", "ambig_state")
    if missing := [name for name in needed if name not in (points.dtype.names or ())]:
        raise BagError(f"{path} has no column {', '.join(missing)}; unpack it again")
    points = points[(points["invalid_state"] == VALID) & (points["ambig_state"] == UNAMBIGUOUS)]
    x, y, z, rcs, vx, vy = (points[name].astype(np.float32) for name in needed[:6])
    met = np.isfinite(x + y + z + rcs + vx + vy)  # an empty file holds one point of NaN
    velocity = (x * vx + y * vy) / np.maximum(np.hypot(x, y), np.float32(1e-3))
    return RadarPoints(stamp, FRAMES[RADAR], np.stack([x, y, z], axis=1)[met], velocity[met], rcs[met] - np.float32(RCS_FLOOR))


def _version(folder: Path) -> Path:
    found = [folder] if (folder / "scene.json").exists() else sorted(path.parent for path in folder.glob("*/scene.json"))
    if len(found) != 1:
        names = f"{len(found)} versions ({', '.join(path.name for path in found)})" if found else "no tables of nuScenes"
        raise BagError(f"{folder} holds {names}; name the folder of one, such as v1.0-mini")
    return found[0]


def _scene(tables: Path, name: str) -> str:
    """Token of the scene of this name."""
    scenes = {row["name"]: token for token, row in by_token(tables / "scene.json").items()}
    if name in scenes or (not name and len(scenes) == 1):
        return scenes[name] if name else next(iter(scenes.values()))
    shown = ", ".join(sorted(scenes)[:10]) + (", ..." if len(scenes) > 10 else "")
    raise BagError(f"{tables} holds {f'no scene {name}, but ' if name else ''}{shown or 'no scene'}; name one: --scene NAME")

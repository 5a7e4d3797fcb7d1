"""KITTI (Geiger et al., CVPR 2012) and View-of-Delft (Palffy et al., IEEE RA-L 7(2), 2022): numbered frames of a car's sensors.

The car stands in for a roadside unit: `antenna_array` is put at the LiDAR's origin, which looks along the road. Radial velocities are
as measured, the car's own motion in them; labels do not tell how fast things move.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsense_ros.data.datasets.clouds import floats, lidar_of
from mmsense_ros.data.datasets.records import camera_records, lidar_record, radar_record
from mmsense_ros.data.datasets.scene import scene_record
from mmsense_ros.data.datasets.source import FRAMES, Record, Tally
from mmsense_ros.data.datasets.stamps import EPOCH
from mmsense_ros.errors import BagError, CalibrationError
from mmsense_ros.messages.radar import RCS_FLOOR
from mmsense_ros.sensing import SensedObject, SensedPerson
from mmsense_ros.snapshot import CAMERA, LIDAR, NANOSECONDS, RADAR, RadarPoints

VEHICLES = {"Car": "car", "Van": "van", "Truck": "truck"}
PEOPLE = ("Pedestrian", "Person_sitting")
UNLABELLED = "DontCare"  #: a region that was not annotated
HIDDEN = 3  #: occlusion from which a thing is not known to be seen
DRIFT = 1e-4  #: poses that differ by more are of another calibration


@dataclass(frozen=True)
class Frame:
    """The files of one frame; those of the radar and the labels are None where the dataset has none."""

    number: int
    camera: Path
    lidar: Path
    calibration: Path
    labels: Path | None
    radar: Path | None = None
    radar_calibration: Path | None = None


class Kitti:
    """A folder of frames in one of three layouts. Raises BagError if there is none, CalibrationError if none is calibrated.

    KITTI's `training` (image_2, velodyne, calib, label_2); View-of-Delft's release, which has that under `lidar` and again under
    `radar`; or single frames of it as folders (camera.jpg, lidar.bin, radar.bin, calib_lidar.txt, calib_radar.txt, labels.txt).
    """

    def __init__(self, folder: str | Path, rate: float = 10.0) -> None:
        self._frames, self._rate = frames(Path(folder)), rate
        self.count = len(self._frames)
        self.poses: Mapping[str, np.ndarray] = _first_poses(self._frames)
        self.assumed = [
            f"the data has no stamps: frames are {rate:g} a second by their numbers",
            "the antenna array is at the LiDAR and looks where it does",
            "what people do is not labelled: their activity is left empty",
        ]

    def samples(self, tally: Tally) -> Iterator[list[Record]]:
        """See `Source`."""
        for frame in self._frames:
            records: list[Record] = []
            with tally.part():
                if any(not np.allclose(pose, self.poses[name], atol=DRIFT) for name, pose in poses(frame).items()):
                    raise CalibrationError(f"{frame.calibration} differs from the first frame's; convert its day on its own")
                stamp = EPOCH + round(frame.number / self._rate * NANOSECONDS)
                if frame.radar:
                    with tally.part():
                        records.append(radar_record(_radar(frame.radar, stamp)))
                with tally.part():
                    records.append(lidar_record(lidar_of(floats(frame.lidar, 4), stamp, FRAMES[LIDAR])))
                with tally.part():
                    records += camera_records(frame.camera, stamp, entry(frame.calibration, "P2", (3, 4))[:, :3])
                if frame.labels:
                    with tally.part():
                        records.append(_truth(frame, stamp, tally))
            yield records


def frames(folder: Path) -> list[Frame]:
    """All frames of a folder, in the order of their numbers. Raises BagError."""
    single = [folder] if (folder / "camera.jpg").exists() else [path.parent for path in folder.glob("*/camera.jpg")]
    if single:
        return sorted((_single(path, place) for place, path in enumerate(sorted(single))), key=lambda frame: frame.number)
    for base in (folder / "lidar" / "training", folder / "training", folder):
        names = {file.stem for kind in ("velodyne", "image_2") for file in (base / kind).glob("*.*")}
        if numbered := sorted(name for name in names if name.isdecimal()):
            radar = folder / "radar" / "training"
            return [_numbered(base, radar if radar.is_dir() else None, name) for name in numbered]
    raise BagError(
        f"{folder} holds no frames of KITTI or View-of-Delft; name the folder that holds training/ or lidar/training/"
    )


def poses(frame: Frame) -> dict[str, np.ndarray]:
    """antenna_from_frame (4, 4) of each sensor. Raises CalibrationError."""
    projection = entry(frame.calibration, "P2", (3, 4))
    # The rectified camera 0, in which labels are, lies beside camera 2.
    camera_from_zero = np.eye(4)
    camera_from_zero[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    lidar_from_zero = np.linalg.inv(_zero_from_sensor(frame.calibration))
    found = {FRAMES[CAMERA]: lidar_from_zero @ np.linalg.inv(camera_from_zero), FRAMES[LIDAR]: np.eye(4)}
    if frame.radar_calibration:
        found[FRAMES[RADAR]] = lidar_from_zero @ _zero_from_sensor(frame.radar_calibration)
    return found


def entry(path: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """The numbers of a line of a KITTI calibration file. Raises CalibrationError."""
    try:
        entries = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        values = np.array(entries[name].split(), float).reshape(shape)
        if not np.isfinite(values).all() or np.linalg.matrix_rank(values) < len(values):
            raise ValueError(f"{values.tolist()} cannot be inverted")
        return values
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise CalibrationError(f"{path} lacks {math.prod(shape)} numbers for {name} ({error}); copy it again") from error


def _single(folder: Path, place: int) -> Frame:
    number = int(folder.name) if folder.name.isdecimal() else place
    files = ("camera.jpg", "lidar.bin", "calib_lidar.txt", "labels.txt", "radar.bin", "calib_radar.txt")
    return Frame(number, *(folder / name for name in files))


def _numbered(base: Path, radar: Path | None, name: str) -> Frame:
    images = base / "image_2"
    camera = next((path for path in (images / f"{name}.png", images / f"{name}.jpg") if path.exists()), images / f"{name}.jpg")
    labels = base / "label_2"
    return Frame(
        int(name),
        camera,
        base / "velodyne" / f"{name}.bin",
        base / "calib" / f"{name}.txt",
        labels / f"{name}.txt" if labels.is_dir() else None,
        radar / "velodyne" / f"{name}.bin" if radar else None,
        radar / "calib" / f"{name}.txt" if radar else None,
    )


def _first_poses(found: list[Frame]) -> dict[str, np.ndarray]:
    """Those of the first frame that has them."""
    fault: CalibrationError | None = None
    for frame in found:
        try:
            return poses(frame)
        except CalibrationError as error:
            fault = fault or error
    raise fault or CalibrationError("no frame is calibrated; copy the calibration files again")


def _zero_from_sensor(path: Path) -> np.ndarray:
    rectified_from_zero, zero_from_sensor = np.eye(4), np.eye(4)
    rectified_from_zero[:3, :3] = entry(path, "R0_rect", (3, 3))
    zero_from_sensor[:3] = entry(path, "Tr_velo_to_cam", (3, 4))
    return rectified_from_zero @ zero_from_sensor


def _radar(path: Path, stamp: int) -> RadarPoints:
    """View-of-Delft's detections: x, y, z, radar cross section [dBsm], radial velocity, two more."""
    points = floats(path, 7)
    points = points[np.isfinite(points).all(axis=1)]
    return RadarPoints(stamp, FRAMES[RADAR], points[:, :3], points[:, 4], points[:, 3] - np.float32(RCS_FLOOR))


def _truth(frame: Frame, stamp: int, tally: Tally) -> Record:
    """The labelled vehicles and people."""
    assert frame.labels
    lidar_from_zero = np.linalg.inv(_zero_from_sensor(frame.calibration))
    objects, people = [], []
    try:
        for words in map(str.split, frame.labels.read_text().splitlines()):
            occluded, height, width, length, x, y, z, turn = (float(words[place]) for place in (2, *range(8, 15)))
            # Labels place the middle of a thing's bottom; it stands upright, and turns about the LiDAR's -z from -y.
            position = tuple((lidar_from_zero @ [x, y, z, 1])[:3] + [0, 0, height / 2])
            if words[0] == UNLABELLED or occluded >= HIDDEN:
                continue
            if words[0] in VEHICLES:
                yaw = math.remainder(-turn - math.pi / 2, math.tau)
                objects.append(SensedObject(VEHICLES[words[0]], position, (math.nan,) * 3, (length, width, height), yaw, 1.0))
            elif words[0] in PEOPLE:
                people.append(SensedPerson(position, "", 1.0, 1.0))
            else:
                tally.left_out[words[0]] += 1
    except (OSError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise BagError(f"{frame.labels} is missing or no KITTI label file ({error}); copy it again") from error
    return scene_record(stamp, objects, people, VEHICLES.values())

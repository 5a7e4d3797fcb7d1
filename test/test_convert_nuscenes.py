"""A nuScenes scene as a bag: tables and files are written from the published schema, and come back as readings and truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmsense_ros import cli
from mmsense_ros.data.datasets.convert import convert
from mmsense_ros.data.datasets.nuscenes import NuScenes
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.errors import BagError
from mmsense_ros.messages.sensing import sensing_of

START = 1_532_402_927_000_000  #: [us]
K = [[1266.4, 0.0, 80.0], [0.0, 1266.4, 45.0], [0.0, 0.0, 1.0]]
LIDAR_IN_EGO = (0.94, 0.0, 1.84)
UNTURNED = [1.0, 0.0, 0.0, 0.0]
EGO = (400.0, 1100.0, 0.0)  #: [m] of the car in the world; it drives towards +y
CAR, WALKER = (400.0 - 2.0, 1100.0 + 20.94, 1.0), (403.0, 1110.94, 1.0)

Row = dict[str, Any]


def turned(yaw: float = 0.0, optical: bool = False) -> list[float]:
    """Quaternion w, x, y, z."""
    rotation = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]) if optical else Rotation.from_euler("z", yaw)
    x, y, z, w = rotation.as_quat()
    return [float(w), float(x), float(y), float(z)]


def radar_file(path: Path) -> None:
    """Four detections: a good one, an invalid and an ambiguous one, and one of nothing."""
    kinds = dict.fromkeys(("x", "y", "z"), "f4") | {"dyn_prop": "i1", "id": "i2"}
    kinds |= dict.fromkeys(("rcs", "vx", "vy", "vx_comp", "vy_comp"), "f4")
    states = ("is_quality_valid", "ambig_state", "x_rms", "y_rms", "invalid_state", "pdh0", "vx_rms", "vy_rms")
    kinds |= dict.fromkeys(states, "i1")
    points = np.zeros(4, [(name, f"<{kind}") for name, kind in kinds.items()])
    points["x"], points["y"], points["rcs"] = (30, 31, 32, np.nan), (40, 41, 42, 0), 5
    points["vx"], points["vy"], points["ambig_state"], points["invalid_state"] = 6, 8, (3, 3, 1, 3), (0, 4, 0, 0)
    header = ["# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", f"FIELDS {' '.join(kinds)}"]
    header += [
        f"SIZE {' '.join(kind[1] for kind in kinds.values())}",
        f"TYPE {' '.join(kind[0].upper() for kind in kinds.values())}",
    ]
    header += [
        f"COUNT {' '.join('1' * len(kinds))}",
        "WIDTH 4",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        "POINTS 4",
        "DATA binary",
        "",
    ]
    path.write_bytes("\n".join(header).encode() + points.tobytes())


def dataset(folder: Path, scenes: int = 1) -> Path:
    """Writes a version with `scenes` scenes of two keyframes, half a second apart, and a sweep of the camera between them."""
    tables: dict[str, list[Row]] = {name: [] for name in (
        "scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose", "sample_annotation", "instance", "category",
        "attribute")}  # fmt: skip
    mounts: dict[str, tuple[tuple[float, float, float], list[float], list]] = {
        "CAM_FRONT": ((1.7, 0.0, 1.5), turned(optical=True), K),
        "RADAR_FRONT": ((3.4, 0.0, 0.5), UNTURNED, []),
        "LIDAR_TOP": (LIDAR_IN_EGO, turned(-np.pi / 2), []),
        "CAM_BACK": ((0.0, 0.0, 1.5), UNTURNED, K),
    }
    for kind in ("samples", "sweeps"):
        (folder / kind).mkdir(parents=True)
    for channel, (place, rotation, intrinsics) in mounts.items():
        tables["sensor"].append({"token": f"s-{channel}", "channel": channel, "modality": ""})
        row = {"token": f"c-{channel}", "sensor_token": f"s-{channel}", "translation": place, "rotation": rotation}
        tables["calibrated_sensor"].append(row | {"camera_intrinsic": intrinsics})
    names = {"car": "vehicle.car", "adult": "human.pedestrian.adult", "bike": "vehicle.bicycle"}
    tables["category"] = [{"token": token, "name": name} for token, name in names.items()]
    tables["attribute"] = [{"token": "a1", "name": "pedestrian.moving"}, {"token": "a2", "name": "vehicle.moving"}]
    for scene in range(scenes):
        tables["scene"].append({"token": f"scene{scene}", "name": f"scene-{scene:04d}"})
        things = {"car": (CAR, ["a2"], 5), "adult": (WALKER, ["a1"], 5), "bike": (WALKER, [], 5), "hidden": (CAR, [], 0)}
        for thing in things:
            tables["instance"].append({"token": f"{thing}{scene}", "category_token": "car" if thing == "hidden" else thing})
        for moment in range(2):
            sample, time = f"m{scene}.{moment}", START + 1_000_000 * scene + 500_000 * moment
            tables["sample"].append({"token": sample, "timestamp": time, "scene_token": f"scene{scene}"})
            for lag, channel in enumerate(mounts):
                add_data(folder, tables, sample, channel, time + 10_000 * lag, True)
            for thing, (place, attributes, points) in things.items():
                tables["sample_annotation"].append({
                    "token": f"{thing}{scene}.{moment}", "sample_token": sample, "instance_token": f"{thing}{scene}",
                    "attribute_tokens": attributes, "translation": (place[0], place[1] + 4.0 * moment, place[2]),
                    "size": [1.9, 4.5, 1.6], "rotation": turned(np.pi / 2), "num_lidar_pts": points, "num_radar_pts": 0,
                    "prev": f"{thing}{scene}.0" if moment else "", "next": "" if moment else f"{thing}{scene}.1",
                })  # fmt: skip
        add_data(folder, tables, f"m{scene}.1", "CAM_FRONT", START + 1_000_000 * scene + 250_000, False)
    version = folder / "v1.0-mini"
    version.mkdir()
    for name, content in tables.items():
        (version / f"{name}.json").write_text(json.dumps(content, indent=0))
    return folder


def add_data(folder: Path, tables: dict[str, list[Row]], sample: str, channel: str, time: int, key: bool) -> None:
    """A row of sample_data, its ego pose and its file."""
    name = f"{'samples' if key else 'sweeps'}/{channel}__{time}"
    name += {"C": ".jpg", "R": ".pcd", "L": ".pcd.bin"}[channel[0]]
    tables["ego_pose"].append(
        {"token": f"e-{channel}{time}", "translation": EGO, "rotation": turned(np.pi / 2), "timestamp": time}
    )
    tables["sample_data"].append({
        "token": f"d-{channel}{time}", "sample_token": sample, "ego_pose_token": f"e-{channel}{time}",
        "calibrated_sensor_token": f"c-{channel}", "filename": name, "timestamp": time, "is_key_frame": key,
    })  # fmt: skip
    if channel.startswith("CAM"):
        cv2.imwrite(str(folder / name), np.full((90, 160, 3), time % 251, np.uint8))
    elif channel == "RADAR_FRONT":
        radar_file(folder / name)
    else:
        rows = np.array([(0, 10, 0, 51, 3), (0, 20, 1, 255, 4), (np.nan, 0, 0, 0, 0)], "<f4")
        rows.tofile(folder / name)


def test_readings_are_what_the_files_hold(tmp_path: Path) -> None:
    source = NuScenes(dataset(tmp_path / "nu"))
    tally = convert(source, tmp_path / "bag", strict=True)
    assert source.count == tally.samples == 7 and tally.left_out == {"vehicle.bicycle": 2}
    with Recording(tmp_path / "bag") as recording:
        moments = list(recording.moments())
        assert [moment.snapshot.stamp for moment in moments] == [1000 * (START + us) for us in (0, 250_000, 500_000)]
        snapshot = moments[0].snapshot
        assert not snapshot.missing and (snapshot.readings["camera"].image == START % 251).all()
        radar = snapshot.readings["radar"]  # only the good detection is kept
        np.testing.assert_array_equal(radar.xyz, [(30, 40, 0)])
        np.testing.assert_allclose([*radar.velocity, *radar.intensity], [(30 * 6 + 40 * 8) / 50, 35])
        np.testing.assert_array_equal(snapshot.readings["lidar"].xyz, [(0, 10, 0), (0, 20, 1)])
        np.testing.assert_allclose(snapshot.readings["lidar"].intensity, [0.2, 1])
        lidar, camera = (recording.calibration.antenna_from(frame) for frame in ("lidar", "camera_optical"))
        np.testing.assert_allclose(lidar @ [0, 10, 0, 1], [10, 0, 0, 1], atol=1e-9)  # its y looks ahead
        np.testing.assert_allclose(camera @ [0, 0, 1, 1], [1.7 - 0.94 + 1, 0, 1.5 - 1.84, 1], atol=1e-9)
        np.testing.assert_array_equal(np.reshape(recording.camera_info.k, (3, 3)), K)


def test_boxes_become_truth_in_the_array_frame(tmp_path: Path) -> None:
    convert(NuScenes(dataset(tmp_path / "nu") / "v1.0-mini"), tmp_path / "bag")
    with BagReader(tmp_path / "bag") as bag:
        first, second = (sensing_of(message.message) for message in bag.messages(["/truth/sensing"]))
    assert (first.stamp, second.stamp) == (1000 * START, 1000 * (START + 500_000))
    (car,), (person,) = first.objects, first.people
    assert car.position == pytest.approx((20.0, 2.0, 1.0 - 1.84)) and car.size == (4.5, 1.9, 1.6)
    assert car.velocity == pytest.approx((8.0, 0.0, 0.0), abs=1e-9) and car.yaw == pytest.approx(0, abs=1e-6)
    assert person.position == pytest.approx((10.0, -3.0, -0.84)) and person.activity == "walk"
    assert second.objects[0].position == pytest.approx((24.0, 2.0, -0.84))
    assert first.traffic == {"car": 1, "truck": 0, "bus": 0}


def test_one_of_several_scenes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path / "nu", scenes=2)
    with pytest.raises(BagError, match="holds scene-0000, scene-0001; name one: --scene NAME"):
        NuScenes(tmp_path / "nu")
    with pytest.raises(BagError, match="no scene scene-0009"):
        NuScenes(tmp_path / "nu", "scene-0009")
    assert cli.main(["convert", "nuscenes", str(tmp_path / "nu"), str(tmp_path / "bag"), "--scene", "scene-0001"]) == 0
    assert "people labelled as moving walk" in capsys.readouterr().err
    with BagReader(tmp_path / "bag") as bag:
        assert bag.start == 1000 * (START + 1_000_000) and bag.topics["/camera/image_raw"] == 3


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "nu")
    lost = [
        next(folder.glob("sweeps/CAM_FRONT*")),
        next(folder.glob("samples/LIDAR_TOP*")),
        next(folder.glob("samples/RADAR*")),
    ]
    lost[0].unlink()
    lost[1].write_bytes(b"123")
    lost[2].write_text("VERSION 0.7\nFIELDS x y\nSIZE 4 4\nTYPE F F\nPOINTS 0\nDATA binary\n")
    tally = convert(NuScenes(folder), tmp_path / "bag")
    assert len(tally.skipped) == 3 and all(any(file.name in line for line in tally.skipped) for file in lost)
    with pytest.raises(BagError, match=r"RADAR|CAM_FRONT|LIDAR"):
        convert(NuScenes(folder), tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("table", "content", "words"),
    [
        ("sample", "[{", "sample.json is missing or damaged"),
        ("sensor", None, "sensor.json is missing or damaged"),
        ("sample_data", "[]", "names no LIDAR_TOP files"),
        ("category", "[]", "do not fit each other"),
        ("sensor", '[{"channel": "LIDAR_TOP"}]', "sensor.json lacks 'token'"),
    ],
)
def test_tables_that_cannot_be_used_are_named(tmp_path: Path, table: str, content: str | None, words: str) -> None:
    file = dataset(tmp_path / "nu") / "v1.0-mini" / f"{table}.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(BagError, match=f"{words}.*; "):
        NuScenes(tmp_path / "nu")


def test_a_keyframe_whose_car_is_nowhere_has_no_truth(tmp_path: Path) -> None:
    (dataset(tmp_path / "nu") / "v1.0-mini" / "ego_pose.json").write_text("[]")
    tally = convert(NuScenes(tmp_path / "nu"), tmp_path / "bag")
    assert len(tally.skipped) == 2 and "do not fit each other" in tally.skipped[0]
    assert tally.samples == 7 and not tally.messages["/truth/sensing"]


def test_a_folder_without_a_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="holds no tables of nuScenes; name"):
        NuScenes(tmp_path)

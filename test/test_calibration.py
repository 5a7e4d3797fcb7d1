"""Extrinsics lead into the antenna's frame, from wherever they come, and are never assumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsense_ros.calibration import Calibration
from mmsense_ros.errors import CalibrationError
from mmsense_ros.messages.link import transforms_message
from mmsense_ros.messages.types import RosbagTypes

POSE = "radar: {parent: antenna_array, translation: [1, 2, 3], rotation: [0, 0, 0]}"
EXAMPLE = Path(__file__).parent.parent / "config" / "calibration.yaml"


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


def test_the_example_holds_every_sensor_and_its_camera_looks_along_boresight() -> None:
    calibration = Calibration.load(EXAMPLE)
    assert {"camera_optical", "radar", "lidar"} <= set(calibration.frames)
    ahead = calibration.antenna_from("camera_optical")[:3, :3] @ [0, 0, 1]
    right = calibration.antenna_from("camera_optical")[:3, :3] @ [1, 0, 0]
    assert ahead[0] > 0.9 and right[1] < -0.9
    for frame in calibration.frames:
        rotation = calibration.antenna_from(frame)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_an_unknown_frame_is_named_with_its_goal_and_what_is_known() -> None:
    calibration = Calibration.from_matrices({"radar": pose(1)})
    with pytest.raises(CalibrationError, match=r"'lidar'.*'antenna_array'.*radar.*; "):
        calibration.antenna_from("lidar")


def test_only_the_antenna_itself_needs_no_extrinsics() -> None:
    np.testing.assert_array_equal(Calibration.from_matrices({}).antenna_from("antenna_array"), np.eye(4))
    with pytest.raises(CalibrationError):
        Calibration.from_matrices({}).antenna_from("radar")


def test_a_chain_is_multiplied_in_order() -> None:
    mast, head = pose(1, 2, 3, yaw=np.pi / 2), pose(5, 0, 0)
    calibration = Calibration({"mast": ("antenna_array", mast), "lidar": ("mast", head)})
    np.testing.assert_allclose(calibration.antenna_from("lidar") @ [1, 0, 0, 1], [1, 8, 3, 1], atol=1e-12)


def test_an_antenna_that_hangs_below_another_root_is_found_too() -> None:
    calibration = Calibration({"antenna_array": ("base", pose(0, 0, 4)), "lidar": ("base", pose(1, 0, 1))})
    np.testing.assert_allclose(calibration.antenna_from("lidar")[:3, 3], [1, 0, -3])


def test_transforms_of_a_bag_give_back_the_poses_written() -> None:
    rng = np.random.default_rng(1)
    poses = {}
    for name in ("radar", "lidar", "camera_optical"):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        poses[name] = pose(*rng.normal(size=3))
        poses[name][:3, :3] = turn * np.linalg.det(turn)
    message = transforms_message(RosbagTypes(), 5, "/antenna_array", poses)
    calibration = Calibration.from_transforms(message.transforms)
    for name, matrix in poses.items():
        np.testing.assert_allclose(calibration.antenna_from(name), matrix, atol=1e-12)


def test_a_quaternion_that_is_no_rotation_is_refused_by_frame() -> None:
    message = transforms_message(RosbagTypes(), 5, "antenna_array", {"radar": pose()})
    message.transforms[0].transform.rotation.w = 0.0
    with pytest.raises(CalibrationError, match=r"/tf_static: radar.*quaternion.*; "):
        Calibration.from_transforms(message.transforms)


def test_a_circle_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"circle.*radar"):
        Calibration({"radar": ("lidar", pose()), "lidar": ("radar", pose())})


def test_frames_that_do_not_lead_to_the_antenna_are_unknown() -> None:
    calibration = Calibration({"radar": ("bumper", pose())})
    with pytest.raises(CalibrationError, match="'radar'.*'antenna_array'"):
        calibration.antenna_from("radar")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    before = Calibration.load(EXAMPLE)
    before.save(tmp_path / "c.yaml")
    after = Calibration.load(tmp_path / "c.yaml")
    for frame in before.frames:
        np.testing.assert_allclose(after.antenna_from(frame), before.antenna_from(frame), atol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "", "frames: 3", "frames: {radar: {parent: antenna_array}}", "frames: [1", "frames: {radar: 4}",
        "frames: {radar: {parent: antenna_array, translation: [1, 2], rotation: [0, 0, 0]}}",
        "frames: {radar: {parent: antenna_array, translation: [1, 2, x], rotation: [0, 0, 0]}}",
        "frames: {radar: {parent: antenna_array, translation: [1, 2, .nan], rotation: [0, 0, 0]}}",
        "frames: {radar: {parent: antenna_array, translation: [1, 2, 3], rotation: [0, 0]}}",
        "frames: {radar: {parent: antenna_array, translation: [1, 2, 3], rotation: [0, 0, 0, 2]}}",
        "frames: {radar: {parent: antenna_array, translation: [1, 2, 3], rotation: [0, 0, 0], yaw: 1}}",
        "frames: {radar: {parent: [lidar], translation: [1, 2, 3], rotation: [0, 0, 0]}}",
        "frames: {radar: {parent: , translation: [1, 2, 3], rotation: [0, 0, 0]}}",
        f"frames: {{{POSE}, {POSE}}}", f"frames: {{{POSE}, /{POSE}}}",
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CalibrationError, match="(?s)mine.yaml.*; "):
        Calibration.load(path)


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"frames: {rad\xe4r: 3}")
    with pytest.raises(CalibrationError, match="mine.yaml.*; "):
        Calibration.load(tmp_path / "mine.yaml")


def test_slashes_before_frames_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"frames: {{/{POSE.replace('antenna', '/antenna')}}}")
    np.testing.assert_array_equal(Calibration.load(tmp_path / "mine.yaml").antenna_from("radar")[:3, 3], [1, 2, 3])


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="none.yaml.*; "):
        Calibration.load(tmp_path / "none.yaml")

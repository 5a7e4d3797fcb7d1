"""Real sensors: maps of View-of-Delft frames look as a street does, and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsense_ros.data.view_of_delft import camera_matrix, frame
from mmsense_ros.errors import BagError, CalibrationError
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import Snapshot

FRAMES = Path(__file__).parent.parent.parent / "shared" / "real" / "view_of_delft"
NAMES = ("00549", "01047")
real = pytest.mark.skipif(not FRAMES.is_dir(), reason="needs ../shared/real/view_of_delft")


@pytest.fixture(params=NAMES)
def street(request: pytest.FixtureRequest) -> Path:
    return FRAMES / request.param


@real
def test_maps_of_a_real_street(street: Path) -> None:
    readings, calibration = frame(street)
    maps = build_maps(Snapshot(0, readings), calibration, PolarGrid(), (160, 120))
    assert {name: values.shape for name, values in maps.items()} == {
        "camera": (3, 120, 160),
        "radar": (3, 128, 64),
        "lidar": (3, 128, 64),
    }
    assert all(np.isfinite(values).all() for values in maps.values())
    height, intensity, density = maps["lidar"]
    met = density > 0
    assert met.sum() > 1000 and 0 <= intensity.min() and intensity.max() <= 1
    # The road nearby lies about 1.8 m below the LiDAR; nothing in a street of houses rises beyond 30 m.
    assert -2.3 < 4 * np.median(height[16:24, 24:40][met[16:24, 24:40]]) < -1.2
    assert 4 * height.max() < 30
    assert np.abs(maps["radar"][1]).max() < 3


@real
def test_radar_and_lidar_meet_the_same_things(street: Path) -> None:
    readings, calibration = frame(street)
    maps = build_maps(Snapshot(0, readings), calibration, PolarGrid(), (160, 120))
    seen = cv2.dilate((maps["lidar"][2] > 0).astype(np.uint8), np.ones((5, 3), np.uint8)) > 0
    echoes = maps["radar"][0] > 0.2
    together = seen[echoes].mean()
    assert together > 0.7
    assert together > seen[echoes[:, ::-1]].mean() + 0.05  # left is left


@real
def test_lidar_points_of_a_labelled_thing_lie_in_its_box_of_the_image(street: Path) -> None:
    readings, calibration = frame(street)
    camera_from_lidar = np.linalg.inv(calibration.antenna_from("camera_optical")) @ calibration.antenna_from("lidar")
    points = (camera_from_lidar[:3, :3] @ readings["lidar"].xyz.T + camera_from_lidar[:3, 3:]).T
    pixels = points @ camera_matrix(street).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    checked = 0
    for line in (street / "labels.txt").read_text().splitlines():
        words = line.split()
        left, top, right, bottom = map(float, words[4:8])
        height, x, y, z = float(words[8]), *map(float, words[11:14])
        near = (np.hypot(points[:, 0] - x, points[:, 2] - z) < 0.3) & (points[:, 1] < y - 0.2) & (points[:, 1] > y - height)
        if near.sum() < 10 or left <= 1 or right >= 1935 or bottom >= 1215:
            continue
        u, v = pixels[near].T
        assert ((u > left - 15) & (u < right + 15) & (v > top - 15) & (v < bottom + 15)).mean() > 0.8, line
        checked += 1
    assert checked


@real
@pytest.mark.parametrize(
    ("name", "error"),
    [("camera.jpg", BagError), ("lidar.bin", BagError), ("radar.bin", BagError), ("calib_radar.txt", CalibrationError)],
)
def test_a_file_cut_short_is_named(name: str, error: type[Exception], tmp_path: Path) -> None:
    for file in (FRAMES / NAMES[0]).iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / name).unlink()
    with pytest.raises(error, match=f"{name}.*; "):
        frame(tmp_path)
    (tmp_path / name).write_bytes((FRAMES / NAMES[0] / name).read_bytes()[:101])
    with pytest.raises(error, match=f"{name}.*; "):
        frame(tmp_path)

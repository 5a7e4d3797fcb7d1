"""Radars whose Doppler counts the other way: told from their detections, and read with --doppler-sign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_bag
from test_evaluate import engine  # noqa: F401

from mmsense_ros import cli
from mmsense_ros.data.doppler import doppler_sign
from mmsense_ros.data.inspect import inspect
from mmsense_ros.data.rosbag import BagWriter
from mmsense_ros.snapshot import RadarPoints

FIELDS = ("x", "y", "z", "velocity", "intensity")


def traffic(moving: bool = True, seed: int = 0) -> list[tuple[int, np.ndarray]]:
    """Stamp and detections (16, 5) of things that come and go, and of as many that stay, twenty times in two seconds."""
    rng = np.random.default_rng(seed)
    azimuth, start = rng.uniform(-0.7, 0.7, 16), rng.uniform(30, 60, 16)
    velocity = np.where(np.arange(16) % 2, rng.uniform(4, 12, 16) * rng.choice([-1, 1], 16), 0) * moving
    seen = []
    for k in range(20):
        distance = start + velocity * k / 10 + rng.normal(0, 0.2, 16)
        rows = np.stack(
            [distance * np.cos(azimuth), distance * np.sin(azimuth), 0 * azimuth, velocity, 15 + 0 * azimuth], axis=1
        )
        seen.append((small_bag.START + k * small_bag.PERIOD, rows))
    return seen


def readings(sign: int, moving: bool = True) -> list[RadarPoints]:
    return [RadarPoints(stamp, "radar", row[:, :3], sign * row[:, 3], row[:, 4]) for stamp, row in traffic(moving)]


def write_bag(path: Path, sign: int) -> Path:
    with BagWriter(path) as bag:
        bag.write("/tf_static", small_bag.tf_static(), small_bag.START)
        for stamp, rows in traffic():
            bag.write(small_bag.RADAR, small_bag.cloud(stamp, "radar", FIELDS, rows * [1, 1, 1, sign, 1]), stamp + 10**6)
    return path


@pytest.mark.parametrize("sign", [1, -1])
def test_what_recedes_tells_the_sign(sign: int) -> None:
    assert doppler_sign(readings(sign)) == sign


def test_where_nothing_tells_none_is_told() -> None:
    assert doppler_sign([]) == doppler_sign(readings(1)[:3]) == doppler_sign(readings(1, moving=False)) == 0
    mixed = [a if k % 4 < 2 else b for k, (a, b) in enumerate(zip(readings(1), readings(-1), strict=True))]
    assert doppler_sign(mixed) == 0


def test_inspect_proposes_it(tmp_path: Path) -> None:
    assert "--doppler-sign -1" in inspect(write_bag(tmp_path / "turned", -1)).command
    assert "--doppler-sign" not in inspect(write_bag(tmp_path / "plain", 1)).command


def test_a_turned_bag_is_read_as_the_plain_one(tmp_path: Path, engine) -> None:  # noqa: F811
    def radar_map(bag: Path, *options: str) -> np.ndarray:
        command = ["evaluate", str(bag), "--drop", "camera", "--drop", "lidar", "--out", str(tmp_path / "out"), *options]
        assert cli.main(command) == 0
        return engine.inputs["radar"].copy()

    turned, plain = write_bag(tmp_path / "turned", -1), radar_map(write_bag(tmp_path / "plain", 1))
    assert np.abs(plain).max() > 0.1
    np.testing.assert_array_equal(radar_map(turned, "--doppler-sign", "-1"), plain)
    assert np.abs(radar_map(turned) - plain).max() > 0.1

"""The demo on a small bag: two processes, DDS between them, figures and pictures left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from small_bag import write_bag

from mmsense_ros.engine import SHIPPED_MODEL

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


def demo(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mmsense_ros.cli", "demo", *arguments]
    return subprocess.run(
        command, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="needs the model that is shipped")
def test_demo_replays_scores_and_draws(ros_environment, tmp_path: Path):
    bag, out = write_bag(tmp_path / "bag", best=(20,) * 30), tmp_path / "out"
    done = demo(ros_environment, "--bag", str(bag), "--seconds", "3", "--out", str(out))
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["camera_frames"] == 30
    assert 20 <= summary["published"] == summary["frames"] <= summary["snapshots"] <= 30
    assert summary["dropped"] == summary["snapshots"] - summary["published"]
    assert {"beam", "baseline", "oracle", "per_task", "latency_ms", "engine"} <= summary.keys()
    assert summary["baseline"]["top1"] == 1.0
    assert cv2.imread(str(out / "overlay.png")).shape[1] == 1280
    assert 0 < (out / "overlay.gif").stat().st_size < 3_000_000


def test_a_bag_without_a_sensor_is_refused(ros_environment, tmp_path: Path):
    if not SHIPPED_MODEL.is_file():
        pytest.skip("needs the model that is shipped")
    bag = write_bag(tmp_path / "bag", best=(20,), leave_out=("/lidar/points",))
    done = demo(ros_environment, "--bag", str(bag), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "/lidar/points" in done.stderr and str(bag) in done.stderr

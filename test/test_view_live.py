"""`mmsense view --live`: what a running node answers is saved together with the readings it answered about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")
pytest.importorskip("rerun", reason="the extra `view` is not installed")

from live import CALIBRATION, Street, end, running
from rrd import Rrd

from mmsense_ros.ros.types import message_class

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


def start(environment: dict[str, str], *words: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "mmsense_ros.cli", "view", "--live", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_results_are_saved_with_their_readings(ros_environment, tmp_path: Path):
    poses, file = tmp_path / "poses.yaml", tmp_path / "live.rrd"
    CALIBRATION.save(poses)
    street = Street(ros_environment)
    infos = street.node.create_publisher(message_class("sensor_msgs/msg/CameraInfo"), "/camera/camera_info", 10)
    info = message_class("sensor_msgs/msg/CameraInfo")(width=64, height=48, k=[32.0, 0, 32, 0, 32, 24, 0, 0, 1])
    info.header.frame_id = "camera_optical"
    try:
        with running(ros_environment, tmp_path):
            viewer = start(ros_environment, "--save", file, "--calibration", poses)
            publishers = (infos, *street.publishers.values())
            street.until(lambda: street.results and all(p.get_subscription_count() == 2 for p in publishers), limit=60)
            street.until(lambda: street.node.count_subscribers("/sense/sensing") == 2)
            stamps = []
            for _ in range(8):
                infos.publish(info)
                stamps += street.run(0.25)
            street.spin(0.5)
            assert end(viewer) == 0, viewer.stderr.read()
    finally:
        street.close()
    found = Rrd(file)
    answered = {row["stamp"] for row in found.rows["/antenna_array/sensed/objects"]}
    parts = {"camera/image": "EncodedImage:blob", "radar": "Points3D:positions", "lidar": "Points3D:positions"}
    for name, part in parts.items():
        shown = {row["stamp"]: row[part] for row in found.rows[f"/antenna_array/{name}"] if row.get(part)}
        assert len(shown.keys() & set(stamps)) > 10 and shown.keys() <= answered, name
        assert name == "camera/image" or {len(cloud) for cloud in shown.values()} == {60}
    assert found.static["/antenna_array/camera/image"]["Pinhole:resolution"] == [[64.0, 48.0]]
    assert {"sync", "engine", "total"} <= {path.rpartition("/")[2] for path in found.rows if "latency" in path}


def test_silence_is_an_error(ros_environment, tmp_path: Path):
    CALIBRATION.save(tmp_path / "poses.yaml")
    words = ("--save", tmp_path / "live.rrd", "--calibration", tmp_path / "poses.yaml", "--seconds", 0.5, "--namespace", "rsu1")
    viewer = start(ros_environment, *words)
    said = viewer.communicate(timeout=60)[1].strip()
    assert viewer.returncode == 2
    assert said.startswith("mmsense view: nothing came on /rsu1/sense/sensing") and "\n" not in said

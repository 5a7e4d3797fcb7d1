"""Real sensors, live: the View-of-Delft frames go over DDS as ROS messages, and the running node answers them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")

from live import TYPES, Street, running

from mmsense_ros.data.datasets.convert import convert
from mmsense_ros.data.datasets.kitti import Kitti
from mmsense_ros.data.recording import Recording
from mmsense_ros.messages.camera import image_message
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.lidar import lidar_message
from mmsense_ros.messages.radar import radar_points_message
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR

FRAMES = Path(__file__).parent.parent.parent / "shared" / "real" / "view_of_delft"
MESSAGES = {CAMERA: image_message, RADAR: radar_points_message, LIDAR: lidar_message}
pytestmark = [
    pytest.mark.ros,
    pytest.mark.timeout(90),
    pytest.mark.skipif(not FRAMES.is_dir(), reason="needs ../shared/real/view_of_delft"),
]


@pytest.mark.parametrize("name", ["00549", "01047"])
def test_real_frames_are_answered_with_all_three_sensors(name: str, ros_environment, tmp_path: Path):
    convert(Kitti(FRAMES / name), tmp_path / "bag")
    with Recording(tmp_path / "bag") as recording:
        readings, calibration = next(recording.moments()).snapshot.readings, recording.calibration
    street = Street(ros_environment)

    def publish(sensors=()) -> int:
        stamp = street.node.get_clock().now().nanoseconds
        for sensor in (LIDAR, RADAR, CAMERA):
            street.publishers[sensor].publish(MESSAGES[sensor](TYPES, replace(readings[sensor], stamp=stamp)))
        return stamp

    street.frame = publish
    try:
        with running(ros_environment, tmp_path, calibration=calibration) as (process, log):
            street.until(lambda: any(all(m.available for m in result.modalities) for result in street.results), rate=10.0)
            stamps = set(street.run(1.0, rate=10.0))
            street.spin(0.5)
            answered = [result for result in street.results if stamp_of(result) in stamps]
            assert answered
            assert all(m.available and np.isfinite(m.age) for m in answered[-1].modalities)
            assert process.poll() is None
        assert "Traceback" not in log.read_text()
    finally:
        street.close()

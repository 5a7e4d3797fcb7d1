"""The node in a process of its own, over DDS: results, instructions, what is missing, what is wrong, overload, a clean end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")

from live import LATCHED, SOURCES, TYPES, Street, end, running

from mmsense_ros.messages.camera import image_message
from mmsense_ros.messages.sensing import sensing_of
from mmsense_ros.ros.types import message_class
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, CameraReading

pytestmark = [pytest.mark.ros, pytest.mark.timeout(90)]
ERROR, WARN, OK = 2, 1, 0


@pytest.fixture
def street(ros_environment):
    street = Street(ros_environment)
    yield street
    street.close()


def level(street: Street, name: str) -> int:
    return street.reports[name][0] if name in street.reports else OK


def test_results_instructions_a_missing_sensor_and_a_clean_end(ros_environment, street, tmp_path: Path):
    with running(ros_environment, tmp_path, "instruction:='sense the street'") as (process, log):
        told: list[str] = []
        words = message_class("std_msgs/msg/String")
        street.node.create_subscription(words, "/sense/instruction", lambda message: told.append(message.data), LATCHED)
        street.until(lambda: len(street.results) > 3 and not any(np.isnan(m.age) for m in street.results[-1].modalities))
        first = sensing_of(street.results[-1])
        assert first.instruction == "sense the street" and told == ["sense the street"]
        assert first.frame_id == "antenna_array"
        assert first.engine == "parrot"
        assert list(first.latency_ms) == ["sync", "queue", "maps", "engine", "answers", "total"]
        assert first.latency_ms["total"] == pytest.approx(sum(v for k, v in first.latency_ms.items() if k != "total"), abs=1.0)

        stamps = street.run(1.0)
        street.spin(0.3)
        assert {r.header.stamp.sec * 10**9 + r.header.stamp.nanosec for r in street.results} & set(stamps)

        street.instruct("count the vehicles")
        street.until(lambda: street.results[-1].instruction == "count the vehicles")
        assert told == ["sense the street", "count the vehicles"]

        street.until(lambda: not street.results[-1].modalities[1].available, sensors=(CAMERA, LIDAR))
        gates = {m.modality: m.gate for m in street.results[-1].modalities}
        assert gates[RADAR] == 0.0 and gates[CAMERA] + gates[LIDAR] == pytest.approx(1.0)
        street.until(lambda: level(street, RADAR) > OK, sensors=(CAMERA, LIDAR))
        assert "/radar/points" in street.reports[RADAR][1]
        assert level(street, "perception") < ERROR

        values = street.reports["perception"][2]
        assert float(values["total p50 [ms]"]) <= float(values["total p95 [ms]"]) <= float(values["total p99 [ms]"])
        assert values["engine"] == "parrot"
        assert end(process) == 0
    assert "torch imported: False" in log.read_text()


def test_what_is_wrong_is_said_once_and_the_next_good_message_serves(ros_environment, street, tmp_path: Path):
    with running(ros_environment, tmp_path) as (process, log):
        street.until(lambda: bool(street.results))
        stamp = street.node.get_clock().now().nanoseconds

        def wrong_encoding() -> None:
            message = image_message(TYPES, CameraReading(stamp, "camera_optical", np.zeros((4, 4, 3), np.uint8)))
            message.encoding = "nonsense"
            street.publishers[CAMERA].publish(message)

        for _ in range(5):
            wrong_encoding()
        while "nonsense" not in street.reports.get(CAMERA, (0, ""))[1]:
            wrong_encoding()
            street.spin(0.2)
        assert "/camera/image_raw" in street.reports[CAMERA][1]
        count = len(street.results)
        street.until(lambda: len(street.results) > count and level(street, CAMERA) == OK)
        assert process.poll() is None
    assert log.read_text().count("nonsense") == 1


def test_readings_of_unknown_frames_are_named_and_left_out(ros_environment, street, tmp_path: Path):
    with running(ros_environment, tmp_path):
        street.until(lambda: bool(street.results))
        make = street.frame

        def elsewhere(sensors=()):
            from mmsense_ros.messages.lidar import lidar_message
            from mmsense_ros.snapshot import LidarReading

            stamp = make((CAMERA, RADAR))
            points = np.ones((5, 3), np.float32)
            street.publishers[LIDAR].publish(lidar_message(TYPES, LidarReading(stamp, "roof", points, np.ones(5, np.float32))))
            return stamp

        street.frame = elsewhere
        street.until(lambda: "roof" in street.reports.get(LIDAR, (0, ""))[1] and not street.results[-1].modalities[2].available)
        assert "roof" in street.reports[LIDAR][1] and "antenna_array" in street.reports[LIDAR][1]


def test_overload_drops_old_snapshots_and_latency_stays_bounded(ros_environment, street, tmp_path: Path):
    with running(ros_environment, tmp_path, delay=0.15):
        street.until(lambda: bool(street.results))
        street.run(3.0)  # 20 Hz, three times what the engine can do
        street.until(lambda: int(street.reports["perception"][2]["dropped: overload"]) > 10)
        assert level(street, "perception") == WARN
        assert "overload" in street.reports["perception"][1]
        late = [sensing_of(result).latency_ms["total"] for result in street.results[-5:]]
        assert max(late) < 1000  # a queue would be seconds behind by now
        stamps = [result.header.stamp.sec * 10**9 + result.header.stamp.nanosec for result in street.results]
        assert stamps == sorted(stamps)


def test_a_compressed_camera_is_followed_and_a_wrong_type_named(ros_environment, tmp_path: Path):
    import cv2

    from mmsense_ros.messages.types import header
    from mmsense_ros.ros.types import RclpyTypes

    sources = SOURCES | {
        CAMERA: ("sensor_msgs/msg/CompressedImage", "/camera/image_raw"),
        LIDAR: ("std_msgs/msg/String", "/lidar/points"),
    }
    street = Street(ros_environment, sources)
    try:
        with running(ros_environment, tmp_path):
            jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1]
            make = street.frame

            def compressed(sensors=()):
                stamp = make((RADAR,))
                message = RclpyTypes()(
                    "sensor_msgs/msg/CompressedImage",
                    header=header(TYPES, stamp, "camera_optical"),
                    format="jpeg",
                    data=TYPES.payload(jpeg),
                )
                street.publishers[CAMERA].publish(message)
                return stamp

            street.frame = compressed
            street.until(lambda: bool(street.results) and street.results[-1].modalities[0].available)
            street.until(lambda: "std_msgs/msg/String" in street.reports.get(LIDAR, (0, ""))[1])
            assert "sensor_msgs/msg/PointCloud2" in street.reports[LIDAR][1]
    finally:
        street.close()


def test_qos_that_does_not_fit_is_named(ros_environment, street, tmp_path: Path):
    from rclpy.qos import qos_profile_sensor_data

    street.node.destroy_publisher(street.publishers[LIDAR])
    kind, topic = SOURCES[LIDAR]
    street.publishers[LIDAR] = street.node.create_publisher(message_class(kind), topic, qos_profile_sensor_data)
    with running(ros_environment, tmp_path, "lidar.reliability:=reliable"):
        street.until(lambda: bool(street.results) and level(street, LIDAR) > OK)
        street.until(lambda: "QoS" in street.reports[LIDAR][1])
        assert "lidar.reliability" in street.reports[LIDAR][1]


def test_a_parameter_that_makes_no_sense_is_refused(ros_environment, tmp_path: Path):
    with running(ros_environment, tmp_path, "sync.max_wait:=-1.0") as (process, log):
        assert process.wait(30) == 2
    assert "sync.max_wait" in log.read_text()

"""The recorder: what passed is in the bag, however it was ended; nothing is overwritten and nothing piles up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmsense_ros.data.background import BackgroundWriter
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader, BagWriter
from mmsense_ros.data.topics import TF_STATIC
from mmsense_ros.errors import BagError
from mmsense_ros.snapshot import CAMERA

pytestmark = pytest.mark.timeout(90)
SENSORS = ("/camera/image_raw", "/radar/points", "/lidar/points")


class TestBackgroundWriter:
    """In a thread of its own, without ROS."""

    @pytest.fixture
    def disk(self, monkeypatch) -> threading.Event:
        """A disk that takes nothing until the event is set."""
        free, write = threading.Event(), BagWriter.write_cdr
        monkeypatch.setattr(BagWriter, "write_cdr", lambda *words: free.wait(10) and write(*words))
        return free

    def test_a_slow_disk_costs_messages_not_memory_or_time(self, tmp_path, disk):
        bag = BackgroundWriter(tmp_path / "bag", budget=100)
        began = time.monotonic()
        for k in range(50):
            bag.write_cdr("/words", "std_msgs/msg/String", bytes(30), k)
        assert time.monotonic() - began < 1.0
        assert bag.dropped == 47
        disk.set()
        bag.close()
        with BagReader(tmp_path / "bag") as reader:
            assert [message.log_time for message in reader.messages()] == [0, 1, 2]

    def test_a_full_disk_is_told_and_ends_it(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(BagWriter, "write_cdr", full)
        bag = BackgroundWriter(tmp_path / "bag")
        bag.write_cdr("/words", "std_msgs/msg/String", bytes(30), 0)
        with pytest.raises(BagError, match=r"bag cannot be written any more .*No space left.*reindex"):
            bag.close()
        with pytest.raises(BagError, match="No space left"):
            bag.check()
        with pytest.raises(BagError, match=r"no metadata\.yaml"):
            BagReader(tmp_path / "bag")


@contextmanager
def recording(environment: dict[str, str], *words: object) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "mmsense_ros.ros.recorder", *map(str, words)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_that_passed_is_in_the_bag_when_it_is_ended(ros_environment, tmp_path: Path, number):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")
    from live import CALIBRATION, Street
    from rclpy.serialization import deserialize_message

    CALIBRATION.save(tmp_path / "calibration.yaml")
    bag, street = tmp_path / "bag", Street(ros_environment)
    topics = [*SENSORS, "/instruction", TF_STATIC, "/nobody"]
    sent: list = []
    publish = street.publishers[CAMERA].publish
    street.publishers[CAMERA].publish = lambda message: (sent.append(message), publish(message))
    try:
        street.instruct("serve the red bus")  # before anybody listens: it is latched
        with recording(ros_environment, bag, *topics, "--calibration", tmp_path / "calibration.yaml") as process:
            while street.publishers[CAMERA].get_subscription_count() == 0 or street.node.count_subscribers(SENSORS[2]) == 0:
                assert process.poll() is None
                street.spin(0.1)
            street.spin(0.3)
            before = time.time_ns()
            stamps = street.run(1.0)
            street.spin(0.3)
            process.send_signal(number)
            _, said = process.communicate(timeout=15)
        assert process.returncode == 0, said
        assert "nobody published /nobody" in said and "/camera/image_raw 20" in said
    finally:
        street.close()
    with Recording(bag) as result:
        assert result.bag.topics == {**dict.fromkeys(SENSORS, 20), "/instruction": 1, TF_STATIC: 1}
        images = list(result.bag.messages([SENSORS[0]]))
        assert [deserialize_message(bytes(image.data), type(sent[0])) for image in images] == sent
        assert all(0 <= image.log_time - stamp < 1e9 for image, stamp in zip(images, stamps, strict=True))
        assert images[0].log_time > before
        assert result.calibration.frames == CALIBRATION.frames
        camera, expected = (poses.antenna_from("camera_optical") for poses in (result.calibration, CALIBRATION))
        assert camera == pytest.approx(expected, abs=1e-9)
        moments = list(result.moments())
        assert [moment.snapshot.stamp for moment in moments] == stamps
        assert {moment.instruction for moment in moments} == {"serve the red bus"}


@pytest.mark.ros
def test_an_existing_folder_is_refused(ros_environment, tmp_path: Path):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    with recording(ros_environment, tmp_path, "/camera/image_raw") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    last = said.splitlines()[-1]  # Kilted's middleware has a word first
    assert last.startswith(f"recorder: {tmp_path} cannot be written") and "choose another name" in last
    assert not list(tmp_path.glob("*.mcap"))

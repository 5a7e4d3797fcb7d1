"""`evaluate --inspect` on bags whose topics have other names."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import small_bag

from mmsense_ros import cli
from mmsense_ros.data.inspect import inspect
from mmsense_ros.data.rosbag import BagWriter

NAMES = {
    "/camera/image_raw": "/sensing/front_cam/image", "/camera/camera_info": "/sensing/front_cam/camera_info",
    "/radar/points": "/ars548/detections", "/lidar/points": "/velodyne_points", "/truth/beam_power": "/mmwave/power",
}  # fmt: skip


@pytest.fixture
def foreign(tmp_path):
    """A street under other names, with a depth camera, a rear camera and the node's own results beside it."""
    bag = small_bag.write_bag(tmp_path / "plain", (20,) * 4, leave_out=(*small_bag.TRUTH[1:], "/instruction"), rename=NAMES)
    from mmsense_ros.data.rosbag import BagReader

    with BagReader(bag) as reader, BagWriter(tmp_path / "foreign", "sqlite3") as writer:
        for message in reader.messages():
            writer.write_cdr(message.topic, message.type, message.data, message.log_time)
        now = small_bag.START + 10**9
        depth = small_bag.image(now)
        depth.encoding = "32FC1"
        writer.write("/sensing/front_cam/depth", depth, now)
        for k in range(9):
            writer.write("/sensing/rear_cam/image", small_bag.image(now + k), now + k)
            writer.write("/sense/sensing", small_bag.truth(now + k, 20, False), now + k)
    return tmp_path / "foreign"


def test_inputs_are_found_by_type_words_and_fields(foreign):
    found = inspect(foreign)
    assert found.proposed == {
        "camera": "/sensing/front_cam/image", "camera_info": "/sensing/front_cam/camera_info", "radar": "/ars548/detections",
        "lidar": "/velodyne_points", "tf_static": "/tf_static", "power": "/mmwave/power",
    }  # fmt: skip
    assert found.missing == ()
    radar = next(topic for topic in found.topics if topic.name == "/ars548/detections")
    assert (radar.count, radar.frame, radar.fields) == (4, "radar", ("x", "y", "z", "velocity", "intensity"))
    assert next(t.rate for t in found.topics if t.name == "/sensing/rear_cam/image") == pytest.approx(8, rel=0.05)
    words = shlex.split(found.command)
    assert words[:3] == ["mmsense", "evaluate", str(foreign)] and "camera=/sensing/front_cam/image" in words
    assert "tf_static=/tf_static" not in words


def test_our_own_bag_needs_no_options(tmp_path):
    bag = small_bag.write_bag(tmp_path / "bag", (20,) * 2)
    found = inspect(bag)
    assert found.command == f"mmsense evaluate {bag}" and found.missing == ()
    assert {"instruction", "power", "noise_free", "truth"} <= found.proposed.keys()


def test_what_is_missing_is_said(tmp_path, capsys, monkeypatch):
    full = small_bag.tf_static()
    full.transforms[1].header.frame_id = "mast"  # the radar hangs on a frame that nothing connects with the antenna
    monkeypatch.setattr(small_bag, "tf_static", lambda: full)
    bag = small_bag.write_bag(tmp_path / "bag", (20,) * 2, leave_out=["/lidar/points"])
    found = inspect(bag)
    no_lidar, no_radar_pose = found.missing
    assert no_lidar == "no topic for lidar: go without it (--drop lidar)"
    assert no_radar_pose.startswith("radar: ") and "'radar' to 'antenna_array'" in no_radar_pose
    assert found.command.endswith("--drop lidar --calibration calibration.yaml")
    assert cli.main(["evaluate", "--inspect", str(bag)]) == 0
    said = capsys.readouterr().out
    assert "/radar/points" in said and "sensor_msgs/PointCloud2" in said and found.command in said and no_radar_pose in said


def test_a_chain_of_transforms_counts_and_a_file_fills_the_gap(tmp_path, monkeypatch):
    full = small_bag.tf_static()
    full.transforms[1].header.frame_id = "mast"
    monkeypatch.setattr(small_bag, "tf_static", lambda: full)
    bag = small_bag.write_bag(tmp_path / "bag", (20,) * 2)
    file = tmp_path / "mast.yaml"
    file.write_text("frames:\n  mast: {parent: antenna_array, translation: [0, 0, 1], rotation: [0, 0, 0]}\n")
    found = inspect(bag, file)
    assert found.missing == () and found.command == f"mmsense evaluate {bag} --calibration {file}"


def test_no_extrinsics_at_all(tmp_path):
    bag = small_bag.write_bag(tmp_path / "bag", (20,) * 2, leave_out=["/tf_static"])
    found = inspect(bag)
    assert "no extrinsics" in found.missing[0] and found.command.endswith("--calibration calibration.yaml")


def test_the_proposed_command_runs(foreign, tmp_path):
    from mmsense_ros.data.recording import Recording

    found = inspect(foreign)
    with Recording(foreign, topics=found.proposed) as recording:
        moments = list(recording.moments())
        assert len(moments) == 4 and not any(moment.snapshot.missing for moment in moments)
        truth = recording.truth_at(small_bag.START)
        assert truth is not None and int(np.argmax(truth.power)) == 20 and truth.objects is None

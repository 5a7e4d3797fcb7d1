"""The built package: its messages import, go over Fast DDS, survive rosbag2; colcon's and pip's layouts hold what they must.

Run as a script this file is one of the two processes that talk over DDS: `test_package.py talk`, `test_package.py listen FILE`.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from array import array
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = sorted(file.stem for file in (ROOT / "msg").glob("*.msg"))
TOPICS = {"sensing": "SensingResult", "cube": "RadarCube", "power": "BeamPower"}


def example(topic: str):
    """A message in which every field differs from its default."""
    from geometry_msgs.msg import Point, Vector3
    from std_msgs.msg import Header

    from mmsense_ros import msg

    header = Header(frame_id="antenna_array")
    header.stamp.sec, header.stamp.nanosec = 1_700_000_000, 123_456_789
    if topic == "power":
        return msg.BeamPower(header=header, codebook="ula16x64", terminal="vehicle_3", power=array("f", range(64)))
    if topic == "cube":
        return msg.RadarCube(
            header=header, shape=[4, 256, 128], axes=[0, 1, 2], dtype=msg.RadarCube.DTYPE_FLOAT32, iq=1, is_bigendian=True,
            scale=0.5, start_frequency=77e9, slope=15e12, sample_rate=5e6, chirp_interval=60e-6, rx_spacing=0.5,
            data=array("B", bytes(range(256)) * 64),
        )  # fmt: skip
    beam = msg.BeamPrediction(
        header=header, codebook="ula16x64", codebook_size=64, horizon=0.5, beams=[31, 32], probabilities=[0.75, 0.25],
        sweep_set=[31, 32, 30], coverage=0.875, expected_power_loss=0.5, sweep_saving=0.953125,
    )  # fmt: skip
    bus = msg.DetectedObject(
        label="bus", position=Point(x=1.0, y=2.0, z=3.0), velocity=Vector3(x=4.0, y=5.0, z=6.0),
        size=Vector3(x=12.0, y=2.5, z=3.0), yaw=-0.5, score=0.75,
    )  # fmt: skip
    person = msg.DetectedPerson(position=Point(x=7.0), activity="wave", activity_probability=0.5, score=0.25)
    return msg.SensingResult(
        header=header, instruction="beam for the red bus", beam=beam, beam_ahead=beam, horizon=0.5, blockage=0.125,
        modalities=[msg.ModalityState(modality="camera", available=True, gate=0.5, age=-0.25)], blockage_ahead=0.25,
        pathloss=104.5, objects=[bus, bus], people=[person], traffic=[msg.TrafficCount(label="bus", count=2.0)],
        engine="openvino", precision="fp32", latencies=[msg.StageLatency(stage="total", duration=12.5)],
    )  # fmt: skip


def field_lines() -> list[tuple[str, str]]:
    """(message, line) of each field and constant in msg/."""
    lines = [(name, line) for name in NAMES for line in (ROOT / "msg" / f"{name}.msg").read_text().splitlines()]
    return [(name, line) for name, line in lines if line.strip() and not line.startswith("#")]


def installed_prefix(monkeypatch) -> Path:
    """Prefix in which ament finds this package: a colcon workspace, or else the virtual environment."""
    index = pytest.importorskip("ament_index_python")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.environ.get("AMENT_PREFIX_PATH", sys.prefix))
    return Path(index.get_package_prefix("mmsense_ros"))


def test_every_field_has_a_comment():
    bare = [f"{name}: {line}" for name, line in field_lines() if not re.search(r"# \S", line)]
    assert not bare


def test_every_real_number_has_a_unit():
    real = [(name, line) for name, line in field_lines() if re.match(r"(float|geometry_msgs/)", line)]
    assert len(real) > 20
    assert not [f"{name}: {line}" for name, line in real if not re.search(r"# \[[^\]]+\] ", line)]


def test_every_message_is_built():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert re.findall(r"msg/(\w+)\.msg", cmake) == NAMES


def test_one_version_and_licence_everywhere():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    project = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', project, re.M)[1] == package.findtext("version")
    assert re.search(r'^license = "(.+)"$', project, re.M)[1] == package.findtext("license") == "Apache-2.0"


def test_package_xml_names_every_ros_package_that_is_imported():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for kind in ("depend", "exec_depend") for element in package.findall(kind)}
    assert {"message_filters", "cv_bridge", "sensor_msgs_py", "launch_ros", "rviz2"} <= declared
    keys = {
        "cv2": "python3-opencv", "matplotlib": "python3-matplotlib", "numpy": "python3-numpy", "onnxruntime": "python3-onnxruntime-pip", "rich": "python3-rich",
        "rosbags": "python3-rosbags-pip", "scipy": "python3-scipy", "yaml": "python3-yaml",
    }  # fmt: skip
    optional = {
        "openvino", "torch", "onnx", "onnxscript", "safetensors", "open3d", "libusb_package", "tensorrt", "cuda", "ray",
        "tokenizers", "transformers", "peft", "lightning", "lightning_utilities", "datasets", "pyarrow", "rerun",
    }  # fmt: skip
    for file in [*(ROOT / "mmsense_ros").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]:
        tree = ast.parse(file.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        roots = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"mmsense_ros"} - optional
        assert {keys.get(name, name) for name in roots} <= declared, file


@pytest.mark.ros
def test_messages_import():
    messages = pytest.importorskip("mmsense_ros.msg")
    for name in NAMES:
        assert getattr(messages, name)().SLOT_TYPES, name


@pytest.mark.ros
def test_resource_marker_executables_and_shared_files(monkeypatch):
    prefix = installed_prefix(monkeypatch)
    assert (prefix / "share/ament_index/resource_index/packages/mmsense_ros").is_file()
    assert (prefix / "share/ament_index/resource_index/rosidl_interfaces/mmsense_ros").is_file()
    for executable in ("sense", "mmsense"):
        assert os.access(prefix / "lib/mmsense_ros" / executable, os.X_OK), executable
    share = prefix / "share/mmsense_ros"
    assert (share / "package.xml").is_file()
    for folder in ("config", "launch"):
        here = {file.name for file in (ROOT / folder).iterdir() if file.is_file()}
        assert here and here <= {file.name for file in (share / folder).iterdir()}


@pytest.mark.ros
@pytest.mark.parametrize("name", NAMES)
def test_type_hash_of_rosbags_equals_that_of_rosidl(monkeypatch, name):
    from mmsense_ros.data.rosbag import typestore

    description = installed_prefix(monkeypatch) / "share/mmsense_ros/msg" / f"{name}.json"
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(description.read_text())["type_hashes"]}
    assert typestore().hash_rihs01(f"mmsense_ros/msg/{name}") == hashes[f"mmsense_ros/msg/{name}"]


@pytest.mark.ros
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_survive_rosbag2(tmp_path, storage):
    serialization = pytest.importorskip("rclpy.serialization")
    from mmsense_ros.data.rosbag import BagReader, BagWriter, typestore

    with BagWriter(tmp_path / "bag", storage) as bag:
        for number, (topic, name) in enumerate(TOPICS.items()):
            sent = serialization.serialize_message(example(topic))
            bag.write(f"/{topic}", typestore().deserialize_cdr(sent, f"mmsense_ros/msg/{name}"), number)
    with BagReader(tmp_path / "bag") as bag:
        recorded = {message.topic.strip("/"): message for message in bag.messages()}
    assert recorded.keys() == TOPICS.keys()
    for topic, message in recorded.items():
        original = example(topic)
        assert serialization.deserialize_message(bytes(message.data), type(original)) == original


@pytest.mark.ros
def test_messages_go_over_dds_between_two_processes(ros_environment, tmp_path):
    pytest.importorskip("rclpy")
    received = tmp_path / "received"
    script = [sys.executable, str(Path(__file__))]
    listener = subprocess.Popen([*script, "listen", str(received)], env=ros_environment, cwd=tmp_path)
    talker = subprocess.Popen([*script, "talk"], env=ros_environment, cwd=tmp_path)
    try:
        assert listener.wait(timeout=60) == 0
    finally:
        talker.kill(), listener.kill()
        talker.wait(), listener.wait()
    assert pickle.loads(received.read_bytes()) == {topic: example(topic) for topic in TOPICS}


def _talk() -> None:
    """Publish each example until killed."""
    import rclpy

    rclpy.init()
    node = rclpy.create_node("talker")
    publishers = {topic: node.create_publisher(type(example(topic)), topic, 1) for topic in TOPICS}
    while True:
        for topic, publisher in publishers.items():
            publisher.publish(example(topic))
        time.sleep(0.1)


def _listen(file: Path) -> None:
    """Write one message of each topic to `file`, then end."""
    import rclpy

    rclpy.init()
    node = rclpy.create_node("listener")
    received = {}
    for topic, name in TOPICS.items():
        kind = getattr(importlib.import_module("mmsense_ros.msg"), name)
        node.create_subscription(kind, topic, lambda message, topic=topic: received.setdefault(topic, message), 1)
    while received.keys() != TOPICS.keys():
        rclpy.spin_once(node, timeout_sec=1.0)
    file.write_bytes(pickle.dumps(received))
    rclpy.shutdown()


if __name__ == "__main__":
    _talk() if sys.argv[1] == "talk" else _listen(Path(sys.argv[2]))

"""The node's parameters: described, bounded, the same in config/sense.yaml, and refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.parameter import Parameter

from mmsense_ros.ros.parameters import PARAMETERS, check
from mmsense_ros.share import shared_file

pytestmark = pytest.mark.ros


def flat(entries: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted name."""
    found = {}
    for name, value in entries.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_the_yaml_file_holds_every_parameter_with_its_default():
    (entries,) = yaml.safe_load(shared_file("config/sense.yaml").read_text())["/**"].values()
    written = flat(entries["ros__parameters"])
    assert written == {entry.name: entry.default for entry in PARAMETERS}
    # ROS refuses a parameter of another type: 1 is no 1.0.
    assert {name: type(value) for name, value in written.items()} == {entry.name: type(entry.default) for entry in PARAMETERS}


@pytest.mark.parametrize("entry", PARAMETERS, ids=lambda entry: entry.name)
def test_every_parameter_is_described_and_its_default_allowed(entry):
    descriptor = entry.descriptor()
    assert len(descriptor.description) > 10
    if type(entry.default) in (int, float):
        (bounds,) = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert bounds.from_value <= entry.default <= bounds.to_value
    assert check([Parameter(entry.name, value=entry.default)], configured=False).successful


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("engine", "steam", "choose one of auto, tensorrt, openvino"),
        ("camera.type", "sensor_msgs/msg/PointCloud2", "choose one of auto, sensor_msgs/msg/Image"),
        ("sensors", [], "name some of camera, radar, lidar"),
        ("sensors", ["camera", "sonar"], "name some of camera, radar, lidar"),
        ("radar.doppler_sign", 0, "choose 1 or -1"),
        ("cores", 1.5, "cores is 1.5; it is: CPU cores"),
        ("cores", True, "cores is True; it is: CPU cores"),
    ],
)
def test_a_wrong_value_is_refused_with_the_right_ones(name, value, words):
    kind = Parameter.Type.STRING_ARRAY if isinstance(value, list) else None
    verdict = check([Parameter(name, kind, value)], configured=False)
    assert not verdict.successful
    assert name in verdict.reason and words in verdict.reason


def test_cores_may_be_a_number():
    """As `-p cores:=1` and an unquoted 1 in a YAML file are to ROS."""
    (entry,) = (entry for entry in PARAMETERS if entry.name == "cores")
    assert entry.descriptor().dynamic_typing
    assert all(check([Parameter("cores", value=value)], configured=False).successful for value in (1, "1", "2-3", ""))


def test_while_configured_only_live_parameters_change():
    assert check([Parameter("instruction", value="the red bus")], configured=True).successful
    verdict = check([Parameter("model", value="other.onnx")], configured=True)
    assert not verdict.successful and "clean it up first" in verdict.reason
    assert check([Parameter("model", value="other.onnx")], configured=False).successful
    assert check([Parameter("use_sim_time", value=True)], configured=True).successful  # not ours to judge

"""The launch file, where launch and launch_ros can be imported (they are not on PyPI): its arguments, and a replayed bag."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("launch", reason="launch is not installed (it comes with a ROS installation, not from PyPI)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed (it comes with a ROS installation, not from PyPI)")

import yaml
from live import CALIBRATION, Street
from small_bag import START, write_bag

from mmsense_ros.data.recording import Recording
from mmsense_ros.engine import SHIPPED_MODEL
from mmsense_ros.share import shared_file

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
FILE = shared_file("launch/sense.launch.py")
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
service = LaunchService(noninteractive=True)
arguments = [word.split(":=", 1) for word in sys.argv[2:]]
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(sys.argv[1], launch_arguments=arguments)]))
sys.exit(service.run())
"""


def start(environment: dict[str, str], **arguments: object) -> subprocess.Popen:
    words = [f"{name}:={value}" for name, value in arguments.items()]
    command = [sys.executable, "-c", RUN, str(FILE), *words]
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])  # of the node's script, too
    environment = environment | {"PATH": path}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_every_argument_is_described():
    spec = importlib.util.spec_from_file_location("sense_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {argument.name: argument for argument in module.generate_launch_description().get_launch_arguments()}
    topics = {"camera", "camera_info", "radar", "lidar", "instruction_topic"}
    asked = {"model", "engine", "instruction", "use_sim_time", "rviz", "bag", "record", "namespace"}
    assert set(arguments) >= topics | asked
    assert all(argument.description for argument in arguments.values())


def test_a_bag_is_replayed_on_the_chosen_topics_recorded_and_all_ends_with_it(ros_environment, tmp_path: Path):
    if not SHIPPED_MODEL.exists():
        pytest.skip("no model is shipped with this build")
    bag = write_bag(tmp_path / "bag", best=(20,) * 30)
    calibration = tmp_path / "calibration.yaml"
    CALIBRATION.save(calibration)
    street = Street(ros_environment)
    arguments = {"bag": bag, "calibration": calibration, "record": tmp_path / "recording"}
    launched = start(ros_environment, **arguments, camera="/front/image", instruction="the red bus")
    try:
        street.until(lambda: len(street.results) > 3, sensors=())
        assert street.node.count_publishers("/front/image") == 1
        words, _ = launched.communicate(timeout=60)
    finally:
        launched.kill()
        street.close()
    assert launched.returncode == 0, words
    assert "-3] was required" in words  # the replay ended first
    assert "process has died" not in words
    with Recording(tmp_path / "recording", topics={"camera": "/front/image"}) as recording:
        topics = recording.bag.topics
        assert topics["/front/image"] == topics["/lidar/points"] == 30
        assert topics["/sense/sensing"] == topics["/sense/beam"] >= len(street.results)
        assert abs(recording.bag.start - START) < 1e9  # by the bag's own time
        assert {moment.instruction for moment in recording.moments()} >= {"predict the beam for the red car"}


def test_a_recording_is_not_written_over_another(ros_environment, tmp_path: Path):
    launched = start(ros_environment, record=tmp_path)
    words, _ = launched.communicate(timeout=60)
    assert f"{tmp_path} exists already" in words and "record:=FOLDER" in words
    assert launched.returncode != 0 and "process started" not in words


def test_a_node_that_cannot_start_ends_the_launch(ros_environment, tmp_path: Path):
    parameters = tmp_path / "wrong.yaml"
    parameters.write_text(yaml.safe_dump({"/**": {"sense": {"ros__parameters": {"engine": "steam"}}}}))
    launched = start(ros_environment, params_file=parameters)
    words, _ = launched.communicate(timeout=60)
    assert "engine is 'steam'; choose one of auto" in words
    assert "process[sense-1] was required" in words

"""The running node's other faces: beam, markers and overlay; parameters that change, transitions, a clock that jumps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")

from live import Street, running

from mmsense_ros.messages.header import stamp_of
from mmsense_ros.ros.types import message_class

pytestmark = [pytest.mark.ros, pytest.mark.timeout(90)]


@pytest.fixture
def street(ros_environment):
    street = Street(ros_environment)
    yield street
    street.close()


def listen(street: Street, kind: str, topic: str) -> list:
    heard: list = []
    street.node.create_subscription(message_class(kind), topic, heard.append, 10)
    return heard


def call(street: Street, kind: str, service: str, **fields):
    """Call a service of the node."""
    package, _, name = kind.split("/")
    srv = getattr(__import__(f"{package}.srv", fromlist=[name]), name)
    client = street.node.create_client(srv, service)
    assert client.wait_for_service(10.0)
    future = client.call_async(srv.Request(**fields))
    for _ in range(100):
        if future.done():
            return future.result()
        street.spin(0.1)
    raise AssertionError(f"{service} does not answer")


def test_beam_markers_and_overlay_belong_to_the_result(ros_environment, street, tmp_path: Path):
    beams = listen(street, "mmsense_ros/msg/BeamPrediction", "/sense/beam")
    markers = listen(street, "visualization_msgs/msg/MarkerArray", "/sense/markers")
    pictures = listen(street, "sensor_msgs/msg/Image", "/sense/overlay")
    with running(ros_environment, tmp_path, "overlay.rate:=2.0"):
        street.until(lambda: bool(beams and markers and pictures))
        before, results = len(pictures), len(street.results)
        street.run(2.0)
        street.spin(0.3)
        stamps = {stamp_of(result) for result in street.results}
        assert {stamp_of(beam) for beam in beams[-5:]} <= stamps
        assert beams[-1].codebook_size == 64 and beams[-1].horizon == 0.0
        assert {marker.header.frame_id for marker in markers[-1].markers} == {"antenna_array"}
        picture = pictures[-1]
        assert (picture.encoding, picture.width, picture.step, len(picture.data)) == ("rgb8", 1280, 3840, 3840 * picture.height)
        assert np.frombuffer(picture.data, np.uint8).std() > 5
        assert 1 <= len(pictures) - before <= 6 < len(street.results) - results  # at most 2 a second
        values = street.reports["perception"][2]
        listeners = {key.removeprefix("listeners: /sense/"): n for key, n in values.items() if key.startswith("listeners: ")}
        assert listeners == {"sensing": "1", "beam": "1", "markers": "1", "overlay": "1", "instruction": "0"}


def test_instruction_and_state_change_while_it_runs(ros_environment, street, tmp_path: Path):
    from lifecycle_msgs.msg import Transition
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue

    def set_text(name: str, words: str):
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=words)
        answer = call(
            street, "rcl_interfaces/srv/SetParameters", "/sense/set_parameters", parameters=[Parameter(name=name, value=value)]
        )
        return answer.results[0]

    def change(transition: int) -> bool:
        request = Transition(id=transition)
        return call(street, "lifecycle_msgs/srv/ChangeState", "/sense/change_state", transition=request).success

    with running(ros_environment, tmp_path) as (process, log):
        told = listen(street, "std_msgs/msg/String", "/sense/instruction")
        street.until(lambda: bool(street.results))
        assert set_text("instruction", "predict the beam for the red bus").successful
        street.until(lambda: street.results[-1].instruction == "predict the beam for the red bus")
        unheard = set_text("instruction", "serve the crimson lorry")
        assert not unheard.successful and "no_such_encoder" in unheard.reason and "pip install" in unheard.reason
        street.instruct("serve the crimson lorry")
        street.until(lambda: "instruction refused: 'serve the crimson lorry'" in log.read_text())
        street.run(0.5)
        assert street.results[-1].instruction == "predict the beam for the red bus"
        assert [message.data for message in told] == ["predict the beam for the red bus"]
        refused = set_text("engine", "onnxruntime")
        assert not refused.successful and "configured" in refused.reason

        assert change(Transition.TRANSITION_DEACTIVATE)
        street.spin(0.3)
        quiet = len(street.results)
        street.run(0.5)
        assert len(street.results) == quiet
        assert change(Transition.TRANSITION_CLEANUP)
        assert not set_text("engine", "abacus").successful
        assert set_text("engine", "onnxruntime").successful
        assert change(Transition.TRANSITION_CONFIGURE)
        assert change(Transition.TRANSITION_ACTIVATE)
        street.until(lambda: len(street.results) > quiet)
        assert process.poll() is None
    assert "Traceback" not in log.read_text()


def test_results_go_on_when_simulated_time_jumps_back(ros_environment, street, tmp_path: Path):
    time_class, clock_class = message_class("builtin_interfaces/msg/Time"), message_class("rosgraph_msgs/msg/Clock")
    clock = street.node.create_publisher(clock_class, "/clock", 10)
    now = [100_000_000_000]

    def tick() -> int:
        now[0] += 50_000_000
        clock.publish(clock_class(clock=time_class(sec=now[0] // 10**9, nanosec=now[0] % 10**9)))
        return now[0]

    street.clock = tick
    with running(ros_environment, tmp_path, "use_sim_time:=true"):
        street.until(lambda: bool(street.results) and stamp_of(street.results[-1]) > 100_000_000_000)
        now[0] = 50_000_000_000
        street.until(lambda: stamp_of(street.results[-1]) < 90_000_000_000)
        street.until(lambda: any("jumped" in key for key in street.reports.get("perception", (0, "", {}))[2]))
        assert street.results[-1].modalities[1].available

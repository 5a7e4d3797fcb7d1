"""What docs/tutorial.md types at a running node, over DDS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")

from live import LATCHED, Street, running
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from small_bag import write_bag
from tutorial import Command, each, of

from mmsense_ros.ros.types import message_class

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


@each("test_it_works_over_dds")
def test_it_works_over_dds(command: Command, ros_environment: dict[str, str], tmp_path: Path) -> None:
    """With a bag of 2 s in place of the simulated street."""
    write_bag(tmp_path / "street", (20,) * 20)
    typed = [sys.executable, "-m", "mmsense_ros.cli", *command.words[1:]]
    environment = ros_environment | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(typed, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "live" / "summary.json").is_file()


def test_it_works_beside_the_node(ros_environment: dict[str, str], tmp_path: Path) -> None:
    """Neither ros2 topic nor ros2 param is on PyPI: what they would do, with the words that are typed."""
    doings = {("topic", "echo"): echo, ("topic", "pub"): publish, ("param", "set"): set_parameter}
    street = Street(ros_environment)
    try:
        with running(ros_environment, tmp_path):
            street.until(lambda: bool(street.results))
            for command in of("test_it_works_beside_the_node"):
                _, noun, verb, *words = command.words
                doings[noun, verb](street, *words)
    finally:
        street.close()


def echo(street: Street, topic: str) -> None:
    heard: list = []
    (kind,) = dict(street.node.get_topic_names_and_types())[topic]
    street.node.create_subscription(message_class(kind), topic, heard.append, 10)
    street.until(lambda: bool(heard))


def publish(street: Street, once: str, option: str, durability: str, topic: str, kind: str, text: str) -> None:
    assert (once, option, durability) == ("--once", "--qos-durability", "transient_local")
    message = message_class(kind)()
    for field, value in yaml.safe_load(text).items():
        setattr(message, field, value)
    street.node.create_publisher(message_class(kind), topic, LATCHED).publish(message)
    street.until(lambda: street.results[-1].instruction == message.data)


def set_parameter(street: Street, node: str, name: str, value: str) -> None:
    client = street.node.create_client(SetParameters, f"{node}/set_parameters")
    street.until(client.service_is_ready)
    request = SetParameters.Request(parameters=[Parameter(name, value=yaml.safe_load(value)).to_parameter_msg()])
    done = client.call_async(request)
    street.until(done.done)
    assert [result.successful for result in done.result().results] == [True], done.result()
    street.until(lambda: street.results[-1].instruction == value)

"""How a program that takes part in ROS ends: a signal is its end, whenever it comes; a fault is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

PROGRAM = """
import os, signal, sys, time
from argparse import ArgumentParser
import rclpy
from mmsense_ros.errors import ConfigError
from mmsense_ros.ros.program import run

def work(_):
    node = rclpy.create_node("short")
    {work}

sys.exit(run(ArgumentParser("short"), work, []))
"""
SIGNAL = "os.kill(os.getpid(), signal.{})\n    while rclpy.ok(): time.sleep(0.01)"
ASK = "node.get_publishers_info_by_topic('/nothing')"


def ended(environment: dict[str, str], *work: str) -> tuple[int, str]:
    """Exit code of a program that does that, and what it said."""
    command = [sys.executable, "-c", PROGRAM.format(work="\n    ".join(work))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_within_a_callback_is_an_end_like_any_other(ros_environment, name: str):
    code, said = ended(ros_environment, SIGNAL.format(name), ASK)
    assert code == 0 and "Traceback" not in said, said


def test_a_fault_is_told(ros_environment):
    code, said = ended(ros_environment, "raise RuntimeError('out of luck')")
    assert code == 1 and "RuntimeError: out of luck" in said
    code, said = ended(ros_environment, "raise ConfigError('no such street; name another')")
    assert code == 2 and said.splitlines()[-1] == "short: no such street; name another"
    code, said = ended(ros_environment, SIGNAL.format("SIGTERM"), "raise KeyError('a fault of ours')")
    assert code == 1 and "a fault of ours" in said, "the signal is no excuse for it"

"""The node in a process of its own, as launch would start it: for the demo and the benchmark, which feed it and listen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from mmsense_ros.engine import EngineOptions
from mmsense_ros.ros.parameters import ENGINE_OPTIONS

RESULTS = "/sense/sensing"
NODE = (sys.executable, "-m", "mmsense_ros.ros.node")
START_LIMIT, END_LIMIT = 90.0, 15.0  #: [s] for the node to become active, and to end


class NodeFailed(Exception):
    """The node ended, never listened or never answered."""


def node_settings(calibration: Path, model: str | Path = "", engine: EngineOptions = EngineOptions()) -> dict[str, Any]:
    """The parameters that make the node run `model` (empty: the one shipped) so."""
    settings: dict[str, Any] = {"calibration": calibration.resolve(), "engine": engine.name}
    settings |= {name: value for name in ENGINE_OPTIONS if (value := getattr(engine, name)) != ""}
    return settings | ({"model": Path(model).resolve()} if model else {})


@contextmanager
def node_process(settings: Mapping[str, Any], log: Path) -> Iterator[subprocess.Popen]:
    """The node with the parameters `settings`, its output in `log`; ended by SIGINT, as a user would. Raises NodeFailed if it fails."""
    words = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    command = [*NODE, "--ros-args", *words]
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONSAFEPATH": "1"})
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode:
        raise NodeFailed(f"the node ended with exit code {process.returncode}")


def alone() -> None:
    """Keeps what is published on this machine, in a domain of this process, unless the environment says otherwise."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))


def await_node(node: Node, executor: SingleThreadedExecutor, topics: Mapping[str, Any], process: subprocess.Popen) -> None:
    """Until the node hears all of `topics` (name -> publisher) and offers RESULTS. Raises NodeFailed."""
    limit = time.monotonic() + START_LIMIT
    while not (all(p.get_subscription_count() for p in topics.values()) and node.count_publishers(RESULTS)):
        check_alive(process)
        if time.monotonic() > limit:
            raise NodeFailed(f"the node did not listen to {', '.join(topics)} within {START_LIMIT:.0f} s")
        spin_for(0.1, executor)


def spin_for(seconds: float, executor: SingleThreadedExecutor) -> None:
    """Serve callbacks for that long."""
    limit = time.monotonic() + seconds
    while (left := limit - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)


def check_alive(process: subprocess.Popen) -> None:
    """Raises NodeFailed if the process has ended."""
    if process.poll() is not None:
        raise NodeFailed(f"the node ended with exit code {process.returncode} before it was asked to")


def end_of(log: Path, lines: int = 20) -> str:
    """The last of what the node said."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

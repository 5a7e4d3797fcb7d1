"""The node, and what records it, in processes of their own, as launch would start them: for those who feed the node and listen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher

from mmsense_ros.engine import EngineOptions
from mmsense_ros.ros.parameters import ENGINE_OPTIONS

RESULTS, MARKERS = "/sense/sensing", "/sense/markers"
NODE = (sys.executable, "-m", "mmsense_ros.ros.node")
RECORDER = (sys.executable, "-m", "mmsense_ros.ros.recorder")
START_LIMIT, END_LIMIT = 90.0, 15.0  #: [s] for the node to become active, and to end


class NodeFailed(Exception):
    """The node, or the recorder, ended, never listened or never answered."""


class Process(subprocess.Popen):
    """A running `command`, called `name`, its output in `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("w") as sink:
            super().__init__(command, stdout=sink, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONSAFEPATH": "1"})

    def failure(self) -> NodeFailed:
        """That it ended, and what it said last."""
        return NodeFailed(f"{self.name} ended with exit code {self.returncode}: {end_of(self.log, lines=1)}")


def node_process(settings: Mapping[str, Any], log: Path) -> AbstractContextManager[Process]:
    """The node with the parameters `settings`, its output in `log`. Raises NodeFailed if it fails."""
    words = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    return _running("the node", [*NODE, "--ros-args", *words], log)


def recorder_process(bag: Path, topics: Iterable[str], calibration: Path, log: Path) -> AbstractContextManager[Process]:
    """The recorder of `topics` by the time of /clock, its output in `log`. Raises NodeFailed if it fails."""
    words = [str(bag), *topics, "--calibration", str(calibration), "--ros-args", "-p", "use_sim_time:=true"]
    return _running("the recorder", [*RECORDER, *words], log)


def node_settings(calibration: Path, model: str | Path = "", engine: EngineOptions = EngineOptions()) -> dict[str, Any]:
    """The parameters that make the node run `model` (empty: the one shipped) so."""
    settings: dict[str, Any] = {"calibration": calibration.resolve(), "engine": engine.name}
    settings |= {name: value for name in ENGINE_OPTIONS if (value := getattr(engine, name)) != ""}
    return settings | ({"model": Path(model).resolve()} if model else {})


@contextmanager
def _running(name: str, command: Sequence[str], log: Path) -> Iterator[Process]:
    """Ended by SIGINT, as a user would."""
    process = Process(name, command, log)
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
        raise process.failure()


def alone() -> None:
    """Keeps what is published on this machine, in a domain of this process, unless the environment says otherwise."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))


class Reports:
    """What the node says on /diagnostics, as `node` hears it."""

    def __init__(self, node: Node) -> None:
        self.values: dict[str, dict[str, str]] = {}  #: the latest of each status
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)

    @property
    def perception(self) -> dict[str, str]:
        """The values of how perception does; none before the node is active."""
        return self.values.get("perception", {})

    def listeners(self, topic: str) -> int:
        """How many the node knows that a message on its `topic` would reach."""
        return int(self.perception.get(f"listeners: {topic}", 0))

    def _take(self, message: DiagnosticArray) -> None:
        self.values |= {s.name.split(": ", 1)[-1]: {entry.key: entry.value for entry in s.values} for s in message.status}


def await_listeners(
    executor: SingleThreadedExecutor,
    inputs: Iterable[tuple[Publisher, int]],
    reports: Reports,
    outputs: Mapping[str, int],
    *processes: Process,
) -> None:
    """Until each publisher of `inputs` and each topic of the node's `outputs` has as many listeners as is said with it.

    Who publishes must know of them: another process may find a subscription long before, and what is published meanwhile is lost.
    Raises NodeFailed.
    """
    limit = time.monotonic() + START_LIMIT
    while missing := [
        *(publisher.topic_name for publisher, count in inputs if publisher.get_subscription_count() < count),
        *(topic for topic, count in outputs.items() if reports.listeners(topic) < count),
    ]:
        check_alive(*processes)
        if time.monotonic() > limit:
            raise NodeFailed(f"not all who should listen to {', '.join(missing)} did within {START_LIMIT:.0f} s")
        spin_for(0.1, executor)


def spin_for(seconds: float, executor: SingleThreadedExecutor) -> None:
    """Serve callbacks for that long."""
    limit = time.monotonic() + seconds
    while (left := limit - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)


def check_alive(*processes: Process) -> None:
    """Raises NodeFailed if one has ended."""
    for process in processes:
        if process.poll() is not None:
            raise process.failure()


def end_of(log: Path, lines: int = 20) -> str:
    """The last of what a process said."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

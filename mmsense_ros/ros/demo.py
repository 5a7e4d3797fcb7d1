"""`mmsense demo`: a street replayed over DDS, at real rate, into the node in a second process; a live table, then figures."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rich.console import Console
from rich.live import Live

from mmsense_ros.data.recording import (
    CAMERA_INFO,
    INSTRUCTION,
    TF_STATIC,
    TRUTH_NOISE_FREE,
    TRUTH_POWER,
    TRUTH_SENSING,
    Recording,
)
from mmsense_ros.engine import SHIPPED_MODEL
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation.report import Score
from mmsense_ros.messages.sensing import sensing_of
from mmsense_ros.model_card import ModelCard
from mmsense_ros.progress import progress
from mmsense_ros.ros.dds import use_profile
from mmsense_ros.ros.demo_pictures import draw_pictures
from mmsense_ros.ros.demo_table import live_table
from mmsense_ros.ros.player import Player
from mmsense_ros.ros.process import (
    RESULTS,
    NodeFailed,
    Process,
    alone,
    await_node,
    check_alive,
    end_of,
    node_process,
    recorder_process,
    spin_for,
)
from mmsense_ros.ros.types import message_class
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, MODALITIES

RECORDING = "recording"
TRUTH = (TRUTH_POWER, TRUTH_NOISE_FREE, TRUTH_SENSING)
SEED = 3001  #: of the street that is simulated; training never sees it
LAST_WORDS = 1.5  #: [s] after the last message, for the last results and a last /diagnostics
TABLE_PERIOD = 0.25  #: [s]


@dataclass
class Heard:
    """What came back from the node."""

    results: dict[int, Sensing] = field(default_factory=dict)  #: by stamp [ns]
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)  #: status name -> values
    sent: int = 0  #: camera frames

    def sensing(self, message: Any) -> None:
        """A SensingResult."""
        result = sensing_of(message)
        self.results[result.stamp] = result

    def report(self, message: DiagnosticArray) -> None:
        """A report of the node's."""
        self.diagnostics.update({s.name: {entry.key: entry.value for entry in s.values} for s in message.status})


def run(bag: Path | None, seconds: float, out: Path, model: str | Path = "", record: bool = False) -> int:
    """Show `seconds` of `bag`, or of a street simulated for it; 0, or 1 if the node failed.

    Leaves in `out`: summary.json, overlay.png, overlay.gif, calibration.yaml, node.log and, if told to `record`, recording/ (a
    rosbag2 of what went in, what came out and the truth) and recorder.log. Raises BagError, ConfigError, ModelError.
    """
    console = Console(stderr=True)
    card = ModelCard.load(model or SHIPPED_MODEL)
    if record and bag and bag.resolve() == (out / RECORDING).resolve():
        raise ConfigError(f"{bag} would be recorded over while it is replayed; choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made ({error.strerror}); choose another folder with --out") from error
    with Recording(bag or _simulated(out, seconds)) as recording:
        calibration, log = out / "calibration.yaml", out / "node.log"
        recording.calibration.save(calibration)
        use_profile()
        alone()
        console.print(f"replaying {recording.bag.path} over DDS, domain {os.environ['ROS_DOMAIN_ID']}; the node's log is {log}")
        try:
            settings = {"calibration": calibration.resolve()} | ({"model": Path(model).resolve()} if model else {})
            with ExitStack() as stack:
                processes = [stack.enter_context(node_process(settings, log))]
                if record:
                    shutil.rmtree(out / RECORDING, ignore_errors=True)
                    recorder = recorder_process(out / RECORDING, _recorded(recording), calibration, out / "recorder.log")
                    processes.append(stack.enter_context(recorder))
                heard = _replay(recording, processes, seconds, console)
            summary = _summary(recording, heard)
        except NodeFailed as failure:
            console.print(f"mmsense demo: {failure}; {log} ends:\n{end_of(log)}", markup=False)
            return 1
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        draw_pictures(recording, card, heard.results, out)
    latency = summary["latency_ms"]
    console.print(
        f"{heard.sent} camera frames, {summary['snapshots']} snapshots, {summary['published']} results, "
        f"{summary['dropped']} dropped; "
        f"latency p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms; see {out}"
    )
    return 0


def _simulated(out: Path, seconds: float) -> Path:
    """A street to show."""
    from mmsense_ros.data.street.simulate import simulate

    bag = out / "street"
    shutil.rmtree(bag, ignore_errors=True)
    with progress("simulating a street") as report:
        return simulate(bag, seconds=seconds, seed=SEED, storage="mcap", progress=report)


def _replay(recording: Recording, processes: Sequence[Process], seconds: float, console: Console) -> Heard:
    """Play the bag to the node, and to the recorder if there is one, and listen; in this thread alone."""
    heard = Heard()
    rclpy.init(args=[])
    node, executor = Node("mmsense_demo"), SingleThreadedExecutor()
    executor.add_node(node)
    node.create_subscription(message_class("mmsense_ros/msg/SensingResult"), RESULTS, heard.sensing, 100)
    node.create_subscription(DiagnosticArray, "/diagnostics", heard.report, 10)
    record = len(processes) > 1
    player = Player(node, recording.bag.path, set(recording.bag.types) - _played(recording, record), clock=record)
    try:
        sensors = {topic: player.publishers[topic] for name, topic in recording.topics.items() if name in MODALITIES}
        await_node(node, executor, sensors, *processes)
        with Live(live_table(None, {}), console=console, auto_refresh=False) as live:
            shown = 0.0
            for entry in player.play(seconds, lambda left: executor.spin_once(timeout_sec=left)):
                heard.sent += entry.topic == recording.topics[CAMERA]
                if time.monotonic() - shown > TABLE_PERIOD:
                    shown = time.monotonic()
                    live.update(live_table(next(reversed(heard.results.values()), None), heard.diagnostics), refresh=True)
                    check_alive(*processes)
        spin_for(LAST_WORDS, executor)
    finally:
        player.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return heard


def _played(recording: Recording, record: bool) -> set[str]:
    """Topics for the node: of each sensor's sources only the chosen one; and the truth, if somebody records it."""
    return {*recording.topics.values(), CAMERA_INFO, INSTRUCTION, TF_STATIC, *(TRUTH if record else ())}


def _recorded(recording: Recording) -> list[str]:
    """Topics that are recorded."""
    played = _played(recording, record=True) & set(recording.bag.types)
    return sorted({*played, RESULTS, "/sense/beam", "/sense/markers", "/diagnostics"})


def _summary(recording: Recording, heard: Heard) -> dict[str, Any]:
    """The figures of `mmsense evaluate` for what came over DDS, and how much of it came."""
    score = Score()
    for stamp, sensing in heard.results.items():
        score.add(sensing, recording.truth.get(stamp))
    if not heard.results:
        raise NodeFailed("the node published no result")
    last = next(reversed(heard.results.values()))
    snapshots = int(heard.diagnostics.get("sense: perception", {}).get("snapshots", len(heard.results)))
    return score.report() | {
        "engine": {"name": last.engine, "precision": last.precision},
        "camera_frames": heard.sent,
        "snapshots": snapshots,
        "published": len(heard.results),
        "dropped": max(snapshots - len(heard.results), 0),
    }

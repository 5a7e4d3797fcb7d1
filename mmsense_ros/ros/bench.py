"""The whole way, live: a street's sensors at full rate over DDS into the node in a second process, and what each stage costs."""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from mmsense_ros.data.recording import CONVERTERS, Recording
from mmsense_ros.data.rosbag import typestore
from mmsense_ros.engine import EngineOptions
from mmsense_ros.errors import MMSenseError
from mmsense_ros.evaluation.metrics import percentiles
from mmsense_ros.messages.camera import rgb8_message
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.lidar import lidar_message
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.progress import progress
from mmsense_ros.ros.dds import use_profile
from mmsense_ros.ros.diagnostics import PERCENTILES
from mmsense_ros.ros.process import (
    MARKERS,
    RESULTS,
    NodeFailed,
    Reports,
    alone,
    await_listeners,
    check_alive,
    end_of,
    node_process,
    node_settings,
    spin_for,
)
from mmsense_ros.ros.program import participant
from mmsense_ros.ros.types import message_class
from mmsense_ros.snapshot import CAMERA, LIDAR, NANOSECONDS, RADAR, LidarReading

RATES = {CAMERA: 30.0, RADAR: 20.0, LIDAR: 10.0}  #: [Hz]
PHASES = {CAMERA: 0.0, RADAR: 0.011, LIDAR: 0.023}  #: [s]
POINTS = 120_000  #: of a sweep
LOOP = 2.0  #: [s] of the street that are played over and over
SETTLE, LAST_WORDS = 3.0, 1.5  #: [s] that do not count; for the last results
BEFORE, AFTER = ("delivery", "decoding"), ("message", "publish", "markers")  #: stages that only diagnostics know
OUTSIDE = (
    "queue",
    "maps",
    "answers",
    "message",
    "publish",
    "markers",
)  #: stages that are neither the engine nor waiting for sensors
TICKS = os.sysconf("SC_CLK_TCK")

Feed = dict[str, list[bytes]]  #: sensor -> serialized messages, stamped when they are sent


def run(
    recording: Recording, size: tuple[int, int], seconds: float, model: str | Path, options: EngineOptions
) -> dict[str, Any]:
    """Figures of `seconds` with a camera of `size` (width, height): `latency_ms` by stage, `cpu` of the node [cores], counts, `trend`
    [ms/min] of the latency from a frame's stamp to its result's arrival at a subscriber.

    Raises MMSenseError if the node fails.
    """
    use_profile()
    alone()
    feed = _feed(recording, size)
    with TemporaryDirectory() as folder:
        calibration, log = Path(folder) / "calibration.yaml", Path(folder) / "node.log"
        recording.calibration.save(calibration)
        try:
            with node_process(node_settings(calibration, model, options), log) as process:
                return _listen(recording, feed, seconds, process)
        except NodeFailed as failure:
            raise MMSenseError(f"{failure}; its log ends:\n{end_of(log)}") from failure


class Listener:
    """A subscriber to all that the node says."""

    def __init__(self, node: Node) -> None:
        self.counts_from = math.inf  #: [ns] results of earlier stamps do not count
        self.results: list[tuple[float, float, Any]] = []  #: arrival [s], latency from the stamp on [ms], SensingResult
        self.reports = Reports(node)
        node.create_subscription(message_class("mmsense_ros/msg/SensingResult"), RESULTS, self._hear, 100)
        node.create_subscription(message_class("visualization_msgs/msg/MarkerArray"), MARKERS, lambda _: None, 10)

    def _hear(self, message: Any) -> None:
        now, stamp = time.time_ns(), stamp_of(message)
        if stamp >= self.counts_from:
            self.results.append((now / NANOSECONDS, (now - stamp) / 1e6, message))


def _listen(recording: Recording, feed: Feed, seconds: float, process: Popen) -> dict[str, Any]:
    """Send and listen, in this thread alone."""
    topics = {name: recording.topics[name] for name in feed}
    with participant(lambda: Node("mmsense_bench")) as (node, executor):
        listener = Listener(node)
        publishers = {
            topic: node.create_publisher(message_class(recording.bag.types[topic]), topic, 10) for topic in topics.values()
        }
        inputs = [(publisher, 1) for publisher in publishers.values()]
        await_listeners(executor, inputs, listener.reports, {RESULTS: 1, MARKERS: 1}, process)
        frames, began, cpu = 0, 0.0, 0.0
        with progress("feeding the node") as report:
            for at, name, data in _due(_schedule(feed, SETTLE + seconds), executor):
                if at >= SETTLE and not began:
                    began, cpu, frames = time.monotonic(), _cpu_seconds(process), 0
                    listener.counts_from = time.time_ns()
                publishers[topics[name]].publish(_stamped(data))
                frames += name == CAMERA
                report(int(at), int(SETTLE + seconds))
                check_alive(process)
        cores = (_cpu_seconds(process) - cpu) / (time.monotonic() - began)
        spin_for(LAST_WORDS, executor)
    return _figures(listener, frames, cores)


def _figures(listener: Listener, frames: int, cores: float) -> dict[str, Any]:
    if not listener.results:
        raise NodeFailed("the node published no result")
    arrivals, latencies, messages = zip(*listener.results)
    split: dict[str, list[float]] = {}
    for message in messages:
        for entry in message.latencies:
            split.setdefault(entry.stage, []).append(entry.duration)
    reports = listener.reports
    stages = {f"{stage} ({name})": _said(reports.values.get(name, {}), stage) for name in RATES for stage in BEFORE}
    stages |= {stage: percentiles(durations) for stage, durations in split.items() if stage != "total"}
    stages |= {stage: _said(reports.perception, stage) for stage in AFTER}
    stages["stamp to subscriber"] = percentiles(latencies)
    outside = [stages[f"{stage} ({CAMERA})"]["p50"] for stage in BEFORE] + [stages[stage]["p50"] for stage in OUTSIDE]
    return {
        "engine": f"{messages[-1].engine} {messages[-1].precision}",
        "frames": frames,
        "published": len(messages),
        "dropped": frames - len(messages),
        "cpu": cores,
        "outside_engine_ms": sum(outside),
        "trend": float(np.polyfit(np.array(arrivals) / 60 - arrivals[0] / 60, latencies, 1)[0]),
        "latency_ms": stages,
    }


def _said(values: dict[str, str], stage: str) -> dict[str, float]:
    """The percentiles of a stage as the node's diagnostics tell them."""
    return {f"p{percent}": float(values.get(f"{stage} p{percent} [ms]", "nan")) for percent in PERCENTILES}


def _feed(recording: Recording, size: tuple[int, int]) -> Feed:
    """LOOP seconds of the street's messages: pictures scaled to `size`, sweeps thickened to POINTS, radar as it is."""
    names = {topic: name for name, topic in recording.topics.items()}
    feed: Feed = {name: [] for name in RATES}
    for entry in recording.bag.messages(names, recording.bag.start, recording.bag.start + int(LOOP * NANOSECONDS)):
        name, types = names[entry.topic], RosbagTypes()
        if name == RADAR:
            feed[name].append(bytes(entry.data))
            continue
        reading = CONVERTERS[name][entry.type](entry.message, topic=entry.topic)
        if name == CAMERA:
            message = rgb8_message(types, reading.stamp, reading.frame_id, cv2.resize(reading.image, size))
        else:
            chosen = np.resize(np.arange(len(reading.xyz)), POINTS)
            message = lidar_message(
                types, LidarReading(reading.stamp, reading.frame_id, reading.xyz[chosen], reading.intensity[chosen])
            )
        feed[name].append(bytes(typestore().serialize_cdr(message, message.__msgtype__)))
    return feed


def _schedule(feed: Feed, seconds: float) -> Iterator[tuple[float, str, bytes]]:
    """When to send which message, over and over [s]."""
    number = dict.fromkeys(feed, 0)
    while True:
        name = min(feed, key=lambda name: PHASES[name] + number[name] / RATES[name])
        at = PHASES[name] + number[name] / RATES[name]
        if at >= seconds:
            return
        yield at, name, feed[name][number[name] % len(feed[name])]
        number[name] += 1


def _due(schedule: Iterator[tuple[float, str, bytes]], executor: SingleThreadedExecutor) -> Iterator[tuple[float, str, bytes]]:
    """What is scheduled, each when it is due; callbacks are served meanwhile."""
    began = time.monotonic()
    for entry in schedule:
        executor.spin_once(timeout_sec=0)
        spin_for(entry[0] - (time.monotonic() - began), executor)
        yield entry


def _stamped(data: bytes) -> bytes:
    """A serialized message with a header, stamped now: the stamp comes first, after four bytes about the encoding."""
    return data[:4] + struct.pack("<iI", *divmod(time.time_ns(), NANOSECONDS)) + data[12:]


def _cpu_seconds(process: Popen) -> float:
    """CPU time that a process has spent [s], all threads together."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS

"""Latency of the whole way, from a sensor's message to the published result: live over DDS where ROS is, else from readings to answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from mmsense_ros.data.recording import Recording
from mmsense_ros.engine import EngineOptions
from mmsense_ros.evaluation.metrics import percentiles
from mmsense_ros.perception import Perception

SIZES = {"VGA": (640, 480), "720p": (1280, 720)}  #: of the camera (width, height)
STREET = 5.0  #: [s] of street that are simulated for the occasion


def run(
    bag: Path | None = None,
    model: str | Path | None = None,
    engine: EngineOptions = EngineOptions(),
    seconds: float = 20.0,
    json_file: Path | None = None,
    cameras: Sequence[str] = tuple(SIZES),
) -> dict[str, Any]:
    """Print what each stage takes [ms] with `bag` (default: a simulated street); live for `seconds` with each of the `cameras` of SIZES.

    Figures by camera size (ros/bench.py), or without ROS under "readings to answers".
    """
    console, figures = Console(), {}
    with TemporaryDirectory() as folder, Recording(bag or _street(Path(folder))) as recording:
        try:
            from mmsense_ros.ros import bench as live
        except ImportError as error:
            console.print(f"without ROS 2 ({error}) only from readings to answers")
            figures["readings to answers"] = _offline(recording, model or "", engine)
        else:
            for name in cameras:
                figures[name] = live.run(recording, SIZES[name], seconds, model or "", engine)
    for name, entry in figures.items():
        _show(console, name, entry)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def _offline(recording: Recording, model: str | Path, engine: EngineOptions) -> dict[str, Any]:
    stages: dict[str, list[float]] = {}
    perception = Perception.open(recording.calibration, model, engine)
    for moment in recording.moments():
        for stage, duration in perception(moment.snapshot, moment.instruction).latency_ms.items():
            stages.setdefault(stage, []).append(duration)
    name = f"{perception.engine.name} {perception.engine.precision}"
    perception.close()
    return {"engine": name, "latency_ms": {stage: percentiles(durations) for stage, durations in stages.items()}}


def _show(console: Console, name: str, entry: dict[str, Any]) -> None:
    title = f"{name}, {entry['engine']}"
    table = Table("stage", "p50 (ms)", "p95 (ms)", "p99 (ms)", box=None, header_style="bold", title=title)
    for stage, values in entry["latency_ms"].items():
        table.add_row(stage, *(f"{value:.2f}" for value in values.values()))
    console.print(table)
    if "cpu" in entry:
        console.print(
            f"outside the engine {entry['outside_engine_ms']:.1f} ms; {entry['published']} results for {entry['frames']} frames, "
            f"{entry['dropped']} dropped; node {entry['cpu']:.2f} cores; trend {entry['trend']:+.2f} ms/min"
        )


def _street(folder: Path) -> Path:
    from mmsense_ros.data.street.simulate import simulate

    return simulate(folder / "street", seconds=STREET, seed=0)

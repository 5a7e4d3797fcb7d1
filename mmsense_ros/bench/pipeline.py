"""Latency of the whole way, from readings to answers, on a recorded street."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from mmsense_ros.data.recording import Recording
from mmsense_ros.engine import EngineOptions
from mmsense_ros.evaluation.metrics import percentiles
from mmsense_ros.perception import Perception


def run(
    bag: Path | None = None,
    model: str | Path | None = None,
    engine: EngineOptions = EngineOptions(),
    json_file: Path | None = None,
) -> dict[str, Any]:
    """Print each stage's latency [ms] over all snapshots of `bag` (default: a simulated street of 10 s)."""
    stages: dict[str, list[float]] = {}
    with TemporaryDirectory() as folder, Recording(bag or _street(Path(folder))) as recording:
        perception = Perception.open(recording.calibration, model or "", engine)
        for moment in recording.moments():
            for stage, duration in perception(moment.snapshot, moment.instruction).latency_ms.items():
                stages.setdefault(stage, []).append(duration)
    figures = {stage: percentiles(durations) for stage, durations in stages.items()}
    name = f"{perception.engine.name} {perception.engine.precision}"
    perception.close()
    table = Table("stage", "p50 (ms)", "p95 (ms)", "p99 (ms)", box=None, header_style="bold", title=name)
    for stage, values in figures.items():
        table.add_row(stage, *(f"{value:.2f}" for value in values.values()))
    Console().print(table)
    if json_file:
        json_file.write_text(json.dumps({"engine": name, "latency_ms": figures}, indent=2) + "\n")
    return figures


def _street(folder: Path) -> Path:
    from mmsense_ros.data.street.simulate import simulate

    return simulate(folder / "street", seconds=10.0, seed=0)

"""Latency of the model on every engine installed here, in every precision each offers."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from mmsense_ros.engine import PRECISIONS, SHIPPED_MODEL, EngineOptions, engine_names, open_engine
from mmsense_ros.errors import EngineError
from mmsense_ros.evaluation.metrics import percentiles


def run(model: str | Path | None = None, threads: int = 0, repeats: int = 200, json_file: Path | None = None) -> dict[str, Any]:
    """Print a table of latencies [ms] of `repeats` runs and the time to open [s]; engines that cannot run are named."""
    figures: dict[str, Any] = {}
    table = Table("engine", "precision", "open (s)", "p50 (ms)", "p95 (ms)", "p99 (ms)", box=None, header_style="bold")
    for name in engine_names():
        for precision in PRECISIONS[1:]:
            try:
                began = perf_counter()
                engine = open_engine(model or SHIPPED_MODEL, EngineOptions(name, precision, threads))
                opened = perf_counter() - began
            except EngineError as error:
                figures[f"{name} {precision}"] = {"error": str(error)}
                continue
            latency = percentiles([_timed(engine.infer) for _ in range(repeats)])
            engine.close()
            figures[f"{name} {precision}"] = {"open_s": opened, "latency_ms": latency}
            table.add_row(name, precision, f"{opened:.2f}", *(f"{value:.2f}" for value in latency.values()))
    console = Console()
    console.print(table)
    for name, entry in figures.items():
        if "error" in entry:
            console.print(f"{name}: {entry['error']}", style="dim")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def _timed(call: Any) -> float:
    began = perf_counter()
    call()
    return 1e3 * (perf_counter() - began)

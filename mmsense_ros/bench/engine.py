"""Latency of the model on every engine installed here, in every precision each offers, against torch and against this machine's peak."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from mmsense_ros.bench.work import product, timed
from mmsense_ros.engine import PRECISIONS, SHIPPED_MODEL, Engine, EngineOptions, engine_names, open_engine
from mmsense_ros.engine.graph import operations
from mmsense_ros.errors import EngineError
from mmsense_ros.evaluation.metrics import percentiles
from mmsense_ros.progress import progress

WARM_UP, PRODUCTS = 10, 5  #: runs before those that count; of the matrix product
WIDTH = 100  #: [characters] below which names would break
EAGER = "torch fp32"  #: what the others are compared with


def run(
    model: str | Path | None = None,
    options: EngineOptions = EngineOptions(),
    repeats: int = 200,
    json_file: Path | None = None,
) -> dict[str, Any]:
    """Print a table of `repeats` runs of each engine, taken in turns so that all see the same machine; those that cannot run are named.
    `options` say on what threads and cores they run.

    Figures by engine and precision: `open_s`, `latency_ms`, `speedup` over torch, `gflops` achieved, `of_peak`, the part of the best that
    any engine reaches with a large matrix product in that precision. Without onnx the last two are missing, without torch the speedup.
    """
    path = Path(model or SHIPPED_MODEL)
    figures, engines = _opened(path, options)
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        for _ in range(WARM_UP):
            engine.infer()
    with progress("timing engines") as report:
        for turn in range(repeats):
            for name, engine in engines.items():
                spent[name].append(timed(engine.infer))
            report(turn + 1, repeats)
    for name, engine in engines.items():
        figures[name]["latency_ms"] = percentiles(spent[name])
        engine.close()
    if EAGER in engines:
        for name in engines:
            figures[name]["speedup"] = figures[EAGER]["latency_ms"]["p50"] / figures[name]["latency_ms"]["p50"]
    try:
        import onnx

        work, peaks = sum(operations(onnx.load(str(path))).values()), _peaks(list(engines), options)
    except ImportError:
        pass
    else:
        for name in engines:
            speed = work / figures[name]["latency_ms"]["p50"] / 1e6
            peak = peaks.get(name.split()[1])
            figures[name] |= {"gflops": speed} | ({"of_peak": speed / peak} if peak else {})
    _show(figures)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def _opened(path: Path, options: EngineOptions) -> tuple[dict[str, dict[str, Any]], dict[str, Engine]]:
    figures: dict[str, dict[str, Any]] = {}
    engines: dict[str, Engine] = {}
    for engine in engine_names():
        for precision in PRECISIONS[1:]:
            name = f"{engine} {precision}"
            try:
                began = perf_counter()
                engines[name] = open_engine(path, replace(options, name=engine, precision=precision))
                figures[name] = {"open_s": perf_counter() - began}
            except EngineError as error:
                figures[name] = {"error": str(error)}
    return figures, engines


def _peaks(names: list[str], options: EngineOptions) -> dict[str, float]:
    """The best speed [GFLOP/s] of a large matrix product on any of the engines `names`, by precision."""
    peaks: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        graph, work = product(Path(folder))
        for name in names:
            engine, precision = name.split()
            try:
                running = open_engine(graph, replace(options, name=engine, precision=precision))
            except EngineError:  # torch runs no graphs
                continue
            best = min(timed(running.infer) for _ in range(PRODUCTS))
            running.close()
            peaks[precision] = max(peaks.get(precision, 0.0), work / best / 1e6)
    return peaks


def _show(figures: dict[str, dict[str, Any]]) -> None:
    heads = ("engine", "open (s)", "p50 (ms)", "p95 (ms)", "p99 (ms)", "times torch", "GFLOP/s", "of peak")
    table = Table(*heads, box=None, header_style="bold")
    console = Console()
    console.width = max(console.width, WIDTH)
    for name, entry in figures.items():
        if "error" in entry:
            console.print(f"{name}: {entry['error']}", style="dim")
            continue
        latency = [f"{value:.2f}" for value in entry["latency_ms"].values()]
        rest = [
            f"{entry[key]:.{digits}f}" if key in entry else "-"
            for key, digits in (("speedup", 1), ("gflops", 0), ("of_peak", 2))
        ]
        table.add_row(name, f"{entry['open_s']:.2f}", *latency, *rest)
    console.print(table)

"""report.json, compare.json and what is in a bag, as tables for people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmsense_ros.data.inspect import Inspection
from mmsense_ros.evaluation.agreement import AGAINST, COUNTS
from mmsense_ros.evaluation.compare import LEVEL, Comparison

BEAM = {
    "top1": "top-1", "top2": "top-2", "top3": "top-3", "top5": "top-5", "dba": "DBA", "power_loss_db": "power loss (dB)",
}  # fmt: skip
REPORT = 100  #: [characters] below which headings would break
WIDE = 200  #: [characters] names of topics are not to be cut, whatever the terminal


def print_report(report: dict[str, Any]) -> None:
    """Print the figures: tasks, then the beam against its bounds, then without each sensor."""
    console = Console()
    console.width = max(console.width, REPORT)
    if "split" in report:
        console.print(
            f"no sensors: {report['frames']} held-out sweeps, beams told by what was learned from the other drive-bys"
        )
    else:
        latency, engine = report["latency_ms"], report["engine"]
        console.print(
            f"{report['frames']} frames on {engine['name']} {engine['precision']}: "
            f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f}"
        )
    for title, tasks in (("task", report["per_task"]), ("task without truth", report.get("predictions", {}))):
        if tasks:
            table = Table(title, "figures", box=None, header_style="bold")
            for task, figures in tasks.items():
                table.add_row(task, "  ".join(f"{name} {_show(value)}" for name, value in figures.items()))
            console.print(table)
    if live := report.get("live"):
        table = Table("live against", *COUNTS, "largest difference", box=None, header_style="bold")
        for name, figures in live.items():
            most = max(figures["largest_difference"].items(), key=lambda entry: entry[1], default=("", 0.0))
            table.add_row(AGAINST[name], *(str(figures[count]) for count in COUNTS), f"{most[1]:.1e} {most[0]}")
        console.print(table)
    if "beam" not in report:
        return
    rows = {} if "split" in report else {"mmsense": report["beam"]}
    rows |= {name.replace("_", " "): figures for name, figures in report["baselines"].items()}
    rows |= {"noise-free oracle": report["oracle"]} if "oracle" in report else {}
    rows |= {f"without {name}": figures for name, figures in report["per_modality_drop"].items()}
    beams = Table("beam chosen by", *BEAM.values(), box=None, header_style="bold")
    for name, figures in rows.items():
        beams.add_row(name, *(_show(figures.get(key)) for key in BEAM))
    console.print(beams)


def print_comparison(comparison: Comparison) -> None:
    """Print both evaluations' figures, their difference and its interval."""
    console, (one, other) = Console(width=WIDE), comparison.names
    console.print(
        f"{len(comparison.frames[0])} frames in both; intervals: {LEVEL:.0%} of {comparison.resamples} resamples, in blocks of "
        f"{comparison.block} consecutive frames"
    )
    table = Table(
        "figure", escape(one), escape(other), "difference", f"{LEVEL:.0%} interval", "", box=None, header_style="bold"
    )
    for name, figure in comparison.figures.items():
        change, verdict = figure.difference, figure.verdict(name)
        interval = f"{change.low:+.3f} .. {change.high:+.3f}"
        table.add_row(name, f"{figure.one.value:.3f}", f"{figure.other.value:.3f}", f"{change.value:+.3f}", interval, verdict)
    console.print(table)


def print_inspection(bag: Path, found: Inspection) -> None:
    """Print a bag's topics, what they would be read as, what is missing, and the command."""
    console, inputs = Console(width=WIDE), {topic: name for name, topic in found.proposed.items()}
    table = Table("topic", "type", "messages", "rate (Hz)", "read as", "frame", "fields", box=None, header_style="bold")
    for topic in found.topics:
        rate = "" if math.isnan(topic.rate) else f"{topic.rate:.1f}"
        kind, fields = topic.type.replace("/msg/", "/"), " ".join(topic.fields)
        table.add_row(topic.name, kind, str(topic.count), rate, inputs.get(topic.name, ""), topic.frame, fields)
    console.print(str(bag), markup=False)
    console.print(table)
    for fault in found.missing:
        console.print(f"missing: {fault}", markup=False, soft_wrap=True)
    console.print(found.command, markup=False, highlight=False, soft_wrap=True)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

"""`mmsense demo`: a street replayed over DDS, at real rate, into the node in a second process; a live table, then figures."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

from rich.console import Console
from rich.live import Live

from mmsense_ros.data.recording import Recording
from mmsense_ros.engine import SHIPPED_MODEL
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation.report import report_of
from mmsense_ros.evaluation.score import Score
from mmsense_ros.model_card import ModelCard
from mmsense_ros.progress import progress
from mmsense_ros.ros.dds import use_profile
from mmsense_ros.ros.demo_pictures import draw_pictures
from mmsense_ros.ros.demo_table import live_table
from mmsense_ros.ros.process import NodeFailed, alone, end_of, node_process, node_settings
from mmsense_ros.ros.replay import Heard, replay, write_calibration

SEED = 3001  #: of the street that is simulated; training never sees it
TABLE_PERIOD = 0.25  #: [s]


def run(bag: Path | None, seconds: float, out: Path, model: str | Path = "") -> int:
    """Show `seconds` of `bag`, or of a street simulated for it; 0, or 1 if the node failed.

    Leaves in `out`: summary.json, overlay.png, overlay.gif, calibration.yaml and node.log. Raises BagError, ModelError.
    """
    console = Console(stderr=True)
    card = ModelCard.load(model or SHIPPED_MODEL)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made ({error.strerror}); choose another folder with --out") from error
    with Recording(bag or _simulated(out, seconds)) as recording:
        settings, log = node_settings(write_calibration(recording, out), model), out / "node.log"
        use_profile()
        alone()
        console.print(f"replaying {recording.bag.path} over DDS, domain {os.environ['ROS_DOMAIN_ID']}; the node's log is {log}")
        try:
            with node_process(settings, log) as process:
                heard = _replayed(recording, process, seconds, console)
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


def _replayed(recording: Recording, process: Popen, seconds: float, console: Console) -> Heard:
    """What the node answers, shown while it comes."""
    with Live(live_table(None, {}), console=console, auto_refresh=False) as live:
        shown = 0.0

        def look(heard: Heard) -> None:
            nonlocal shown
            if time.monotonic() - shown > TABLE_PERIOD:
                shown = time.monotonic()
                live.update(live_table(next(reversed(heard.results.values()), None), heard.diagnostics), refresh=True)

        return replay(recording, process, look, seconds)


def _summary(recording: Recording, heard: Heard) -> dict[str, Any]:
    """The figures of `mmsense evaluate` for what came over DDS, and how much of it came."""
    if not heard.results:
        raise NodeFailed("the node published no result")
    recording.read_truth()
    score = Score(recording.bag.path.name)
    for stamp, sensing in heard.results.items():
        score.add(sensing, recording.truth_at(stamp))
    last = next(reversed(heard.results.values()))
    return report_of(score.frames()) | {
        "engine": {"name": last.engine, "precision": last.precision},
        "camera_frames": heard.sent,
        "snapshots": heard.snapshots,
        "published": len(heard.results),
        "dropped": max(heard.snapshots - len(heard.results), 0),
    }

"""`mmsense demo`: a street replayed over DDS, at real rate, into the node in a second process; a live table, then figures."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
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
from mmsense_ros.ros.process import NodeFailed, Process, alone, end_of, node_process, node_settings, recorder_process
from mmsense_ros.ros.replay import Heard, recorded, replay, write_calibration

RECORDING = "recording"
SEED = 3001  #: of the street that is simulated; training never sees it
TABLE_PERIOD = 0.25  #: [s]


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
        calibration, log = write_calibration(recording, out), out / "node.log"
        use_profile()
        alone()
        console.print(f"replaying {recording.bag.path} over DDS, domain {os.environ['ROS_DOMAIN_ID']}; the node's log is {log}")
        try:
            with ExitStack() as stack:
                process, recorder = stack.enter_context(node_process(node_settings(calibration, model), log)), None
                if record:
                    shutil.rmtree(out / RECORDING, ignore_errors=True)
                    words = (out / RECORDING, recorded(recording), calibration, out / "recorder.log")
                    recorder = stack.enter_context(recorder_process(*words))
                heard = _replayed(recording, process, recorder, seconds, console)
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


def _replayed(recording: Recording, process: Process, recorder: Process | None, seconds: float, console: Console) -> Heard:
    """What the node answers, shown while it comes."""
    with ExitStack() as stack:
        if not console.is_terminal:  # there Live ends its last line itself
            stack.callback(console.line)
        live, shown = stack.enter_context(Live(live_table(None, {}), console=console, auto_refresh=False)), 0.0

        def look(heard: Heard) -> None:
            nonlocal shown
            if time.monotonic() - shown > TABLE_PERIOD:
                shown = time.monotonic()
                live.update(live_table(next(reversed(heard.results.values()), None), heard.reports.perception), refresh=True)

        return replay(recording, process, look, seconds, recorder)


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

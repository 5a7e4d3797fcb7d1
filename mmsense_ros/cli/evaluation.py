"""`mmsense evaluate`: bags replayed and scored, without ROS."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsense_ros.cli.options import bag_options, command, engine_of, engine_options
from mmsense_ros.progress import progress


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, evaluate, "evaluate", "run the perception over bags, without ROS, and score it against truth")
    add("bags", type=Path, nargs="+", metavar="BAG", help="rosbag2 folder or .mcap file")
    add("--out", type=Path, default=Path("out/evaluate"), help="folder for report.json (default: %(default)s)")
    add("--ablate", action="store_true", help="also withhold each sensor in turn: per_modality_drop in the report")
    add("--overlay", action="store_true", help="also draw what was sensed: overlay.mp4 beside the report")
    bag_options(add)
    engine_options(add)


def evaluate(options: argparse.Namespace) -> None:
    """Score bags and print the figures."""
    from mmsense_ros.evaluation.bag import evaluate as run
    from mmsense_ros.evaluation.table import print_report

    with progress("evaluating") as report:
        figures = run(
            options.bags,
            options.model or "",
            engine_of(options),
            options.drop,
            options.out,
            report,
            calibration=options.calibration,
            topics=dict(options.topic),
            ablate=options.ablate,
            overlay=options.overlay,
        )
    print_report(figures)
    print(f"wrote {options.out / 'report.json'}")

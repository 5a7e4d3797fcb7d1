"""`mmsense evaluate`: bags replayed and scored, without ROS."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsense_ros.cli.options import command, engine_of, engine_options
from mmsense_ros.progress import progress
from mmsense_ros.snapshot import MODALITIES


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, evaluate, "evaluate", "run the perception over bags, without ROS, and score it against truth")
    add("bags", type=Path, nargs="+", metavar="BAG", help="rosbag2 folder or .mcap file")
    add("--out", type=Path, default=Path("out/evaluate"), help="folder for report.json (default: %(default)s)")
    add("--drop", action="append", default=[], choices=MODALITIES, help="withhold a sensor; may be given again")
    add("--ablate", action="store_true", help="also withhold each sensor in turn: per_modality_drop in the report")
    add("--calibration", type=Path, metavar="YAML", help="extrinsics (default: the bag's /tf_static)")
    add("--topic", action="append", default=[], type=_pair, metavar="SENSOR=TOPIC", help="read a sensor from there instead")
    add("--overlay", action="store_true", help="also draw what was sensed: overlay.mp4 beside the report")
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


def _pair(text: str) -> tuple[str, str]:
    sensor, _, topic = text.partition("=")
    if sensor not in MODALITIES or not topic:
        raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(f'{name}=TOPIC' for name in MODALITIES)}")
    return sensor, topic

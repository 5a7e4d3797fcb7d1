"""`mmsense demo`: the node at work, over DDS."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsense_ros.cli.options import MODEL_HELP, command, positive
from mmsense_ros.errors import MMSenseError


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, demo, "demo", "replay a street over DDS into the node and show what it senses")
    add("--bag", type=Path, help="a rosbag2 to replay (default: a street simulated for the occasion)")
    add("--seconds", type=positive(float), default=20.0, help="how long (default: %(default)g)")
    add("--out", type=Path, default=Path("out/demo"), help="folder for summary.json and pictures (default: %(default)s)")
    add("--record", action="store_true", help="also leave a rosbag2 of inputs, results and truth there: recording/")
    add("--model", type=Path, metavar="ONNX", help=MODEL_HELP)


def demo(options: argparse.Namespace) -> int | None:
    """Show a street being sensed live."""
    try:
        from mmsense_ros.ros import demo as live
    except ImportError as error:
        raise MMSenseError(f"the demo needs ROS 2 ({error}); source it, or `pip install mmsense_ros[ros]`") from error
    return live.run(options.bag, options.seconds, options.out, options.model or "", options.record)

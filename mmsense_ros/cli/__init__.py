"""The command line, `mmsense COMMAND`: one file a family of commands, each with what it offers and what it calls.

Exit codes: 0 done; 2 what was given cannot be used, said in one line; 130 interrupted. Each command imports only what it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

# Threads that spin while they wait starve each other, and numpy's matrices here are too small to be worth any; both must be
# set before anything that uses them is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from mmsense_ros.cli import benches, conversion, engines, evaluation, live, streets, training, viewing  # noqa: E402
from mmsense_ros.errors import MMSenseError  # noqa: E402

#: In the order in which --help lists their commands.
FAMILIES = (streets, conversion, live, viewing, evaluation, training, engines, benches)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except MMSenseError as error:
        print(f"mmsense {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"mmsense {options.command}: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="mmsense",
        description="MMSense for ROS 2: which beams to use, what is blocked, what moves and what people do, from camera, radar "
        "and LiDAR. Only `demo`, and --live of `evaluate` and `view`, need ROS.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for family in FAMILIES:
        family.offer(commands)
    return top

"""`mmsense simulate`: streets as rosbags."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsense_ros.cli.options import command, natural, positive
from mmsense_ros.progress import progress


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, simulate, "simulate", "simulate a street and write it as a rosbag2 with truth topics")
    add("bag", type=Path, metavar="BAG", help="folder to write, must not exist")
    add("--seconds", type=positive(float), default=20.0, help="length of the recording (default: %(default)g)")
    add("--seed", type=natural, default=0, help="which street: the same seed gives the same bag (default: %(default)s)")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="rosbag2 storage (default: %(default)s)")
    words = "clear, night, fog, rain, glare, dirty, or several as in night+rain (default: %(default)s)"
    add("--weather", default="clear", metavar="NAME", help=words)


def simulate(options: argparse.Namespace) -> None:
    """Write a street."""
    from mmsense_ros.data.street import Conditions, StreetConfig
    from mmsense_ros.data.street.simulate import simulate as run

    config = StreetConfig(conditions=Conditions.named(options.weather))
    with progress("simulating") as report:
        run(options.bag, options.seconds, options.seed, options.storage, report, config)
    print(f"wrote {options.bag}")

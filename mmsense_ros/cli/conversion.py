"""`mmsense convert deepsense6g | gathered | kitti | nuscenes`: published datasets as rosbags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmsense_ros.cli.options import command, positive
from mmsense_ros.progress import progress

if TYPE_CHECKING:
    from mmsense_ros.data.datasets.source import Source, Tally

NAMED = 20  #: files that could not be used which are named on the screen


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    words = "turn a recording of a published dataset into a rosbag2"
    sources = commands.add_parser("convert", help=words, description=words[0].upper() + words[1:] + ".")
    kinds = sources.add_subparsers(dest="source", required=True, metavar="SOURCE")
    words = "a scenario of DeepSense 6G or a set of its multi-modal challenge: the CSV index, or its folder"
    add = _source(kinds, deepsense6g, "deepsense6g", words)
    _rate(add)
    add("--calibration", type=Path, metavar="YAML", help="extrinsics (default: nominal ones, as a warning says)")
    words = (
        "start_frequency, slope, sample_rate, chirp_interval, rx_spacing of the radar, where they are not the published ones"
    )
    add("--chirp", type=Path, metavar="YAML", help=words)
    add = _source(kinds, gathered, "gathered", "a scenario of DeepSense 6G as arrays of measured power and positions")
    _rate(add)
    add("--scenario", type=int, metavar="N", help="which (default: the only one there)")
    add = _source(kinds, kitti, "kitti", "frames of KITTI or View-of-Delft: camera, radar if there, LiDAR, labels")
    _rate(add)
    add = _source(kinds, nuscenes, "nuscenes", "a scene of nuScenes: front camera, front radar, LiDAR, boxes")
    add("--scene", default="", metavar="NAME", help="which, such as scene-0061 (default: the only one there)")


def deepsense6g(options: argparse.Namespace) -> None:
    """Convert what a CSV index names."""
    from mmsense_ros.calibration import Calibration
    from mmsense_ros.data.datasets.deepsense6g import DeepSense6G
    from mmsense_ros.data.datasets.deepsense6g_files import NOMINAL_CHIRP, chirp_file

    chirp = chirp_file(options.chirp) if options.chirp else NOMINAL_CHIRP
    calibration = Calibration.load(options.calibration) if options.calibration else None
    _convert(DeepSense6G(options.folder, options.rate, chirp, calibration), options)


def gathered(options: argparse.Namespace) -> None:
    """Convert gathered arrays."""
    from mmsense_ros.data.datasets.gathered import Gathered

    _convert(Gathered(options.folder, options.scenario, options.rate), options)


def kitti(options: argparse.Namespace) -> None:
    """Convert frames."""
    from mmsense_ros.data.datasets.kitti import Kitti

    _convert(Kitti(options.folder, options.rate), options)


def nuscenes(options: argparse.Namespace) -> None:
    """Convert a scene."""
    from mmsense_ros.data.datasets.nuscenes import NuScenes

    _convert(NuScenes(options.folder, options.scene), options)


def _source(
    kinds: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None], name: str, words: str
) -> Callable[..., argparse.Action]:
    add = command(kinds, run, name, words)
    add("folder", type=Path, metavar="DIR", help="where the dataset is")
    add("bag", type=Path, metavar="OUT", help="folder to write, must not exist")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="rosbag2 storage (default: %(default)s)")
    add("--strict", action="store_true", help="end at the first file that is missing or damaged (default: skip and name it)")
    add("--instruction", default="predict the beam", metavar="WORDS", help="what is wanted (default: %(default)s)")
    return add


def _rate(add: Callable[..., argparse.Action]) -> None:
    words = "samples a second, where the data has no stamps (default: %(default)g)"
    add("--rate", type=positive(float), default=10.0, metavar="HZ", help=words)


def _convert(source: Source, options: argparse.Namespace) -> None:
    from mmsense_ros.data.datasets.convert import convert

    for sentence in source.assumed:
        print(f"warning: {sentence}", file=sys.stderr)
    with progress("converting") as report:
        tally = convert(source, options.bag, options.storage, options.strict, options.instruction, report)
    _say(tally)
    print(f"wrote {options.bag}: {tally.samples} of {source.count} samples")


def _say(tally: Tally) -> None:
    """What was not converted, on the error stream; what was, by topic."""
    if tally.left_out:
        classes = ", ".join(f"{name} {count}" for name, count in tally.left_out.most_common())
        print(f"warning: the truth has no place for {classes}", file=sys.stderr)
    if tally.skipped:
        print(f"warning: skipped, {len(tally.skipped)} in all:", file=sys.stderr)
        for line in tally.skipped[:NAMED]:
            print(f"  {line}", file=sys.stderr)
        if len(tally.skipped) > NAMED:
            print(f"  and {len(tally.skipped) - NAMED} more", file=sys.stderr)
    for topic, count in sorted(tally.messages.items()):
        print(f"{count:8d} {topic}")

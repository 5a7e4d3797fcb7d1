"""`mmsense evaluate`: bags replayed and scored, without ROS unless --live asks for it."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmsense_ros.cli.options import bag_options, command, engine_of, engine_options, positive
from mmsense_ros.errors import ConfigError, MMSenseError
from mmsense_ros.progress import progress

if TYPE_CHECKING:
    from mmsense_ros.evaluation.processes import Spread

TRUTH = (
    'truth beside the bags, one JSON object a line: {"stamp": ns} and any of scenario (name of the bag), power, noise_free (a '
    "number a beam, linear), terminal (whose power it is), best_ahead, blocked, blocked_ahead, pathloss (dB), traffic ({class: "
    'number}), objects and people ([{"position": [x, y, z], "label": class or activity}]); it counts before the truth topics'
)


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, evaluate, "evaluate", "run the perception over bags, without ROS, and score it against truth")
    add("bags", type=Path, nargs="+", metavar="BAG", help="rosbag2 folder, .mcap or .db3 file, compressed or not")
    add("--out", type=Path, default=Path("out/evaluate"), help="folder for the report (default: %(default)s)")
    add("--inspect", action="store_true", help="only list the bags' topics and propose the options to evaluate them with")
    bag_options(add)
    add("--ablate", action="store_true", help="also withhold each sensor in turn: per_modality_drop in the report")
    add("--truth", type=Path, metavar="JSONL", help=TRUTH)
    add("--overlay", action="store_true", help="also draw what was sensed: overlay.mp4 beside the report")
    add(
        "--workers",
        type=positive(int),
        default=0,
        help="bags at once, each in a process (default: as the cores allow); give --threads too where the last digits count",
    )
    add("--ray", metavar="ADDRESS", help="on a Ray cluster instead: local, auto (the one running here) or host:port")
    add(
        "--compare", action="store_true", help="take two --out folders for the BAGs: their figures side by side, with intervals"
    )
    add("--live", action="store_true", help="through DDS and the node, in real time, compared with the same offline; needs ROS")
    words = "which drive-bys to learn baselines from, if the bags hold beam powers but no sensor (default: %(default)s)"
    add("--draw", type=int, default=0, metavar="SEED", help=words)
    engine_options(add)


def evaluate(options: argparse.Namespace) -> None:
    """Score bags and print the figures."""
    from mmsense_ros.evaluation.bag import evaluate as run
    from mmsense_ros.evaluation.table import print_report

    if options.inspect:
        return _inspect(options)
    if options.compare:
        return _compare(options)
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
            doppler_sign=options.doppler_sign,
            truth=options.truth,
            ablate=options.ablate,
            overlay=options.overlay,
            spread=_spread(options),
            draw=options.draw,
        )
    print_report(figures)
    pages = ", report.html and frames.npz" if "latency_ms" in figures else ""  # bags without a sensor have no frames
    print(f"wrote {options.out / 'report.json'}{pages}")


def _inspect(options: argparse.Namespace) -> None:
    from mmsense_ros.data.inspect import inspect
    from mmsense_ros.evaluation.table import print_inspection

    for bag in options.bags:
        print_inspection(bag, inspect(bag, options.calibration))


def _compare(options: argparse.Namespace) -> None:
    from mmsense_ros.evaluation.compare import compare, write
    from mmsense_ros.evaluation.page.comparison import comparison_page
    from mmsense_ros.evaluation.table import print_comparison

    if len(options.bags) != 2:
        raise ConfigError(f"--compare takes two folders that evaluate wrote, not {len(options.bags)}")
    with progress("comparing") as report:
        comparison = compare(*options.bags, progress=report)
    write(comparison, comparison_page(comparison), options.out)
    print_comparison(comparison)
    print(f"wrote {options.out / 'compare.html'} and compare.json")


def _spread(options: argparse.Namespace) -> Spread:
    """Who does the work."""
    from mmsense_ros.evaluation.processes import here, on_ray

    if sum(map(bool, (options.workers, options.ray, options.live))) > 1:
        raise ConfigError("--workers, --ray and --live exclude each other; give one")
    if options.ray:
        return partial(on_ray, address=options.ray)
    if options.live:
        try:
            from mmsense_ros.ros.evaluation import live
        except ImportError as error:
            raise MMSenseError(f"--live needs ROS 2 ({error}); source it, or `pip install mmsense_ros[ros]`") from error
        return live
    return partial(here, workers=options.workers)

"""`mmsense bench sync | maps | engine | pipeline`: what it costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsense_ros.cli.options import command, engine_of, engine_options, json_option, model_options, positive


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    benches = commands.add_parser("bench", help="measure what it costs", description="Measure what it costs.")
    kinds = benches.add_subparsers(dest="bench", required=True, metavar="WHAT")
    add = command(kinds, bench_sync, "sync", "cost a message and yield of the synchronizer, good streams and bad")
    json_option(add)
    add = command(kinds, bench_maps, "maps", "cost of each sensor's map")
    json_option(add)
    add = command(kinds, bench_engine, "engine", "latency of the model on every engine installed")
    model_options(add)
    json_option(add)
    add = command(kinds, bench_pipeline, "pipeline", "latency of the whole way from a sensor's message to the result")
    add("--seconds", type=positive(float), default=20.0, help="with each camera size (default: %(default)s)")
    add("--camera", action="append", choices=("VGA", "720p"), help="only with this camera (default: with each)")
    add("--bag", type=Path, help="rosbag2 folder or .mcap file (default: a street simulated for the occasion)")
    engine_options(add)
    json_option(add)


def bench_sync(options: argparse.Namespace) -> None:
    """Measure the synchronizer."""
    from mmsense_ros.bench.sync import run

    run(options.json)


def bench_maps(options: argparse.Namespace) -> None:
    """Measure the maps."""
    from mmsense_ros.bench.maps import run

    run(options.json)


def bench_engine(options: argparse.Namespace) -> None:
    """Measure the engines."""
    from mmsense_ros.bench.engine import run

    run(options.model, engine_of(options), json_file=options.json)


def bench_pipeline(options: argparse.Namespace) -> None:
    """Measure the whole way."""
    from mmsense_ros.bench.pipeline import SIZES, run

    run(options.bag, options.model, engine_of(options), options.seconds, options.json, options.camera or tuple(SIZES))

"""`mmsense engine build | info | bench`: engines ahead of running."""

from __future__ import annotations

import argparse
import logging

from mmsense_ros.cli.benches import bench_engine
from mmsense_ros.cli.options import build_options, cache_option, command, engine_of, extra, json_option, model_options


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    engines = commands.add_parser(
        "engine",
        help="build engines ahead of time, list or time them",
        description="Build engines ahead of time, list or time them.",
    )
    kinds = engines.add_subparsers(dest="engine", required=True, metavar="WHAT")
    words = "build the TensorRT engine of a model, as for a deployment image, unless it is there"
    add = command(kinds, engine_build, "build", words)
    model_options(add)
    build_options(add)
    add = command(kinds, engine_info, "info", "list the engines that are kept: of what, for what, how large")
    cache_option(add)
    json_option(add)
    add = command(kinds, bench_engine, "bench", "latency of the model on every engine installed")
    model_options(add)
    json_option(add)


def engine_build(options: argparse.Namespace) -> None:
    """Have a TensorRT engine in the cache."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with extra("tensorrt"):
        from mmsense_ros.engine import SHIPPED_MODEL
        from mmsense_ros.engine.tensorrt import build

        model = options.model or SHIPPED_MODEL
        print(f"{'built' if build(model, engine_of(options)) else 'there already:'} the engine of {model}")


def engine_info(options: argparse.Namespace) -> None:
    """List the engines that are kept."""
    from mmsense_ros.engine.info import run

    run(options.cache, options.json)

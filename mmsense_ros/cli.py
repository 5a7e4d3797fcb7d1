"""The command line: `mmsense simulate | demo | evaluate | train | export | engine | bench`.

Exit codes: 0 done; 2 what was given cannot be used, said in one line; 130 interrupted. Each command imports only what it needs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

# Threads that spin while they wait starve each other, and numpy's matrices here are too small to be worth any; both must be
# set before anything that uses them is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from mmsense_ros.errors import MMSenseError  # noqa: E402
from mmsense_ros.progress import progress  # noqa: E402
from mmsense_ros.snapshot import MODALITIES  # noqa: E402

if TYPE_CHECKING:
    from mmsense_ros.engine import EngineOptions

MODEL_HELP = "exported model (default: the one shipped with mmsense_ros)"


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
        "and LiDAR. Only `demo` needs ROS.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = _command(commands, simulate, "simulate", "simulate a street and write it as a rosbag2 with truth topics")
    add("bag", type=Path, metavar="BAG", help="folder to write, must not exist")
    add("--seconds", type=_positive(float), default=20.0, help="length of the recording (default: %(default)g)")
    add("--seed", type=int, default=0, help="which street: the same seed gives the same bag (default: %(default)s)")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="rosbag2 storage (default: %(default)s)")
    words = "clear, night, fog, rain, glare, dirty, or several as in night+rain (default: %(default)s)"
    add("--weather", default="clear", metavar="NAME", help=words)

    add = _command(commands, demo, "demo", "replay a street over DDS into the node and show what it senses")
    add("--bag", type=Path, help="a rosbag2 to replay (default: a street simulated for the occasion)")
    add("--seconds", type=_positive(float), default=20.0, help="how long (default: %(default)g)")
    add("--out", type=Path, default=Path("out/demo"), help="folder for summary.json and pictures (default: %(default)s)")
    add("--model", type=Path, metavar="ONNX", help=MODEL_HELP)

    add = _command(commands, evaluate, "evaluate", "run the perception over bags, without ROS, and score it against truth")
    add("bags", type=Path, nargs="+", metavar="BAG", help="rosbag2 folder or .mcap file")
    add("--out", type=Path, default=Path("out/evaluate"), help="folder for report.json (default: %(default)s)")
    add("--drop", action="append", default=[], choices=MODALITIES, help="withhold a sensor; may be given again")
    add("--ablate", action="store_true", help="also withhold each sensor in turn: per_modality_drop in the report")
    add("--calibration", type=Path, metavar="YAML", help="extrinsics (default: the bag's /tf_static)")
    add("--topic", action="append", default=[], type=_pair, metavar="SENSOR=TOPIC", help="read a sensor from there instead")
    add("--overlay", action="store_true", help="also draw what was sensed: overlay.mp4 beside the report")
    _engine_options(add)

    add = _command(commands, train, "train", "train MMSense on simulated streets (needs the extra `train`)")
    add("config", type=Path, metavar="CONFIG", help="training configuration, such as config/train.yaml")
    add("--out", type=Path, default=Path("out/train"), help="folder for weights and figures (default: %(default)s)")

    add = _command(commands, export, "export", "turn trained weights into an ONNX file and its card (needs the extra `train`)")
    add("model", type=Path, metavar="WEIGHTS", help="the .safetensors that `mmsense train` wrote")
    add("out", type=Path, metavar="OUT.onnx", help="ONNX file to write; its card goes beside it")
    words = "also write a copy in int8, if it answers as well on the test streets of this recipe (YAML)"
    add("--int8", type=Path, metavar="RECIPE", help=words)

    engines = commands.add_parser(
        "engine",
        help="build engines ahead of time, list or time them",
        description="Build engines ahead of time, list or time them.",
    )
    kinds = engines.add_subparsers(dest="engine", required=True, metavar="WHAT")
    words = "build the TensorRT engine of a model, as for a deployment image, unless it is there"
    add = _command(kinds, engine_build, "build", words)
    _model_options(add)
    _build_options(add)
    add = _command(kinds, engine_info, "info", "list the engines that are kept: of what, for what, how large")
    _cache_option(add)
    _json_option(add)
    add = _command(kinds, bench_engine, "bench", "latency of the model on every engine installed")
    _model_options(add)
    _json_option(add)

    benches = commands.add_parser("bench", help="measure what it costs", description="Measure what it costs.")
    kinds = benches.add_subparsers(dest="bench", required=True, metavar="WHAT")
    add = _command(kinds, bench_sync, "sync", "cost a message and yield of the synchronizer, good streams and bad")
    _json_option(add)
    add = _command(kinds, bench_maps, "maps", "cost of each sensor's map")
    _json_option(add)
    add = _command(kinds, bench_engine, "engine", "latency of the model on every engine installed")
    _model_options(add)
    _json_option(add)
    add = _command(kinds, bench_pipeline, "pipeline", "latency of the whole way from a sensor's message to the result")
    add("--seconds", type=_positive(float), default=20.0, help="with each camera size (default: %(default)s)")
    add("--bag", type=Path, help="rosbag2 folder or .mcap file (default: a street simulated for the occasion)")
    _engine_options(add)
    _json_option(add)
    return top


def simulate(options: argparse.Namespace) -> None:
    """Write a street."""
    from mmsense_ros.data.street import Conditions, StreetConfig
    from mmsense_ros.data.street.simulate import simulate as run

    config = StreetConfig(conditions=Conditions.named(options.weather))
    with progress("simulating") as report:
        run(options.bag, options.seconds, options.seed, options.storage, report, config)
    print(f"wrote {options.bag}")


def demo(options: argparse.Namespace) -> int | None:
    """Show a street being sensed live."""
    try:
        from mmsense_ros.ros import demo as live
    except ImportError as error:
        raise MMSenseError(f"the demo needs ROS 2 ({error}); source it, or `pip install mmsense_ros[ros]`") from error
    return live.run(options.bag, options.seconds, options.out, options.model or "")


def evaluate(options: argparse.Namespace) -> None:
    """Score bags and print the figures."""
    from mmsense_ros.evaluation.bag import evaluate as run
    from mmsense_ros.evaluation.table import print_report

    with progress("evaluating") as report:
        figures = run(
            options.bags,
            options.model or "",
            _engine(options),
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


def train(options: argparse.Namespace) -> None:
    """Train a model."""
    with _extra("train"):
        from mmsense_ros.training.train import train as run
    run(options.config, options.out)


def export(options: argparse.Namespace) -> None:
    """Write an ONNX file and its card."""
    with _extra("train"):
        from mmsense_ros.model.export import export as run
        from mmsense_ros.training.quantized import add_int8
    run(options.model, options.out)
    print(f"wrote {options.out}")
    if options.int8:
        print(f"wrote {add_int8(options.out, options.int8)}")


def engine_build(options: argparse.Namespace) -> None:
    """Have a TensorRT engine in the cache."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with _extra("tensorrt"):
        from mmsense_ros.engine import SHIPPED_MODEL
        from mmsense_ros.engine.tensorrt import build

        model = options.model or SHIPPED_MODEL
        print(f"{'built' if build(model, _engine(options)) else 'there already:'} the engine of {model}")


def engine_info(options: argparse.Namespace) -> None:
    """List the engines that are kept."""
    from mmsense_ros.engine.info import run

    run(options.cache, options.json)


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

    run(options.model, options.threads, json_file=options.json)


def bench_pipeline(options: argparse.Namespace) -> None:
    """Measure the whole way."""
    from mmsense_ros.bench.pipeline import run

    run(options.bag, options.model, _engine(options), options.seconds, options.json)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Imports that an extra of this package brings."""
    try:
        yield
    except ImportError as error:
        raise MMSenseError(f"{error}; `pip install mmsense_ros[{name}]`") from error


def _command(
    commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], int | None], name: str, words: str
) -> Callable[..., argparse.Action]:
    added = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    added.set_defaults(run=run)
    return added.add_argument


def _json_option(add: Callable[..., argparse.Action]) -> None:
    add("--json", type=Path, metavar="FILE", help="also write the figures there")


def _model_options(add: Callable[..., argparse.Action]) -> None:
    add("--model", type=Path, metavar="ONNX", help=MODEL_HELP)
    add("--threads", type=_positive(int), default=0, help="threads of the engine (default: its choice)")
    add("--cores", default="", metavar="0,2-3", help="CPU cores that its threads stay on (default: any)")


def _engine_options(add: Callable[..., argparse.Action]) -> None:
    from mmsense_ros.engine import engine_names

    _model_options(add)
    add(
        "--engine",
        dest="name",
        choices=("auto", *engine_names()),
        default="auto",
        help="what runs it (default: the best one installed)",
    )
    _build_options(add)


def _build_options(add: Callable[..., argparse.Action]) -> None:
    from mmsense_ros.engine import PRECISIONS, EngineOptions

    default = EngineOptions()
    add("--precision", choices=PRECISIONS, default=default.precision, help="numeric precision (default: the engine's choice)")
    _cache_option(add)
    add(
        "--workspace",
        type=_positive(int),
        default=default.workspace,
        metavar="MIB",
        help="device memory (default: %(default)s)",
    )
    effort = "how long TensorRT searches for a fast engine (default: %(default)s)"
    add("--optimization", type=int, choices=range(6), default=default.optimization, metavar="0..5", help=effort)
    add(
        "--dla",
        type=int,
        default=default.dla,
        metavar="CORE",
        help="run on a Jetson's deep learning accelerator (default: on the GPU)",
    )


def _cache_option(add: Callable[..., argparse.Action]) -> None:
    add("--cache", default="", metavar="DIR", help="where built engines are kept (default: ~/.cache/mmsense_ros/engines)")


def _engine(options: argparse.Namespace) -> EngineOptions:
    from mmsense_ros.engine import EngineOptions

    return EngineOptions(**{field.name: vars(options).get(field.name, field.default) for field in fields(EngineOptions)})


def _pair(text: str) -> tuple[str, str]:
    sensor, _, topic = text.partition("=")
    if sensor not in MODALITIES or not topic:
        raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(f'{name}=TOPIC' for name in MODALITIES)}")
    return sensor, topic


def _positive(kind: type) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    parse.__name__ = kind.__name__  # argparse names it in "invalid ... value"
    return parse


if __name__ == "__main__":
    sys.exit(main())

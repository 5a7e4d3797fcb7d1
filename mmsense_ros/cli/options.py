"""What commands share: how one is offered, and the options that several take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from mmsense_ros.errors import MMSenseError
from mmsense_ros.snapshot import MODALITIES

if TYPE_CHECKING:
    from mmsense_ros.engine import EngineOptions

TOPIC = (
    "read an input from there instead: camera, radar, lidar, camera_info, instruction, tf_static, or the truth topics power, "
    "noise_free (BeamPower) and truth (SensingResult), or terminal_fix and base_fix (NavSatFix)"
)
MODEL_HELP = "exported model (default: the one shipped with mmsense_ros)"


def command(
    commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], int | None], name: str, words: str
) -> Callable[..., argparse.Action]:
    """Offer `run` as the command `name`; what adds its options is returned."""
    added = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    added.set_defaults(run=run)
    return added.add_argument


def json_option(add: Callable[..., argparse.Action]) -> None:
    """Figures in a file too."""
    add("--json", type=writable, metavar="FILE", help="also write the figures there")


def bag_options(add: Callable[..., argparse.Action]) -> None:
    """How a bag is read."""
    add("--drop", action="append", default=[], choices=MODALITIES, help="withhold a sensor; may be given again")
    add("--calibration", type=Path, metavar="YAML", help="extrinsics, beside and before those on /tf_static")
    add("--topic", "--remap", action="append", default=[], type=_pair, metavar="INPUT=TOPIC", help=TOPIC)
    sign = "1: the radar's velocities are positive for what recedes, -1: for what comes nearer (default: %(default)s)"
    add("--doppler-sign", type=int, choices=(1, -1), default=1, help=sign)


def model_options(add: Callable[..., argparse.Action]) -> None:
    """Which model, on how much of the CPU."""
    add("--model", type=Path, metavar="ONNX", help=MODEL_HELP)
    add("--threads", type=positive(int), default=0, help="threads of the engine (default: its choice)")
    add("--cores", default="", metavar="0,2-3", help="CPU cores that its threads stay on (default: any)")


def engine_options(add: Callable[..., argparse.Action]) -> None:
    """All that `engine_of` makes EngineOptions of."""
    from mmsense_ros.engine import engine_names

    model_options(add)
    add(
        "--engine",
        dest="name",
        choices=("auto", *engine_names()),
        default="auto",
        help="what runs it (default: the best one installed)",
    )
    build_options(add)


def build_options(add: Callable[..., argparse.Action]) -> None:
    """How an engine is built ahead of running."""
    from mmsense_ros.engine import PRECISIONS, EngineOptions

    default = EngineOptions()
    add("--precision", choices=PRECISIONS, default=default.precision, help="numeric precision (default: the engine's choice)")
    cache_option(add)
    add(
        "--workspace",
        type=positive(int),
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


def cache_option(add: Callable[..., argparse.Action]) -> None:
    """Where built engines are."""
    add("--cache", default="", metavar="DIR", help="where built engines are kept (default: ~/.cache/mmsense_ros/engines)")


def engine_of(options: argparse.Namespace) -> EngineOptions:
    """The engine that the options ask for."""
    from mmsense_ros.engine import EngineOptions

    return EngineOptions(**{field.name: vars(options).get(field.name, field.default) for field in fields(EngineOptions)})


def writable(text: str) -> Path:
    """A type of option: a file to write, in a folder that is made, before the work that it is to hold begins."""
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path.parent} cannot be made ({error.strerror}); name a file elsewhere") from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be written; name a file that you may write")
    return path


def natural(text: str) -> int:
    """A type of option: a whole number, 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def positive(kind: type) -> Callable[[str], float]:
    """A type of option: `kind` above 0."""

    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    parse.__name__ = kind.__name__  # argparse names it in "invalid ... value"
    return parse


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports that an extra of this package brings."""
    try:
        yield
    except ImportError as error:
        raise MMSenseError(f"{error}; `pip install mmsense_ros[{name}]`") from error


def _pair(text: str) -> tuple[str, str]:
    from mmsense_ros.data.topics import INPUTS

    name, _, topic = text.partition("=")
    if name not in INPUTS or not topic:
        raise argparse.ArgumentTypeError(f"{text!r} is not INPUT=TOPIC with an input of {', '.join(INPUTS)}")
    return name, topic

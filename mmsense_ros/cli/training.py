"""`mmsense train | export`: from a recipe to weights, from weights to a model that engines run."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsense_ros.cli.options import command, extra, writable


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, train, "train", "train MMSense on simulated streets and recorded bags (needs the extra `train`)")
    add("config", type=Path, metavar="CONFIG", help="training configuration, such as config/train.yaml")
    add("--out", type=Path, default=Path("out/train"), help="folder for weights and figures (default: %(default)s)")

    add = command(commands, export, "export", "turn trained weights into an ONNX file and its card (needs the extra `train`)")
    add("model", type=Path, metavar="WEIGHTS", help="the .safetensors that `mmsense train` wrote")
    add("out", type=writable, metavar="OUT.onnx", help="ONNX file to write; its card goes beside it")
    words = "also write a copy in int8, if it answers as well on the test streets of this recipe (YAML)"
    add("--int8", type=Path, metavar="RECIPE", help=words)


def train(options: argparse.Namespace) -> None:
    """Train a model."""
    with extra("train"):
        from mmsense_ros.training.train import train as run
    run(options.config, options.out)


def export(options: argparse.Namespace) -> None:
    """Write an ONNX file and its card."""
    with extra("train"):
        from mmsense_ros.model.export import export as run
        from mmsense_ros.training.quantized import add_int8
    run(options.model, options.out)
    print(f"wrote {options.out}")
    if options.int8:
        print(f"wrote {add_int8(options.out, options.int8)}")

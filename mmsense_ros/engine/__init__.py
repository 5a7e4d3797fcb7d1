"""Engines: one exported model, run by whatever this machine does best."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmsense_ros.engine.cores import kept_on, numbers
from mmsense_ros.errors import EngineError, EngineMissingError, ModelError

#: The model that comes with this package.
SHIPPED_MODEL = Path(__file__).parents[1] / "weights" / "mmsense.onnx"
#: Best first; each is a module of this package with `open_model(path, options) -> Engine`.
ENGINES = ("tensorrt", "openvino", "onnxruntime", "torch")
ENTRY_POINTS = "mmsense_ros.engines"  #: group in which other packages register such modules, by name
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
REMEDIES = {
    "tensorrt": "pip install mmsense_ros[tensorrt]", "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime", "torch": "pip install mmsense_ros[train]",
}  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """What is asked of an engine; each heeds what concerns it.

    `name` and `precision` may be "auto"; `threads` 0 leaves their number to the engine; `cores`, such as "2-3", are those that its
    threads stay on (empty: on any). What is built ahead of running is kept in
    the folder `cache` (empty: the user's), may use `workspace` [MiB] of device memory while it is built and run, is searched for as
    long as `optimization` (0 to 5) says, and runs on core `dla` of a Jetson's deep learning accelerator (-1: on the GPU).
    """

    name: str = "auto"
    precision: str = "auto"
    threads: int = 0
    cores: str = ""
    cache: str = ""
    workspace: int = 1024
    optimization: int = 3
    dla: int = -1


class Engine(ABC):
    """An open model with static shapes: `run` fills `inputs`, infers and returns copies of the outputs.

    `inputs` maps each input's name to its buffer, `outputs` names the outputs, `precision` is the one in use (of
    PRECISIONS), `reason` says why this engine and precision were chosen. Not safe for concurrent `run`.
    """

    name: str
    precision: str
    reason: str = ""

    def __init__(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> None:
        self.inputs = dict(inputs)
        self.outputs = outputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Infer. Raises EngineError if an input is missing or has another shape or kind than the model wants."""
        for name, buffer in self.inputs.items():
            given = inputs.get(name)
            if given is None:
                raise EngineError(f"the model wants input {name!r} {buffer.shape}; given were {', '.join(inputs)}")
            if given.shape != buffer.shape or not np.can_cast(given.dtype, buffer.dtype, "same_kind"):
                wanted = f"{buffer.shape} {buffer.dtype}"
                raise EngineError(f"input {name!r} is {given.shape} {given.dtype}; the model wants {wanted}: export it again")
            np.copyto(buffer, given, casting="same_kind")
        return self.infer()

    @abstractmethod
    def infer(self) -> dict[str, np.ndarray]:
        """Run the model on what `inputs` hold."""

    def probe(self) -> dict[str, np.ndarray]:
        """Outputs for a fixed made-up scene: warms up, and lets precisions be compared."""
        noise = np.random.default_rng(0)
        for buffer in self.inputs.values():
            buffer[...] = noise.random(buffer.shape) if buffer.dtype.kind == "f" else 1
        return self.infer()

    @abstractmethod
    def close(self) -> None:
        """Free the model."""


def engine_names() -> tuple[str, ...]:
    """Engines that may be asked for: those of this package, best first, then those that other packages register."""
    return tuple(dict.fromkeys((*ENGINES, *(point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS)))))


def model_file(model: str | Path) -> Path:
    """`model`, which is there; else raises ModelError."""
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name an exported .onnx, or make one with `mmsense export`")
    return path


def damaged(model: Path) -> ModelError:
    """That an engine cannot make anything of the file `model`."""
    return ModelError(f"{model} is damaged or no ONNX model; export it again with `mmsense export`")


def open_engine(model: str | Path, options: EngineOptions = EngineOptions()) -> Engine:
    """Open the ONNX file `model`, warmed up, on the engine asked for, or the best one here for "auto".

    Raises ModelError if the file is missing or damaged, EngineError if a forced engine cannot run it, or none can.
    """
    path, names = model_file(model), engine_names()
    if options.name not in ("auto", *names):
        raise EngineError(f"unknown engine {options.name!r}; use auto, {', '.join(names)}")
    if options.precision not in PRECISIONS:
        raise EngineError(f"unknown precision {options.precision!r}; use {', '.join(PRECISIONS)}")
    if options.cores and not options.threads:
        options = replace(options, threads=len(numbers(options.cores)))
    refused: dict[str, EngineError] = {}
    for candidate in names if options.name == "auto" else (options.name,):
        try:
            engine = _open(candidate, path, options)
        except EngineError as error:
            if options.name != "auto":
                raise
            refused[candidate] = error
            continue
        before = [
            f"{name} is not installed" if isinstance(why, EngineMissingError) else str(why) for name, why in refused.items()
        ]
        chosen = "asked for" if options.name != "auto" else "; ".join([*before, "best of those that run here"])
        engine.reason = f"{chosen}; {engine.reason}" if engine.reason else chosen
        log.info("engine %s in %s: %s", engine.name, engine.precision, engine.reason)
        return engine
    raise EngineError(f"no engine can run {path}: {'; '.join(map(str, refused.values()))}")


def _open(name: str, path: Path, options: EngineOptions) -> Engine:
    try:
        if name in ENGINES:
            backend = importlib.import_module(f"{__name__}.{name}")
        else:
            backend = importlib.metadata.entry_points(group=ENTRY_POINTS)[name].load()
        with kept_on(options.cores):  # engines start their threads when they are opened, or run first
            engine = backend.open_model(path, options)
            engine.probe()
    except ImportError as error:
        remedy = f"`{REMEDIES[name]}`" if name in REMEDIES else "install what its package wants"
        raise EngineMissingError(f"engine {name} is not installed ({error}); {remedy}, or use engine auto") from error
    return engine

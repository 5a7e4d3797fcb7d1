"""Engines: one exported model, run by whatever this machine does best."""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmsense_ros.errors import EngineError, ModelError

#: The model that comes with this package.
SHIPPED_MODEL = Path(__file__).parents[1] / "weights" / "mmsense.onnx"
#: Best first; each is a module of this package with `open_model(path, precision, threads) -> Engine`.
ENGINES = ("openvino", "onnxruntime", "torch")
PRECISIONS = ("auto", "fp32", "bf16")
REMEDIES = {
    "openvino": "pip install openvino", "onnxruntime": "pip install onnxruntime", "torch": "pip install mmsense_ros[train]",
}  # fmt: skip

log = logging.getLogger(__name__)


class Engine(ABC):
    """An open model with static shapes: `run` fills the buffers allocated here, infers and returns copies of the outputs.

    `inputs` maps each input's name to its buffer, `outputs` names the outputs, `precision` is the one in use ("fp32",
    "bf16"), `reason` says why this engine and precision were chosen. Not safe for concurrent `run`.
    """

    name: str
    precision: str
    reason: str = ""

    def __init__(self, inputs: Mapping[str, tuple[tuple[int, ...], np.dtype]], outputs: tuple[str, ...]) -> None:
        self.inputs = {name: np.zeros(shape, dtype) for name, (shape, dtype) in inputs.items()}
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


def open_engine(model: str | Path, name: str = "auto", precision: str = "auto", threads: int = 0) -> Engine:
    """Open the ONNX file `model`, warmed up, on the engine called `name`, or the best one here for "auto".

    `threads` 0 leaves their number to the engine. Raises ModelError if the file is missing or damaged, EngineError if a
    forced engine cannot run it, or none can.
    """
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name an exported .onnx, or make one with `mmsense export`")
    if name != "auto" and name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}; use auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}; use {', '.join(PRECISIONS)}")
    refused: list[str] = []
    for candidate in ENGINES if name == "auto" else (name,):
        try:
            engine = _open(candidate, path, precision, threads)
        except EngineError as error:
            if name != "auto":
                raise
            refused.append(str(error))
            continue
        chosen = "asked for" if name != "auto" else "; ".join([*refused, "best of those installed"])
        engine.reason = f"{chosen}; {engine.reason}" if engine.reason else chosen
        log.info("engine %s in %s: %s", engine.name, engine.precision, engine.reason)
        return engine
    raise EngineError(f"no engine can run {path}: {'; '.join(refused)}")


def _open(name: str, path: Path, precision: str, threads: int) -> Engine:
    try:
        backend = importlib.import_module(f"{__name__}.{name}")
        engine = backend.open_model(path, precision, threads)
    except ImportError as error:
        raise EngineError(f"engine {name} is not installed ({error}); `{REMEDIES[name]}`, or use engine auto") from error
    engine.probe()
    return engine

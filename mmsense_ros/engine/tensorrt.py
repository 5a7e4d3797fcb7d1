"""TensorRT on a GPU: engines built once from the ONNX graph, kept in the cache, run as one CUDA graph.

The same for TensorRT 10.3 (JetPack 6) to 11.x and for TensorRT-RTX. Precision lies in the graph (precision.py), and the network is
strongly typed, so that no builder flag changes what is computed.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np

from mmsense_ros.engine import Engine, EngineOptions, model_file
from mmsense_ros.engine.cache import EngineCache, UnusableEngineError, default_folder
from mmsense_ros.engine.cuda import Buffer, Device, open_device
from mmsense_ros.engine.precision import typed_graph
from mmsense_ros.engine.tensorrt_build import build_plan, is_rtx, made_for, make_logger
from mmsense_ros.errors import EngineError

FLAVOURS = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")  #: modules with one interface, as NVIDIA's packages name them

log = logging.getLogger(__name__)


class TensorRTEngine(Engine):
    """A deserialized engine with its own pinned and device buffers, captured as a CUDA graph where that is possible."""

    name = "tensorrt"

    def __init__(self, trt: ModuleType, device: Device, plan: bytes, precision: str) -> None:
        """Raises UnusableEngineError if `plan` cannot run here."""
        self.precision = precision
        self._device = device
        self._runtime = trt.Runtime(make_logger(trt))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context = self._engine.create_execution_context() if self._engine else None
        if self._context is None:
            raise UnusableEngineError(f"TensorRT {trt.__version__} cannot load it on {device.name}")
        self._given: dict[str, Buffer] = {}
        self._made: dict[str, Buffer] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            buffer = device.buffer(tuple(self._engine.get_tensor_shape(name)), trt.nptype(self._engine.get_tensor_dtype(name)))
            given = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self._given if given else self._made)[name] = buffer
            self._context.set_tensor_address(name, buffer.address)
        super().__init__({name: buffer.host for name, buffer in self._given.items()}, tuple(self._made))
        self._enqueue()  # what happens once at first must not be captured
        device.synchronize()
        try:
            self._launch = device.capture(self._enqueue)
            self.reason = f"on {device.name}, as a CUDA graph"
        except RuntimeError as error:
            log.warning("engine tensorrt runs without a CUDA graph, a little slower (%s)", error)
            self._launch, self.reason = self._enqueue, f"on {device.name}"

    def _enqueue(self) -> None:
        for buffer in self._given.values():
            self._device.upload(buffer)
        if not self._context.execute_async_v3(self._device.stream):
            raise RuntimeError("execute_async_v3 failed; the log says why")
        for buffer in self._made.values():
            self._device.download(buffer)

    def infer(self) -> dict[str, np.ndarray]:
        try:
            self._launch()
            self._device.synchronize()
        except RuntimeError as error:
            raise EngineError(
                f"engine tensorrt failed on {self._device.name} ({error}); check the GPU, or use another engine"
            ) from error
        return {name: buffer.host.copy() for name, buffer in self._made.items()}

    def close(self) -> None:
        self._device.synchronize()
        self._given, self._made, self.inputs = {}, {}, {}
        del self._launch, self._context, self._engine, self._runtime


def open_model(path: Path, options: EngineOptions) -> TensorRTEngine:
    """Open the engine of `path`, from the cache or built now. Raises ImportError without TensorRT, ModelError, EngineError."""
    trt, device = installed(), open_device()
    precision = graph_precision(options)
    try:
        return EngineCache(folder(options)).open(
            made_for(trt, path, precision, options, device),
            lambda: _build(trt, path, options),
            lambda plan: TensorRTEngine(trt, device, plan, precision),
        )
    except UnusableEngineError as error:
        raise EngineError(f"engine tensorrt built {path}, but {error}; use another engine") from error


def build(path: Path, options: EngineOptions) -> bool:
    """Have the engine of `path` in the cache; whether it had to be built. TensorRT needs the GPU it is for, TensorRT-RTX none.

    Raises ImportError without TensorRT, ModelError, EngineError.
    """
    trt, path = installed(), model_file(path)
    device = None if is_rtx(trt) else open_device()
    built: list[bytes] = []

    def making() -> bytes:
        built.append(_build(trt, path, options))
        return built[0]

    EngineCache(folder(options)).open(made_for(trt, path, graph_precision(options), options, device), making, lambda plan: plan)
    return bool(built)


def _build(trt: ModuleType, path: Path, options: EngineOptions) -> bytes:
    with TemporaryDirectory() as scratch:
        graph = typed_graph(path, graph_precision(options), Path(scratch))
        return build_plan(trt, graph, options, folder(options) / f"timings-{trt.__version__}.cache")


def graph_precision(options: EngineOptions) -> str:
    """ "auto" is fp16, which answers as fp32 does (docs/performance.md)."""
    return "fp16" if options.precision == "auto" else options.precision


def installed() -> ModuleType:
    """TensorRT, or TensorRT-RTX; ImportError if neither is installed."""
    missing = []
    for name in FLAVOURS:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing.append(str(error))
    raise ImportError("; ".join(missing))


def folder(options: EngineOptions) -> Path:
    """Where engines are kept."""
    return Path(options.cache) if options.cache else default_folder()

"""Building a TensorRT engine from a typed ONNX graph: what it depends on, and that it takes minutes, not silence."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from mmsense_ros.engine import EngineOptions, damaged
from mmsense_ros.engine.cuda import Device
from mmsense_ros.engine.precision import VERSION
from mmsense_ros.errors import EngineError

HEARTBEAT = 4.0  #: [s] between two words while building
JETPACK = Path("/etc/nv_tegra_release")  #: what names the release of a Jetson's system

log = logging.getLogger(__name__)


def made_for(trt: ModuleType, model: Path, precision: str, options: EngineOptions, device: Device | None) -> dict[str, str]:
    """All that an engine of the ONNX file `model` depends on; TensorRT-RTX builds for any GPU, and without one (`device` None)."""
    portable = is_rtx(trt)
    gpu = "any" if portable or device is None else f"{device.name}, {device.capability}"
    driver = "any" if portable or device is None else device.driver
    return {
        "model": sha256_of(model),
        "precision": precision,
        "typed": str(VERSION),
        "tensorrt": trt.__version__,
        "flavour": "rtx" if portable else "tensorrt",
        "gpu": gpu,
        "driver": driver,
        "system": JETPACK.read_text().splitlines()[0] if JETPACK.is_file() else "",
        "options": json.dumps({"workspace": options.workspace, "optimization": options.optimization, "dla": options.dla}),
    }


def is_rtx(trt: ModuleType) -> bool:
    """Whether this is TensorRT-RTX, whose engines are finished on the GPU that runs them."""
    return "rtx" in trt.__name__


def sha256_of(model: Path) -> str:
    """SHA-256 of an ONNX file and of the weights that lie beside a large one."""
    total = hashlib.sha256()
    for path in (model, model.with_name(model.name + ".data")):
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def build_plan(trt: ModuleType, graph: Path, options: EngineOptions, timing: Path | None = None) -> bytes:
    """A serialized engine of the typed ONNX file `graph`; what its building learned of the GPU's timings is kept in `timing`.

    Raises ModelError if the graph is damaged, EngineError if TensorRT does not take it, or the building fails.
    """
    with _heartbeat(graph) as heartbeat:
        logger = make_logger(trt)
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(graph)) or not network.num_outputs:  # of a text file it makes an empty network
            _refuse(trt, logger, parser, graph)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
        config.builder_optimization_level = options.optimization
        if options.dla >= 0:
            if options.dla >= builder.num_DLA_cores:
                raise EngineError(
                    f"engine tensorrt: there is no DLA core {options.dla} (cores: {builder.num_DLA_cores}); use -1"
                )
            config.default_device_type, config.DLA_core = trt.DeviceType.DLA, options.dla
            config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        if hasattr(trt, "IProgressMonitor"):
            config.progress_monitor = _monitor(trt, heartbeat)
        learned = None
        if timing is not None and not is_rtx(trt):
            learned = config.create_timing_cache(timing.read_bytes() if timing.is_file() else b"")
            config.set_timing_cache(learned, False)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"engine tensorrt cannot build {graph} ({logger.last}); use another engine or precision")
    if learned is not None:
        _keep_timings(config, timing)
    return bytes(plan)


def make_logger(trt: ModuleType) -> Any:
    """TensorRT's log becomes this package's; the last error is kept as `last`."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = "no reason given"

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.last = message
                log.error("TensorRT: %s", message)
            elif severity == trt.ILogger.WARNING:
                log.debug("TensorRT: %s", message)

    return Logger()


def _refuse(trt: ModuleType, logger: Any, parser: Any, graph: Path) -> None:
    faults = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    if not faults or any("DESERIALIZE" in fault for fault in faults):
        raise damaged(graph)
    raise EngineError(f"engine tensorrt does not take {graph} ({'; '.join(faults) or logger.last}); use another engine")


def _keep_timings(config: Any, timing: Path) -> None:
    try:
        timing.parent.mkdir(parents=True, exist_ok=True)
        part = timing.with_suffix(".part")
        part.write_bytes(bytes(config.get_timing_cache().serialize()))
        part.replace(timing)
    except OSError as error:
        log.warning("timings cannot be kept in %s (%s); the next building takes as long", timing, error)


class _Heartbeat:
    """Says in the log how far the building is, at most every HEARTBEAT seconds."""

    def __init__(self, graph: Path) -> None:
        self.graph, self.phase = graph, "reading the graph"
        self._began = self._said = time.monotonic()
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Called as often as one likes."""
        with self._lock:
            now = time.monotonic()
            if now - self._said >= HEARTBEAT:
                self._said = now
                log.info("building %s for %.0f s: %s", self.graph.name, now - self._began, self.phase)


@contextmanager
def _heartbeat(graph: Path) -> Iterator[_Heartbeat]:
    """Beats by itself too: phases may be long, and versions before 10 have no monitor."""
    heart, done = _Heartbeat(graph), threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT / 4):
            heart.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    log.info("building an engine of %s; this may take minutes", graph.name)
    try:
        yield heart
    finally:
        done.set()
        thread.join()


def _monitor(trt: ModuleType, heart: _Heartbeat) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            heart.phase = phase_name
            heart.beat()

        def step_complete(self, phase_name: str, step: int) -> bool:
            heart.phase = f"{phase_name}, step {step + 1} of {self._steps.get(phase_name, 0)}"
            heart.beat()
            return True

        def phase_finish(self, phase_name: str) -> None:
            heart.beat()

    return Monitor()

"""OpenVINO on the CPU: fp32, bf16 and fp16 where the CPU has them, int8."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import openvino as ov

from mmsense_ros.engine import Engine, EngineOptions, damaged
from mmsense_ros.engine.cache import EngineCache
from mmsense_ros.engine.int8 import int8_graph, int8_path
from mmsense_ros.errors import EngineError, ModelError
from mmsense_ros.model_card import sha256_of
from mmsense_ros.share import cache_folder

TYPES = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "fp16": ov.Type.f16}
TOLERANCE = 0.02  #: largest difference between bf16 and fp32 outputs, relative to the output's largest value

OVERFLOWS = "this CPU has no VNNI, without which OpenVINO sums products of int8 in 16 bits, where they overflow"

log = logging.getLogger(__name__)


class OpenVINOEngine(Engine):
    """A model compiled for latency; all of `path` that is not in int8 is computed in `kind`."""

    name = "openvino"

    def __init__(self, core: ov.Core, path: Path, precision: str, kind: ov.Type, options: EngineOptions) -> None:
        """Raises ModelError if the graph is damaged, RuntimeError if OpenVINO cannot run it."""
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise damaged(path) from error
        inputs = {port.any_name: np.zeros(tuple(port.shape), port.element_type.to_dtype()) for port in model.inputs}
        super().__init__(inputs, tuple(port.any_name for port in model.outputs))
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": kind}
        config["ENABLE_CPU_PINNING"] = not options.cores  # it pins to cores of its own choice, the caller too
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = options.threads
        self._compiled = core.compile_model(model, "CPU", config)
        self._request = self._compiled.create_infer_request()
        for name, buffer in self.inputs.items():
            self._request.set_tensor(name, ov.Tensor(buffer, shared_memory=True))
        self.precision = precision

    def infer(self) -> dict[str, np.ndarray]:
        self._request.infer()
        return {name: self._request.get_tensor(name).data.copy() for name in self.outputs}

    def close(self) -> None:
        del self._request, self._compiled


def open_model(path: Path, options: EngineOptions) -> OpenVINOEngine:
    """Compile; "auto" is bf16 if the CPU has it and `agree` holds on the probe, else int8 if there is a copy that runs here, else fp32.

    Raises ModelError, EngineError.
    """
    core = ov.Core()
    able = {"fp32", *map(str.lower, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))}
    rest = TYPES["bf16" if "bf16" in able else "fp32"]
    try:
        if options.precision == "int8":
            return OpenVINOEngine(core, _copy(path), "int8", rest, options)
        if options.precision != "auto":
            if options.precision not in able:
                raise EngineError(f"engine openvino: this CPU has no {options.precision}; use precision auto or fp32")
            return OpenVINOEngine(core, path, options.precision, TYPES[options.precision], options)
        if "bf16" not in able and int8_path(path).is_file():
            return _rounded(core, path, options)
        best = _chosen(core, able, path, options) if "bf16" in able else "fp32"
        engine = OpenVINOEngine(core, path, best, TYPES[best], options)
        if "bf16" in able:
            engine.reason = "bf16 answers as fp32 does" if best == "bf16" else "fp32, as bf16 answers differently"
        return engine
    except RuntimeError as error:
        raise EngineError(f"engine openvino cannot run {path} ({error}); use another engine, or export it again") from error


def _chosen(core: ov.Core, able: set[str], path: Path, options: EngineOptions) -> str:
    """ "bf16" if it answers as "fp32" does, else that; asked once a model and machine, as it takes compiling both."""

    def ask() -> bytes:
        answers = []
        for name in ("fp32", "bf16"):
            engine = OpenVINOEngine(core, path, name, TYPES[name], options)
            answers.append(engine.probe())
            engine.close()
        return b"bf16" if agree(*answers) else b"fp32"

    cpu = f"{core.get_property('CPU', 'FULL_DEVICE_NAME')}: {', '.join(sorted(able))}"
    wanted = {"model": sha256_of(path), "openvino": ov.__version__, "cpu": cpu}
    return EngineCache(cache_folder() / "precisions", "precision").open(wanted, ask, bytes.decode)


def _rounded(core: ov.Core, path: Path, options: EngineOptions) -> OpenVINOEngine:
    """The copy in int8, or `path` in fp32 if the copy is no good."""
    try:
        engine = OpenVINOEngine(core, _copy(path), "int8", TYPES["fp32"], options)
        engine.reason = "int8 passed its gate, and this CPU has no bf16"
    except (EngineError, ModelError) as error:
        log.warning("%s", error)
        engine = OpenVINOEngine(core, path, "fp32", TYPES["fp32"], options)
        engine.reason = f"fp32, as {error}"
    return engine


def _copy(path: Path) -> Path:
    """The copy in int8. Raises EngineError if there is no good one, or this CPU cannot run it."""
    graph = int8_graph(path)
    if not sums_int8():
        raise EngineError(f"engine openvino: {OVERFLOWS}; use precision auto or fp32, or engine onnxruntime")
    return graph


def sums_int8() -> bool:
    """Whether int8 comes out right here: an x86 CPU must have VNNI (of others we know nothing ill)."""
    try:
        flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), None)
    except OSError:
        return True
    return flags is None or "vnni" in flags


def agree(exact: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether no output differs by more than TOLERANCE of its largest value."""
    return all(
        bool(np.all(np.isfinite(other[name]))) and np.abs(other[name] - value).max() <= TOLERANCE * np.abs(value).max() + 1e-6
        for name, value in exact.items()
    )

"""OpenVINO on the CPU: fp32, or bf16 where the CPU has it and the answers stay the same."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import openvino as ov

from mmsense_ros.engine import Engine, EngineOptions
from mmsense_ros.errors import EngineError, ModelError

NAMES = {ov.Type.f32: "fp32", ov.Type.bf16: "bf16", ov.Type.f16: "fp16"}
TOLERANCE = 0.02  #: largest difference between bf16 and fp32 outputs, relative to the output's largest value

log = logging.getLogger(__name__)


class OpenVINOEngine(Engine):
    """A model compiled for latency."""

    name = "openvino"

    def __init__(self, core: ov.Core, model: ov.Model, precision: ov.Type, threads: int) -> None:
        inputs = {port.any_name: np.zeros(tuple(port.shape), port.element_type.to_dtype()) for port in model.inputs}
        super().__init__(inputs, tuple(port.any_name for port in model.outputs))
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        self._compiled = core.compile_model(model, "CPU", config)
        self._request = self._compiled.create_infer_request()
        for name, buffer in self.inputs.items():
            self._request.set_tensor(name, ov.Tensor(buffer, shared_memory=True))
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        self.precision = NAMES.get(used, str(used))

    def infer(self) -> dict[str, np.ndarray]:
        self._request.infer()
        return {name: self._request.get_tensor(name).data.copy() for name in self.outputs}

    def close(self) -> None:
        del self._request, self._compiled


def open_model(path: Path, options: EngineOptions) -> OpenVINOEngine:
    """Compile; "auto" precision is bf16 if the CPU has it and `agree` holds on the probe. Raises ModelError, EngineError."""
    core, precision, threads = ov.Core(), options.precision, options.threads
    if precision == "fp16":
        raise EngineError("engine openvino: CPUs run bf16 or fp32, not fp16; use precision auto")
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ModelError(f"{path} is damaged or no ONNX model; export it again with `mmsense export`") from error
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise EngineError("engine openvino: this CPU has no bf16; use precision auto or fp32")
    try:
        if precision == "bf16":
            return OpenVINOEngine(core, model, ov.Type.bf16, threads)
        engine = OpenVINOEngine(core, model, ov.Type.f32, threads)
        if precision == "auto" and has_bf16:
            faster = OpenVINOEngine(core, model, ov.Type.bf16, threads)
            if agree(engine.probe(), faster.probe()):
                engine.close()
                faster.reason = "bf16 answers as fp32 does"
                return faster
            engine.reason = "fp32, as bf16 answers differently"
        return engine
    except RuntimeError as error:
        raise EngineError(f"engine openvino cannot run {path} ({error}); use another engine, or export it again") from error


def agree(exact: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether no output differs by more than TOLERANCE of its largest value."""
    return all(
        bool(np.all(np.isfinite(other[name]))) and np.abs(other[name] - value).max() <= TOLERANCE * np.abs(value).max() + 1e-6
        for name, value in exact.items()
    )

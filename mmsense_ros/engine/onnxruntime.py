"""ONNX Runtime on the CPU, in fp32 or int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, InvalidGraph, InvalidProtobuf

from mmsense_ros.engine import Engine, EngineOptions, damaged
from mmsense_ros.engine.precision import typed_graph
from mmsense_ros.errors import EngineError

DTYPES = {"tensor(float)": np.dtype(np.float32), "tensor(int64)": np.dtype(np.int64)}


class ONNXRuntimeEngine(Engine):
    """A session whose threads sleep, not spin, while they wait."""

    name = "onnxruntime"

    def __init__(self, session: ort.InferenceSession, precision: str) -> None:
        inputs = {port.name: np.zeros(port.shape, DTYPES[port.type]) for port in session.get_inputs()}
        super().__init__(inputs, tuple(port.name for port in session.get_outputs()))
        self._session, self.precision = session, precision

    def infer(self) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self._session.run(self.outputs, self.inputs), strict=True))

    def close(self) -> None:
        del self._session


def open_model(path: Path, options: EngineOptions) -> ONNXRuntimeEngine:
    """Open a session. Raises ModelError if `path` is damaged, EngineError for a precision that there is no graph of."""
    precision = "fp32" if options.precision == "auto" else options.precision
    if precision not in ("fp32", "int8"):
        fault = f"engine onnxruntime runs models in fp32 or int8, not {precision}"
        raise EngineError(f"{fault}; use precision auto or engine openvino")
    graph = typed_graph(path, precision, path.parent)
    session = ort.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.log_severity_level = 3
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ONNXRuntimeEngine(ort.InferenceSession(str(graph), session, providers=["CPUExecutionProvider"]), precision)
    except (InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
        raise damaged(path) from error
    except Exception as error:  # its other failures share no base but Exception
        raise EngineError(f"engine onnxruntime cannot run {path} ({error}); use another engine, or export it again") from error

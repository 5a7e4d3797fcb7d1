"""int8: a copy of an exported model whose convolutions and products with weights run on 8-bit integers, as `mmsense.int8.onnx`
beside `mmsense.onnx`, with a note of what it was made of and how well it answers.

One graph for OpenVINO, ONNX Runtime and TensorRT: pairs of QuantizeLinear and DequantizeLinear, per tensor and symmetric, before what
is computed in int8; sums, biases and all the rest stay fp32, and so do the products whose rounding would move the answers most.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mmsense_ros.engine.graph import operations
from mmsense_ros.engine.rounding import Readings, Rounding
from mmsense_ros.errors import EngineError

KINDS = ("Conv", "Gemm", "MatMul")
RANGE = 99.99  #: [%] of a tensor's values that its range covers: the few beyond would make all others coarser
MOVED = 0.06  #: that answers may move (rounding.moved); bf16 moves those of the shipped model about as far
WORTH = 0.002  #: part of all operations below which a product is not worth rounding
REMEDY = "`mmsense export MODEL OUT.onnx --int8 RECIPE` makes one, or use precision auto"

Figures = Mapping[str, float]


def int8_path(model: Path) -> Path:
    """`mmsense.int8.onnx` for `mmsense.onnx`."""
    return model.with_suffix(".int8.onnx")


def int8_graph(model: Path) -> Path:
    """The int8 copy of the ONNX file `model`. Raises EngineError if there is none, or it is damaged or of another model."""
    path = int8_path(model)
    try:
        note = json.loads(path.with_suffix(".json").read_text())
        made_of, own = note["model"], note["sha256"]
        whole = own == _sha256(path)
    except FileNotFoundError as error:
        raise EngineError(f"{model} has no copy in int8 ({path.name} and its .json beside it); {REMEDY}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"the note beside {path} is damaged ({error!r}); {REMEDY}") from error
    if not whole:
        raise EngineError(f"{path} is damaged (sha256 differs); {REMEDY}")
    if made_of != _sha256(model):
        raise EngineError(f"{path} was made of another model than {model.name}; {REMEDY}")
    return path


def note_int8(model: Path, share: float, exact: Figures, rounded: Figures) -> None:
    """Notes beside the int8 copy of `model` that it is whole, the `share` of its operations in int8, and the figures of both."""
    path = int8_path(model)
    figures = {"fp32": dict(exact), "int8": dict(rounded)}
    note = {"model": _sha256(model), "sha256": _sha256(path), "share": share, "figures": figures}
    path.with_suffix(".json").write_text(json.dumps(note, indent=1) + "\n")


def quantize(
    model: Path, readings: Readings, limit: float = MOVED, report: Callable[[int, int], None] = lambda done, total: None
) -> float:
    """Writes the int8 copy of the ONNX file `model`, for the ranges that its tensors have with `readings`, the inputs of single runs.

    Products with weights are rounded as far as answers move by no more than `limit`; returns the part of all operations that is in
    int8. Raises ImportError without onnx and onnxruntime.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._readings = iter(readings)

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self._readings, None)

    exact = onnx.load(str(model))
    weights = {weight.name for weight in exact.graph.initializer}
    cost = operations(exact)
    candidates = [
        node.name
        for node in exact.graph.node
        if node.op_type in KINDS and node.input[1] in weights and cost[node.name] >= WORTH * sum(cost.values())
    ]
    out = int8_path(model)
    quantize_static(
        str(model),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(KINDS),
        nodes_to_quantize=candidates,
        per_channel=False,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(KINDS),
            "CalibPercentile": RANGE,
        },
    )
    rounding = Rounding(exact, onnx.load(str(out)), candidates)
    chosen = rounding.chosen(readings, limit, report) if limit < math.inf else set(candidates)
    onnx.save(rounding.only(chosen), str(out))
    onnx.checker.check_model(str(out), full_check=True)
    return sum(cost[node] for node in chosen) / sum(cost.values())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""How much this machine can compute: what the speed of a model is held against."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

from mmsense_ros.engine.int8 import note_int8, quantize

SIDE = 1536  #: of the matrices whose product is timed


def product(folder: Path) -> tuple[Path, int]:
    """An ONNX file in `folder`, with a copy in int8, that multiplies two matrices, and its operations.

    Raises ImportError without onnx and onnxruntime."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE]) for name in ("left", "product")]
    node = helper.make_node("MatMul", ["left", "right"], ["product"], name="product")
    graph = helper.make_graph([node], "gemm", ends[:1], ends[1:], [numpy_helper.from_array(weight, "right")])
    path = folder / "gemm.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    note_int8(path, quantize(path, [{"left": weight}], math.inf), {}, {})
    return path, 2 * SIDE**3


def timed(call: Callable[[], object]) -> float:
    """Milliseconds that `call` takes."""
    began = perf_counter()
    call()
    return 1e3 * (perf_counter() - began)

"""How much an exported model computes, and how much this machine can: what its speed is held against."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter

import numpy as np

from mmsense_ros.engine.int8 import note_int8, quantize

SIDE = 1536  #: of the matrices whose product is timed


def operations(model: Path) -> int:
    """Floating-point operations of one run of the ONNX file `model`, two for a multiplication with its addition; only matrix products
    and convolutions are counted. Raises ImportError without onnx."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(str(model))).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            continue
        first, second, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
        if node.op_type == "Conv":
            total += 2 * math.prod(out) * math.prod(second[1:])
        elif node.op_type == "ConvTranspose":
            total += 2 * math.prod(first) * math.prod(second[1:])
        else:
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            total += 2 * math.prod(out) * first[-2 if transposed else -1]
    return total


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
    quantize(path, [{"left": weight}])
    note_int8(path, {}, {})
    return path, 2 * SIDE**3


def timed(call) -> float:
    """Milliseconds that `call` takes."""
    began = perf_counter()
    call()
    return 1e3 * (perf_counter() - began)

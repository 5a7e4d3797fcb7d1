"""What an exported graph computes: its floating-point operations, node by node."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


def operations(model: ModelProto) -> dict[str, int]:
    """Floating-point operations of one run by name of the node, two for a multiplication with its addition; only matrix products
    and convolutions are counted. Raises ImportError without onnx."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
    counts = {}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            continue
        first, second, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
        if node.op_type == "Conv":
            counts[node.name] = 2 * math.prod(out) * math.prod(second[1:])
        elif node.op_type == "ConvTranspose":
            counts[node.name] = 2 * math.prod(first) * math.prod(second[1:])
        else:
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            counts[node.name] = 2 * math.prod(out) * first[-2 if transposed else -1]
    return counts

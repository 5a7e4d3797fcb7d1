"""Precision lies in the graph: typed copies of an exported model, for engines that compute as they are told."""

from __future__ import annotations

from pathlib import Path

from mmsense_ros.engine import damaged
from mmsense_ros.engine.int8 import int8_graph
from mmsense_ros.errors import EngineError

VERSION = 1  #: of how copies are typed; engines built of another one are not found again
FLOAT32 = ("LayerNormalization", "Softmax")  #: kinds of nodes that stay fp32, as their sums do not fit fp16


def typed_graph(model: Path, precision: str, folder: Path) -> Path:
    """The ONNX file `model` in "fp32", as it is, in "int8", the copy beside it, or "fp16", a copy in `folder`; all take and give fp32.

    Raises EngineError for another precision or without a copy in int8, ModelError if fp16 is to be made of what is no ONNX file,
    ImportError without onnx and onnxruntime, which make it.
    """
    if precision == "fp32":
        return model
    if precision == "int8":
        return int8_graph(model)
    if precision != "fp16":
        raise EngineError(f"no graph is made in {precision}; use precision fp32, fp16 or int8")
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    try:
        exact = onnx.load(str(model))
    except Exception as error:  # DecodeError of protobuf, which is a dependency of onnx and none of ours
        raise damaged(model) from error
    typed = OnnxModel(convert_float_to_float16(exact, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT32]))
    typed.topological_sort()  # the casts of inputs come last
    typed.model.graph.ClearField("value_info")  # still says fp32
    out = folder / f"{model.stem}.fp16.onnx"
    onnx.save(typed.model, str(out))
    onnx.checker.check_model(str(out), full_check=True)
    return out

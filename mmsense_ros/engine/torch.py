"""PyTorch itself, in fp32, from the weights beside the ONNX file: the slow road, to compare the others with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmsense_ros.engine import Engine, EngineOptions
from mmsense_ros.errors import EngineError, ModelError

WEIGHTS = "model.safetensors"


class TorchEngine(Engine):
    """The trained network as it is deployed: batch 1, one instruction."""

    name = "torch"
    precision = "fp32"

    def __init__(self, weights: Path) -> None:
        import torch

        from mmsense_ros.model.export import MEMORY_OUTPUTS, OneInstruction, example
        from mmsense_ros.model.mmsense import load_model

        model, card = load_model(weights)
        if model.config.backbone == "vlm":
            raise ModelError(f"{weights} has a vision-LLM, which this engine does not run; use engine onnxruntime or openvino")
        inputs = {name: value.numpy().copy() for name, value in example(card).items()}
        super().__init__(inputs, ("gate", *model.branches, *MEMORY_OUTPUTS))
        self._module = OneInstruction(model).eval()
        self._tensors = {name: torch.from_numpy(buffer) for name, buffer in self.inputs.items()}
        self._inference = torch.inference_mode

    def infer(self) -> dict[str, np.ndarray]:
        with self._inference():
            answers = self._module(**self._tensors)
        return {name: answer.numpy().copy() for name, answer in zip(self.outputs, answers, strict=True)}

    def close(self) -> None:
        del self._module


def open_model(path: Path, options: EngineOptions) -> TorchEngine:
    """Load the weights that lie beside `path`. Raises EngineError if there are none, ImportError without torch."""
    if options.precision not in ("auto", "fp32"):
        raise EngineError(f"engine torch runs in fp32, not {options.precision}; use precision auto or engine openvino")
    import torch

    weights = path.with_name(WEIGHTS)
    if not weights.is_file():
        raise EngineError(f"engine torch needs the weights {weights}; copy them there from the training, or use another engine")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        return TorchEngine(weights)
    except ModelError as error:
        raise EngineError(f"engine torch: {error}") from error

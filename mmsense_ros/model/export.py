"""A trained model becomes one ONNX file with its card beside it."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from mmsense_ros.model.memory import ENTRY, SLOTS, remember
from mmsense_ros.model.mmsense import MMSense, load_model
from mmsense_ros.model.tokenizers import CELLS, EMBEDDING
from mmsense_ros.model_card import ModelCard
from mmsense_ros.snapshot import MODALITIES

INPUTS = (*MODALITIES, "available", "instruction", "memory", "memory_age")
MEMORY_OUTPUTS = ("memory_next", "memory_age_next")
OPSET = 18


class OneInstruction(nn.Module):
    """The model as deployed: batch 1, one instruction, plain tensors in and out (shapes: heads.py, memory.py)."""

    def __init__(self, model: MMSense) -> None:
        super().__init__()
        self.model = model
        self.terminal = {task for task in model.branches if task in ("beam", "blockage", "pathloss")}

    def forward(
        self,
        camera: Tensor,
        radar: Tensor,
        lidar: Tensor,
        available: Tensor,
        instruction: Tensor,
        memory: Tensor,
        memory_age: Tensor,
    ) -> tuple[Tensor, ...]:
        sight = self.model.see({"camera": camera, "radar": radar, "lidar": lidar}, available, instruction)
        recollection = self.model.recollect(sight, memory, memory_age)
        outputs = self.model.answer(sight, recollection, instruction[:, None])
        answers = [outputs[name][:, 0] if name in self.terminal else outputs[name] for name in ("gate", *self.model.branches)]
        return *answers, *remember(recollection.entry, memory, memory_age)


def example(card: ModelCard) -> dict[str, Tensor]:
    """Inputs of the right shapes: an empty scene, an empty instruction, an empty memory."""
    width, height = card.camera_size
    return {
        "camera": torch.zeros(1, 3, height, width),
        "radar": torch.zeros(1, 3, *card.grid.shape),
        "lidar": torch.zeros(1, 3, *card.grid.shape),
        "available": torch.ones(1, len(MODALITIES)),
        "instruction": torch.zeros(1, EMBEDDING),
        "memory": torch.zeros(1, SLOTS, ENTRY, *CELLS),
        "memory_age": -torch.ones(1, SLOTS),
    }


def export_model(model: MMSense, card: ModelCard, out: Path) -> ModelCard:
    """Writes `out` (.onnx, weights inside, checked) and its card; returns the card as written."""
    inputs = example(card)
    deployed = OneInstruction(model).eval()
    program = torch.onnx.export(
        deployed,
        tuple(inputs.values()),
        input_names=list(INPUTS),
        output_names=["gate", *model.branches, *MEMORY_OUTPUTS],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(out), external_data=False)
    exported = onnx.load(str(out))
    _forget_origin(exported)
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, str(out))
    return card.save(out)


def _forget_origin(exported: onnx.ModelProto) -> None:
    """Removes the stack traces that the exporter notes at each node: they name files of the machine it ran on."""
    for holder in (exported.graph, *exported.functions):
        for item in (holder, *holder.node, *holder.value_info):
            item.ClearField("metadata_props")
            item.ClearField("doc_string")


def export(model_path: Path, out: Path) -> ModelCard:
    """Exports the model.safetensors that training wrote to the ONNX file `out`; ModelError if it cannot be read."""
    model, card = load_model(model_path)
    return export_model(model, card, out)

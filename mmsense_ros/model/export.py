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
from mmsense_ros.prefix import INPUTS as PREFIX_INPUTS
from mmsense_ros.prefix import LENGTH, prefix_path, tokenizer_path
from mmsense_ros.snapshot import MODALITIES

INPUTS = (*MODALITIES, "available", "instruction", "memory", "memory_age")
MEMORY_OUTPUTS = ("memory_next", "memory_age_next")
OPSET = 18
LARGE = 1 << 30  #: [bytes] of weights from which on these lie in a file of their own: an ONNX file ends at 2 GiB


class OneInstruction(nn.Module):
    """The model as deployed: batch 1, one instruction, plain tensors in and out (shapes: heads.py, memory.py).

    A vision-LLM also takes what it read of the instruction (model/vlm/language.py, `Prefix`).
    """

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
        prefix_keys: Tensor | None = None,
        prefix_values: Tensor | None = None,
        prefix_mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        sight = self.model.see({"camera": camera, "radar": radar, "lidar": lidar}, available, instruction)
        recollection = self.model.recollect(sight, memory, memory_age)
        prefix = None if prefix_keys is None else (prefix_keys, prefix_values, prefix_mask)
        outputs = self.model.answer(sight, recollection, instruction[:, None], prefix)
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
    """Writes `out` (.onnx, weights inside, checked) and its card; returns the card as written.

    A vision-LLM's part that reads instructions and its tokenizer lie beside it (prefix.py), weights beyond LARGE in `*.data`.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    inputs = example(card)
    if model.config.backbone == "vlm":
        from mmsense_ros.model.vlm.checkpoint import load_tokenizer
        from mmsense_ros.model.vlm.export import ReadInstruction

        model = model.float()  # frozen weights are kept in the checkpoint's precision, engines want one
        load_tokenizer(model.backbone.name).save(str(tokenizer_path(out)))
        reader, ids = ReadInstruction(model.backbone).eval(), torch.zeros(1, LENGTH, dtype=torch.int64)
        _write(reader, {"ids": ids}, PREFIX_INPUTS, prefix_path(out))
        with torch.no_grad():
            inputs |= dict(zip(PREFIX_INPUTS, reader(ids), strict=True))
    _write(OneInstruction(model).eval(), inputs, ("gate", *model.branches, *MEMORY_OUTPUTS), out)
    return card.save(out)


def _write(deployed: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], out: Path) -> None:
    """One checked ONNX file."""
    program = torch.onnx.export(
        deployed,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=list(outputs),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    large = sum(value.nbytes for value in deployed.parameters()) > LARGE
    program.save(str(out), external_data=large)
    exported = onnx.load(str(out), load_external_data=False)
    _forget_origin(exported)
    onnx.save(exported, str(out))
    onnx.checker.check_model(str(out), full_check=True)


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

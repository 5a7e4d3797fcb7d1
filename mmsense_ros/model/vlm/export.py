"""The part of a vision-LLM that reads instructions, as it is exported beside the part that answers."""

from __future__ import annotations

from torch import Tensor, nn

from mmsense_ros.model.vlm.backbone import VisionLanguageBackbone


class ReadInstruction(nn.Module):
    """The language model over an instruction alone, plain tensors in and out: `ids` (1, LENGTH) to what `Prefix` holds."""

    def __init__(self, backbone: VisionLanguageBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prefix = self.backbone.prefix(ids)
        return prefix.keys, prefix.values, prefix.mask

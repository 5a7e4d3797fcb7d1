"""The modality gate: how much each sensor counts in this scene, exactly nothing if it is missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ModalityGate(nn.Module):
    """g = softmax over the available modalities of a small network on their pooled tokens; missing ones get exactly 0.

    It looks at content only, not at the instruction: sensing is read once and then serves any number of instructions.
    """

    def __init__(self, width: int, modalities: int, hidden: int = 64) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear((width + 1) * modalities, hidden), nn.GELU(), nn.Linear(hidden, modalities))

    def forward(self, tokens: list[Tensor], available: Tensor) -> Tensor:
        """Weights (B, modalities), summing to 1, from `tokens` (B, n, d) a modality and `available` (B, modalities) 0 or 1."""
        pooled = [content.mean(dim=1) * available[:, index, None] for index, content in enumerate(tokens)]
        score = self.score(torch.cat([*pooled, available], dim=1)).float().clamp(-8, 8)
        weight = score.exp() * available
        return weight / weight.sum(dim=1, keepdim=True)

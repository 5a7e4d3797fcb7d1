"""The modality gate: how much each sensor counts for this scene and this instruction, exactly nothing if it is missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ModalityGate(nn.Module):
    """g = softmax over the available modalities of s(content, instruction); missing ones get exactly 0 (Li et al. 2025).

    s is a small network of each modality's mean token and the instruction's meaning. With `learned` false every available
    modality counts the same.
    """

    def __init__(self, width: int, modalities: int, learned: bool = True, hidden: int = 64) -> None:
        super().__init__()
        inputs = (width + 1) * modalities + width
        self.score = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, modalities)) if learned else None

    def forward(self, tokens: list[Tensor], available: Tensor, meaning: Tensor) -> Tensor:
        """Weights (B, modalities), summing to 1.

        `tokens` (B, n, d) a modality; `available` (B, modalities) 0 or 1; `meaning` (B, d) of the instruction.
        """
        if self.score is None:
            return available / available.sum(dim=1, keepdim=True)
        pooled = [content.mean(dim=1) * available[:, index, None] for index, content in enumerate(tokens)]
        score = self.score(torch.cat([*pooled, available, meaning], dim=1)).float().clamp(-8, 8)
        weight = score.exp() * available
        return weight / weight.sum(dim=1, keepdim=True)

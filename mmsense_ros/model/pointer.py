"""The pointer: which of the vehicles on the street an instruction means, and so where the beam goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import COLOURS, OBJECT_LABELS
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

BEAMS = 64
MATCH = 32  #: width in which what is asked and what is there are compared freely
KINDS = (len(OBJECT_LABELS), len(COLOURS))  #: classes, colours
DOUBT = 0.02  #: chance that a cell's class or colour is read wrongly
FAR = 0.3  #: [beams] the sharpest a beam prediction gets


class Appearance(nn.Sequential):
    """Logits (B, classes + colours, *CELLS) of what would be there if a vehicle were."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CELL_CHANNELS, sum(KINDS), 1)
        )


@dataclass
class Pointed:
    """`match` (B, K, cells) logits of the cells; `share` their softmax; `asked` (B, K, classes + 1 + colours + 1) logits of what the
    words say about class and colour, the last of each meaning "any"; `beams` (B, K, 2, BEAMS) shares of the beams, now and ahead."""

    match: Tensor
    share: Tensor
    asked: Tensor
    beams: Tensor


class Pointer(nn.Module):
    """Cell c is meant with probability softmax_c(presence_c + sum_a log P_a(c) + <q, k_c> - l left_c - r right_c).

    P_a(c) = sum_v P(asked v) P(v at c) for a in class and colour, so that a combination never heard of is understood when its words
    are; <q, k_c> is free for lanes and the like; left_c and right_c count the matching vehicles to either side, and l, r come from the
    words ("the leftmost ..."). Beam k's share is sum_c p_c N(k; aim_c, width_c): now, and ahead, by when c's motion has carried it on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.presence = nn.Conv2d(CELL_CHANNELS, 1, 1)
        self.key = nn.Conv2d(CELL_CHANNELS, MATCH, 1)
        self.query = nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"), nn.Linear(width, MATCH + 2))
        self.asked = nn.Sequential(
            nn.Linear(width, width), nn.GELU(approximate="tanh"), nn.Linear(width, sum(KINDS) + len(KINDS))
        )
        self.aim = nn.Sequential(
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CELL_CHANNELS, 4, 1)
        )  #: offset and rest of the drift [cells], log widths now and ahead
        self.ahead = nn.Parameter(torch.tensor(0.5))  #: [s] to the horizon
        nn.init.zeros_(self.aim[2].weight)
        with torch.no_grad():
            self.aim[2].bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.5]))

    def forward(self, meaning: Tensor, cells: Tensor, appearance: Tensor, motion: Tensor) -> Pointed:
        """`meaning` (B, K, d); `cells` (B, CELL_CHANNELS, *CELLS); `appearance` (B, classes + colours, *CELLS) logits; `motion`
        (B, 2, *CELLS) [cells/s]."""
        asked = self.asked(meaning).float()
        query = self.query(meaning)
        match = (query[..., :MATCH] @ self.key(cells).flatten(2)).float() * MATCH**-0.5
        match = match + self.presence(cells).flatten(2).float() + _agreement(asked, appearance.flatten(2).float())
        order = F.softplus(query[..., MATCH:].float() - 3.0)
        match = match - _beside(match, order)
        share = torch.softmax(match, dim=2)
        beams = share @ self._spread(cells, motion).transpose(1, 2).flatten(2)
        return Pointed(match, share, asked, beams.unflatten(2, (2, BEAMS)))

    def _spread(self, cells: Tensor, motion: Tensor) -> Tensor:
        """Each cell's distribution over beams, (B, 2, cells, BEAMS)."""
        offset, drift, *log_width = self.aim(cells).flatten(2).float().unbind(dim=1)
        wide = BEAMS / CELLS[1]
        column = ((torch.arange(CELLS[1], device=cells.device) + 0.5) * wide).repeat(CELLS[0])
        drift = drift + self.ahead * motion[:, 1].flatten(1).float()
        centre = torch.stack([column + offset * wide, column + (offset + drift) * wide], dim=1)
        width = FAR + torch.stack(log_width, dim=1).clamp(-4, 4).exp()
        away = (torch.arange(BEAMS, device=cells.device) + 0.5 - centre[..., None]) / width[..., None]
        return torch.softmax(-away.square() / 2, dim=3)


def _agreement(asked: Tensor, appearance: Tensor) -> Tensor:
    """sum_a log P_a(c), (B, K, cells), from logits `asked` (B, K, ...) and `appearance` (B, classes + colours, cells)."""
    total, heard, seen = 0.0, 0, 0
    for kinds in KINDS:
        wanted = torch.softmax(asked[..., heard : heard + kinds + 1], dim=2)
        there = torch.softmax(appearance[:, seen : seen + kinds], dim=1)
        total = total + (wanted[..., -1:] + wanted[..., :-1] @ there + DOUBT).log()
        heard, seen = heard + kinds + 1, seen + kinds
    return total


def _beside(match: Tensor, order: Tensor) -> Tensor:
    """What being preceded by likely matches on the left and on the right costs each cell, (B, K, cells)."""
    likely = (match - match.amax(dim=2, keepdim=True)).exp().unflatten(2, CELLS).sum(dim=2)
    column = torch.arange(CELLS[1], device=match.device)
    before = (column[:, None] < column).to(likely.dtype)
    cost = order[..., :1] * (likely @ before) + order[..., 1:] * (likely @ before.T)
    return cost.repeat(1, 1, CELLS[0])

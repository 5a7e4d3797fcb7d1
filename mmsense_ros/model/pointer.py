"""The pointer: which of the vehicles on the street an instruction means, and so where the beam goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import COLOURS, OBJECT_LABELS
from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

BEAMS = 64
MATCH = 32  #: width in which what is asked and what is there are compared freely
KINDS = (len(OBJECT_LABELS), len(COLOURS))  #: classes, colours
DOUBT = 0.02  #: chance that a cell's class or colour is read wrongly
FINEST = 0.3  #: [beams] the sharpest a beam prediction gets
RAYS = 3  #: ways from the array to a cell: line of sight, and two reflections
FARTHEST = 12.0  #: [beams] one unit of a reflection's distance from the line of sight
STREET = 8  #: channels of what stands in each row of cells


class Appearance(nn.Sequential):
    """Logits (B, classes + colours, *CELLS) of what would be there if a vehicle were."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CELL_CHANNELS, sum(KINDS), 1)
        )


@dataclass
class Pointed:
    """`match` (B, K, cells) logits of the cells; `share` their softmax; `asked` (B, K, classes + 1 + colours + 1) logits of what the
    words say about class and colour, the last of each meaning "any"; `rays` (B, 2, cells, BEAMS) shares of the beams that reach a cell,
    now and ahead; `beams` (B, K, 2, BEAMS) what they come to."""

    match: Tensor
    share: Tensor
    asked: Tensor
    rays: Tensor
    beams: Tensor


class Pointer(nn.Module):
    """Cell c is meant with probability softmax_c(presence_c + sum_a log P_a(c) + <q, k_c> - l left_c - r right_c).

    P_a(c) = sum_v P(asked v) P(v at c) for a in class and colour, so that a combination never heard of is understood when its words
    are; <q, k_c> is free for lanes and the like; left_c and right_c count the matching vehicles to either side, and l, r come from the
    words ("the leftmost ..."). Beam k's share is sum_c p_c sum_i w_ci N(k; aim_ci, width_ci) over a cell's RAYS: the line of
    sight, and where reflections come from when something stands before it; now, and ahead, by when c's motion has carried it on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.presence = nn.Conv2d(CELL_CHANNELS, 1, 1)
        self.key = nn.Conv2d(CELL_CHANNELS, MATCH, 1)
        self.query = nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"), nn.Linear(width, MATCH + 2))
        self.asked = nn.Sequential(
            nn.Linear(width, width), nn.GELU(approximate="tanh"), nn.Linear(width, sum(KINDS) + len(KINDS))
        )
        self.ahead = nn.Parameter(torch.tensor(0.5))  #: [s] to the horizon
        self.across = nn.Conv2d(CELL_CHANNELS, STREET, 1)
        self.street = nn.Linear(STREET * CELLS[0], CELL_CHANNELS)
        self.aim = nn.Sequential(
            nn.Conv2d(CELL_CHANNELS + AHEAD, CELL_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=(2, 4), dilation=(2, 4)),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, 2 * RAYS * 3, 1),
        )  #: centre, log width and weight of each ray, now and ahead
        nn.init.zeros_(self.aim[4].weight)
        with torch.no_grad():
            usual = torch.tensor([[0.0, 0.0, 3.0], [-0.5, 1.0, 0.0], [0.5, 1.0, 0.0]])
            self.aim[4].bias.copy_(usual.repeat(2, 1, 1).flatten())

    def forward(self, meaning: Tensor, cells: Tensor, ahead: Tensor, appearance: Tensor, motion: Tensor) -> Pointed:
        """`meaning` (B, K, d); `cells` (B, CELL_CHANNELS, *CELLS) and `ahead` (B, AHEAD, *CELLS), what lies before them; `appearance`
        (B, classes + colours, *CELLS) logits; `motion` (B, 2, *CELLS) [cells/s]."""
        asked = self.asked(meaning).float()
        query = self.query(meaning)
        match = (query[..., :MATCH] @ self.key(cells).flatten(2)).float() * MATCH**-0.5
        match = match + self.presence(cells).flatten(2).float() + _agreement(asked, appearance.flatten(2).float())
        order = F.softplus(query[..., MATCH:].float() - 3.0)
        match = match - _beside(match, order)
        share = torch.softmax(match, dim=2)
        rays = self._rays(cells, ahead, motion)
        beams = share @ rays.transpose(1, 2).flatten(2)
        return Pointed(match, share, asked, rays, beams.unflatten(2, (2, BEAMS)))

    def _rays(self, cells: Tensor, ahead: Tensor, motion: Tensor) -> Tensor:
        """Shares (B, 2, cells, BEAMS) of the beams that reach each cell."""
        # Walls run along the street: what stands where in range, whatever the azimuth, tells where they are.
        street = self.street(self.across(cells).amax(dim=3).flatten(1))[:, :, None, None]
        rays = self.aim(torch.cat([cells + street, ahead], dim=1)).flatten(2).float().unflatten(1, (2, RAYS, 3))
        centre, log_width, weight = rays.unbind(dim=3)
        wide = BEAMS / CELLS[1]
        column = ((torch.arange(CELLS[1], device=cells.device) + 0.5) * wide).repeat(CELLS[0])
        drift = torch.stack([torch.zeros_like(motion[:, 1]), self.ahead * motion[:, 1]], dim=1).flatten(2).float() * wide
        sight = column + drift + centre[:, :, 0] * wide
        aside = torch.cat([torch.zeros_like(centre[:, :, :1]), centre[:, :, 1:] * FARTHEST], dim=2)
        width = FINEST + log_width.clamp(-4, 4).exp()
        away = torch.arange(BEAMS, device=cells.device) + 0.5 - (sight[:, :, None] + aside)[..., None]
        spread = torch.softmax(-(away / width[..., None]).square() / 2, dim=4)
        return (torch.softmax(weight, dim=2)[..., None] * spread).sum(dim=2)


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

"""The pointer: which of the vehicles on the street an instruction means, and so where the beam goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import COLOURS, LANES, OBJECT_LABELS, ORDERS
from mmsense_ros.model.rays import BEAMS, Rays, Ways
from mmsense_ros.model.street import Facade
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, EMBEDDING

MATCH = 32  #: width in which what is asked and what is there are compared freely
KINDS = (len(OBJECT_LABELS), len(COLOURS))  #: classes, colours
NAMED = (*KINDS, len(LANES))  #: what a vehicle in a cell can be named by
ASKED = (*NAMED, len(ORDERS))  #: what words can say
READ = 256  #: width in which words are read
DOUBT = 0.02  #: chance that a cell's class, colour or lane is read wrongly
LIKELY = 16  #: cells that beams are pointed at, the likeliest ones


class Appearance(nn.Sequential):
    """Logits (B, classes + colours, *CELLS) of what would be there if a vehicle were."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CELL_CHANNELS, sum(KINDS), 1)
        )


@dataclass
class Shown:
    """What the pointer goes by: `cells` (B, CELL_CHANNELS, *CELLS) and `ahead` (B, AHEAD, *CELLS), what lies before them; logits
    `presence` (B, 1, *CELLS) of vehicles, `appearance` (B, classes + colours, *CELLS) and `lanes` (B, LANES, *CELLS); `place` and
    `motion` (B, 2, *CELLS) [cells, cells/s]; and the facades."""

    cells: Tensor
    ahead: Tensor
    presence: Tensor
    appearance: Tensor
    lanes: Tensor
    place: Tensor
    motion: Tensor
    facade: Facade


@dataclass
class Pointed:
    """`match` (B, K, cells) logits of the cells; `share` their softmax; `asked` (B, K, sum(ASKED) + 4) logits of what the words say about
    class, colour, lane and order, the last of each meaning "any"; `rays`, how cells are reached;
    `beams` (B, K, 2, BEAMS) shares of the beams, now and ahead, that they come to."""

    match: Tensor
    share: Tensor
    asked: Tensor
    rays: Rays
    beams: Tensor


class Pointer(nn.Module):
    """Cell c is meant with probability softmax_c(presence_c + sum_a log P_a(c) + <q, k_c> - cost_c).

    P_a(c) = sum_v P(asked v) P(v at c) for a in class, colour and lane, so that a combination never heard of is understood when its
    words are (modules by word: Andreas et al., "Neural module networks", 2016); <q, k_c> is free for whatever else is said. left_c
    and right_c count the matching vehicles to either side: cost_c is what being wrongly placed among them costs, |left_c - n| for
    the n-th (from 0) from the left and right_c for the rightmost. A beam's share is that with which it reaches the LIKELY cells
    (rays.py), each times its probability.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(CELL_CHANNELS, MATCH, 1)
        self.query = nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"), nn.Linear(width, MATCH))
        # From the sentence itself: the meaning that tasks share has no use for what tells left from right.
        self.asked = nn.Sequential(
            nn.Linear(EMBEDDING, READ), nn.GELU(approximate="tanh"), nn.Linear(READ, sum(ASKED) + len(ASKED))
        )
        self.cost = nn.Parameter(torch.tensor(3.0))
        self.ways = Ways()

    def forward(self, sentence: Tensor, meaning: Tensor, shown: Shown) -> Pointed:
        """What `sentence` (B, K, EMBEDDING), unit length, and its `meaning` (B, K, d) mean of what is shown."""
        asked = self.asked(sentence * EMBEDDING**0.5).float()
        match = (self.query(meaning) @ self.key(shown.cells).flatten(2)).float() * MATCH**-0.5
        there = torch.cat([shown.appearance.flatten(2), shown.lanes.flatten(2)], dim=1).float()
        match = match + shown.presence.flatten(2).float() + _agreement(asked, there)
        match = match - F.softplus(self.cost) * _misplaced(match, torch.softmax(asked[..., -len(ORDERS) - 1 :], dim=2))
        share = torch.softmax(match, dim=2)
        rays = self.ways(shown.cells, shown.ahead, shown.place, shown.motion, shown.facade)
        likely, cell = share.topk(LIKELY, dim=2)
        reached = rays.of(cell.flatten(1)).unflatten(1, cell.shape[1:])
        beams = (likely / likely.sum(dim=2, keepdim=True))[:, :, None] @ reached.flatten(3)
        return Pointed(match, share, asked, rays, beams.squeeze(2).unflatten(2, (2, BEAMS)))


def _agreement(asked: Tensor, there: Tensor) -> Tensor:
    """sum_a log P_a(c), (B, K, cells), from logits `asked` (B, K, ...) and `there` (B, sum(NAMED), cells)."""
    total, heard, seen = 0.0, 0, 0
    for kinds in NAMED:
        wanted = torch.softmax(asked[..., heard : heard + kinds + 1], dim=2)
        shown = torch.softmax(there[:, seen : seen + kinds], dim=1)
        total = total + (wanted[..., -1:] + wanted[..., :-1] @ shown + DOUBT).log()
        heard, seen = heard + kinds + 1, seen + kinds
    return total


def _misplaced(match: Tensor, order: Tensor) -> Tensor:
    """How many matching vehicles too many or too few are to a cell's sides, (B, K, cells), for `order` (B, K, ORDERS + 1) shares."""
    likely = (match - match.amax(dim=2, keepdim=True)).exp().unflatten(2, CELLS).sum(dim=2)
    column = torch.arange(CELLS[1], device=match.device)
    # A vehicle on the border of two columns is not beside itself.
    before = (column[:, None] < column - 1).to(likely.dtype)
    left, right = likely @ before, likely @ before.T
    cost = order[..., -2:-1] * right
    for rank in range(len(ORDERS) - 1):
        cost = cost + order[..., rank : rank + 1] * (left - rank).abs()
    return cost.repeat(1, 1, CELLS[0])

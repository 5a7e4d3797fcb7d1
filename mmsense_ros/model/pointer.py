"""The pointer: which of the vehicles on the street an instruction means, and so where the beam goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import COLOURS, LANES, OBJECT_LABELS, ORDERS
from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.street import Facade, mirrored
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, EMBEDDING

BEAMS = 64
MATCH = 32  #: width in which what is asked and what is there are compared freely
KINDS = (len(OBJECT_LABELS), len(COLOURS))  #: classes, colours
NAMED = (*KINDS, len(LANES))  #: what a vehicle in a cell can be named by
ASKED = (*NAMED, len(ORDERS))  #: what words can say
READ = 256  #: width in which words are read
DOUBT = 0.02  #: chance that a cell's class, colour or lane is read wrongly
FINEST = 0.3  #: [beams] the sharpest a beam prediction gets
RAYS = 3  #: ways from the array to a cell: line of sight, the facades' mirror image, and another reflection
FARTHEST = 12.0  #: [beams] one unit of that one's distance from the line of sight
LIKELY = 16  #: cells that beams are pointed at, the likeliest ones
NUDGE = 2.0  #: [beams] one unit of what is corrected of the others


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
class Rays:
    """How each cell is reached, now and ahead, (B, cells, 2, RAYS) each: `centre` and `width` [beams], `weight` logits."""

    centre: Tensor
    width: Tensor
    weight: Tensor

    def of(self, snapshot: Tensor, cell: Tensor) -> Tensor:
        """Shares (..., 2, BEAMS) of the beams that reach the cells `cell` (...) of `snapshot` (...)."""
        centre, width, weight = (part[snapshot, cell] for part in (self.centre, self.width, self.weight))
        away = (torch.arange(BEAMS, device=cell.device) + 0.5 - centre[..., None]) / width[..., None]
        spread = torch.softmax(away.square() / -2, dim=-1)
        return (torch.softmax(weight, dim=-1)[..., None, :] @ spread).squeeze(-2)


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
    words are; <q, k_c> is free for whatever else is said. left_c and right_c count the matching vehicles to either side: cost_c is
    what being wrongly placed among them costs, |left_c - n| for the n-th (from 0) from the left and right_c for the rightmost.
    Beam k's share is sum_c p_c sum_i w_ci N(k; centre_ci, width_ci) over the LIKELY cells and their RAYS; now, and ahead, by when c's motion has
    carried it on.
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
        self.ahead = nn.Parameter(torch.tensor(0.5))  #: [s] to the horizon
        self.aim = nn.Sequential(
            nn.Conv2d(CELL_CHANNELS + AHEAD + 2, CELL_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=(2, 4), dilation=(2, 4)),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, 2 * RAYS * 3, 1),
        )  #: centre, log width and weight of each ray, now and ahead
        nn.init.zeros_(self.aim[4].weight)
        with torch.no_grad():
            usual = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.5, 1.0, 0.0]])
            self.aim[4].bias.copy_(usual.repeat(2, 1, 1).flatten())

    def forward(self, sentence: Tensor, meaning: Tensor, shown: Shown) -> Pointed:
        """What `sentence` (B, K, EMBEDDING), unit length, and its `meaning` (B, K, d) mean of what is shown."""
        asked = self.asked(sentence * EMBEDDING**0.5).float()
        match = (self.query(meaning) @ self.key(shown.cells).flatten(2)).float() * MATCH**-0.5
        there = torch.cat([shown.appearance.flatten(2), shown.lanes.flatten(2)], dim=1).float()
        match = match + shown.presence.flatten(2).float() + _agreement(asked, there)
        match = match - F.softplus(self.cost) * _misplaced(match, torch.softmax(asked[..., -len(ORDERS) - 1 :], dim=2))
        share = torch.softmax(match, dim=2)
        rays = self._rays(shown)
        likely, cell = share.topk(LIKELY, dim=2)
        snapshot = torch.arange(len(cell), device=cell.device)[:, None, None].expand_as(cell)
        beams = (likely / likely.sum(dim=2, keepdim=True))[:, :, None] @ rays.of(snapshot, cell).flatten(3)
        return Pointed(match, share, asked, rays, beams.squeeze(2).unflatten(2, (2, BEAMS)))

    def _rays(self, shown: Shown) -> Rays:
        """How each cell is reached."""
        columns = torch.arange(CELLS[1], device=shown.cells.device) + 0.5
        sight, image = [], []  # columns (B, *CELLS), now and ahead
        for seconds in (0.0, self.ahead):
            place = shown.place.float() + seconds * shown.motion.float()
            sight.append(columns + place[:, 1])
            image.append(mirrored(place, shown.facade))
        turned = torch.stack([image[0] - sight[0], (image[0] - columns).abs() / CELLS[1]], dim=1).to(shown.cells.dtype)
        rays = self.aim(torch.cat([shown.cells, shown.ahead, turned], dim=1)).flatten(2).float().unflatten(1, (2, RAYS, 3))
        centre, log_width, weight = rays.unbind(dim=3)
        wide = BEAMS / CELLS[1]
        sights, images = (torch.stack(two, dim=1).flatten(2) * wide for two in (sight, image))
        aside = centre * torch.tensor([NUDGE, NUDGE, FARTHEST], device=centre.device)[:, None]
        aim = torch.stack([sights, images, sights], dim=2) + aside
        width = FINEST + log_width.clamp(-4, 4).exp()
        return Rays(*(part.permute(0, 3, 1, 2) for part in (aim, width, weight)))


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

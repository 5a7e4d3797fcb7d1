"""A closer look at people: once it is known where somebody is, what lies around that very place tells what they do.

A cell tells of 4 m by two beams at once. The head of people says where in it somebody stands, so this looks there again, at places of
1 m by one beam, as they are now and as they are remembered (detail.py):

    h = conv(conv(now, trace_1, ..., trace_SLOTS; their ages)),    activity_c = MLP(h at AROUND places about the one of c, what c says).

To find things in one stage, and in a second to read what lies where they were found, is Faster R-CNN's (Ren et al., 2015), and
CenterPoint's with features seen from above (Yin et al., CVPR 2021). As there, the first stage is learned before the second
(training/closely.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import PEOPLE_BOX
from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.detail import FINE, FINE_CHANNELS, FOLD, TRACE_CHANNELS, Moments, at_times
from mmsense_ros.model.tokenizers import CELLS

CLOSE_CHANNELS = 32
STEP = 2  #: places from one that is read to the next: the convolutions have seen those between
AROUND = 5, 9  #: rows and columns of places that are read
MARGIN = STEP * (AROUND[0] // 2), STEP * (AROUND[1] // 2)  #: rows and columns of places that they reach to each side
SEES = 2  #: places to each side of one that its features come from
REACH = MARGIN[0] + SEES, MARGIN[1] + SEES
VIEW = 2 * REACH[0] + 1, 2 * REACH[1] + 1  #: rows and columns of places that are looked at of somebody


@dataclass
class Found:
    """What the closer look goes by: the `moments`; the outputs `people` (B, cells, 4), for where they are, and `activity` (B, cells,
    activities), what the first stage takes them to do; and `motion` (B, 2, *CELLS) [cells/s]."""

    moments: Moments
    people: Tensor
    activity: Tensor
    motion: Tensor


@dataclass
class Views:
    """What is looked at of P people: the `places` around each (P, channels, *VIEW), and which of them there are, `inside` (P, 1, *VIEW)
    0 or 1; `times` (P, 2 slots) as of `Moments`; and what is `told` of them (P, activities + 4)."""

    places: Tensor
    inside: Tensor
    times: Tensor
    told: Tensor


class Closer(nn.Module):
    """What people in all cells do, said anew by what lies around the place where they are."""

    def __init__(self, slots: int, activities: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(FINE_CHANNELS + slots * TRACE_CHANNELS, CLOSE_CHANNELS, 3, padding=1)
        self.timed = nn.Sequential(nn.Linear(2 * slots, 32), nn.ReLU(), nn.Linear(32, 2 * CLOSE_CHANNELS))
        self.then = nn.Conv2d(CLOSE_CHANNELS, CLOSE_CHANNELS, 3, padding=1)
        self.read = nn.Linear(AROUND[0] * AROUND[1] * CLOSE_CHANNELS, 64)
        self.hear = nn.Linear(activities + 2 + 2, 64)
        self.head = nn.Linear(64, activities)
        rows, columns = (STEP * torch.arange(count) for count in AROUND)
        self.register_buffer("around", (rows[:, None] * (FINE[1] + 2 * MARGIN[1]) + columns).flatten(), persistent=False)

    def forward(self, found: Found) -> Tensor:
        """Logits (B, cells, activities)."""
        row, column, told = _told(found)
        features = F.pad(self._features(found.moments.places, found.moments.times), _both(MARGIN))
        table = features.flatten(2).transpose(1, 2)
        corner = row * features.shape[3] + column + torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
        around = table.flatten(0, 1)[corner[..., None] + self.around]
        return self._say(around, told)

    def of(self, views: Views) -> Tensor:
        """The same of people apart from their snapshots: logits (P, activities)."""
        features = self._features(views.places, views.times, views.inside) * views.inside
        around = features[:, :, SEES:-SEES:STEP, SEES:-SEES:STEP]
        return self._say(around.flatten(2).transpose(1, 2), views.told)

    def _features(self, places: Tensor, times: Tensor, inside: Tensor | None = None) -> Tensor:
        """Of places (B, CLOSE_CHANNELS, ...), of which only those `inside` are in view."""
        features = torch.relu(at_times(self.first(places), self.timed(times)))
        if inside is not None:  # what a convolution pads with is 0
            features = features * inside
        return torch.relu(self.then(features))

    def _say(self, around: Tensor, told: Tensor) -> Tensor:
        """Logits from the features (..., places, CLOSE_CHANNELS) around people and what is told of them."""
        heard = self.read(around.flatten(-2)) + self.hear(told.to(around.dtype))
        return self.head(F.gelu(heard, approximate="tanh")).float()


def views(found: Found, batch: Tensor, cell: Tensor) -> Views:
    """What is looked at of the people in the cells `cell` (P,) of the snapshots `batch` (P,)."""
    row, column, told = _told(found)
    places = F.pad(found.moments.places, _both(REACH))
    inside = F.pad(torch.ones_like(found.moments.places[:1, :1]), _both(REACH))
    corners = list(zip(batch.tolist(), row[batch, cell].tolist(), column[batch, cell].tolist()))
    cut = [places[one, :, up : up + VIEW[0], left : left + VIEW[1]] for one, up, left in corners]
    there = [inside[0, :, up : up + VIEW[0], left : left + VIEW[1]] for _, up, left in corners]
    return Views(torch.stack(cut), torch.stack(there), found.moments.times[batch], told[batch, cell])


def _told(found: Found) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns (B, cells) of the places where people are, and what is told of them (B, cells, activities + 4)."""
    row, column, within = nearest(found.people[..., PEOPLE_BOX][..., :2].float())
    moved = found.motion.flatten(2).transpose(1, 2) / MOTION_UNIT
    return row, column, torch.cat([found.activity.float(), moved.float(), within], dim=2)


def _both(margin: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding by rows and columns on both sides, as F.pad takes it."""
    return margin[1], margin[1], margin[0], margin[0]


def nearest(offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns (B, cells) of the places that things at `offset` (B, cells, 2) [cells] from their cells' middles are in, never
    outside their cells, and how far they are from those places' middles, (B, cells, 2) [places]."""
    cell = torch.arange(CELLS[0] * CELLS[1], device=offset.device)
    parts = []
    for middle, away, fold in zip((cell // CELLS[1], cell % CELLS[1]), offset.unbind(dim=2), FOLD):
        within = ((away + 0.5) * fold).clamp(0.0, fold - 0.001)
        parts.append((middle * fold + within.long(), within - within.floor() - 0.5))
    (row, up), (column, aside) = parts
    return row, column, torch.stack([up, aside], dim=2)

"""A closer look at people: once it is known where somebody is, what lies around that very place tells what they do.

A cell tells of 4 m by two beams at once. The head of people says where in it somebody stands, so this looks there again, at places of
1 m by one beam, as they are now and as they are remembered (detail.py):

    h = conv(conv(now, trace_1, ..., trace_SLOTS; their ages)),    activity_c = MLP(h at AROUND places about the one of c, what c says).

What people did a moment ago tells most of what they do now. So what is said of them is remembered, at the places where they were,

    kept_p = P(somebody in c) softmax(activity_c) at the place p of c, 0 elsewhere,

and belongs to the trace of its moment: who it was said of is for the convolutions to see.

To find things in one stage, and in a second to read what lies where they were found, is Faster R-CNN's (Ren et al., 2015), and
CenterPoint's with features seen from above (Yin et al., CVPR 2021). As there, the first stage can be learned before the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import PEOPLE_BOX
from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.detail import FINE, FINE_CHANNELS, FOLD, TRACE_CHANNELS, Moments, at_times, unfold
from mmsense_ros.model.memory import turns
from mmsense_ros.model.tokenizers import CELLS

CLOSE_CHANNELS = 32
STEP = 2  #: places from one that is read to the next: the convolutions have seen those between
AROUND = 5, 9  #: rows and columns of places that are read
MARGIN = STEP * (AROUND[0] // 2), STEP * (AROUND[1] // 2)  #: rows and columns of places that they reach to each side


@dataclass
class Found:
    """What a closer look goes by: the `moments`; the outputs `people` (B, cells, 4), for where they are, and `activity` (B, cells,
    activities), what the first stage takes them to do; and `motion` (B, 2, *CELLS) [cells/s]."""

    moments: Moments
    people: Tensor
    activity: Tensor
    motion: Tensor

    def of(self, rows: Tensor) -> Found:
        """Some of the B snapshots."""
        moments = Moments(self.moments.places[rows], self.moments.times[rows])
        return Found(moments, self.people[rows], self.activity[rows], self.motion[rows])


class Closer(nn.Module):
    """What people in all cells do, said anew by what lies around the place where they are. `kept` is how many channels of a cell it
    wants to have remembered."""

    def __init__(self, slots: int, activities: int) -> None:
        super().__init__()
        self.slots, self.kept = slots, activities * FOLD[0] * FOLD[1]
        channels = FINE_CHANNELS + slots * (TRACE_CHANNELS + activities)
        self.first = nn.Conv2d(channels, CLOSE_CHANNELS, 3, padding=1)
        self.timed = nn.Sequential(nn.Linear(2 * slots, 32), nn.ReLU(), nn.Linear(32, 2 * CLOSE_CHANNELS))
        self.then = nn.Conv2d(CLOSE_CHANNELS, CLOSE_CHANNELS, 3, padding=1)
        self.read = nn.Linear(AROUND[0] * AROUND[1] * CLOSE_CHANNELS, 64)
        self.hear = nn.Linear(activities + 2 + 2, 64)
        self.head = nn.Linear(64, activities)
        rows, columns = (STEP * torch.arange(count) for count in AROUND)
        self.register_buffer("around", (rows[:, None] * (FINE[1] + 2 * MARGIN[1]) + columns).flatten(), persistent=False)

    def forward(self, found: Found, said: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, cells, activities), and what of them is to be remembered, (B, kept, *CELLS); `said` (B, slots, kept, *CELLS) is
        what was."""
        row, column, within = nearest(found.people[..., PEOPLE_BOX][..., :2].float())
        around = self._around(found.moments, said, row, column)
        moved = found.motion.flatten(2).transpose(1, 2) / MOTION_UNIT
        told = torch.cat([found.activity.float(), moved.float(), within], dim=2).to(around.dtype)
        logits = self.head(F.gelu(self.read(around) + self.hear(told), approximate="tanh")).float()
        sure = torch.softmax(logits, dim=2) * torch.sigmoid(found.people[..., :1].float())
        place = row % FOLD[0] * FOLD[1] + column % FOLD[1]
        there = (place[..., None] == torch.arange(FOLD[0] * FOLD[1], device=place.device)).to(sure.dtype)
        kept = (sure[..., None] * there[:, :, None]).flatten(2)
        return logits, kept.transpose(1, 2).unflatten(2, CELLS)

    def _around(self, moments: Moments, said: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Features of the places around those at `row` and `column` (B, cells), (B, cells, places * CLOSE_CHANNELS)."""
        there = moments.times[:, : self.slots, None, None, None]
        places = torch.cat([moments.places, unfold(said.to(there.dtype) * there)], dim=1)
        features = torch.relu(at_times(self.first(places), self.timed(moments.times)))
        features = F.pad(torch.relu(self.then(features)), (MARGIN[1], MARGIN[1], MARGIN[0], MARGIN[0]))
        table = features.flatten(2).transpose(1, 2)
        corner = row * features.shape[3] + column + torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
        return table.flatten(0, 1)[corner[..., None] + self.around].flatten(2)

    def in_turn(self, found: Found, earlier: Tensor, ages: Tensor) -> Tensor:
        """Logits of snapshots that remember each other, `earlier` and `ages` as `Memory.in_turn` takes them."""
        order = turns(earlier, ages)
        said = found.people.new_zeros(len(found.people), self.kept, *CELLS, dtype=torch.float32)
        parts = []
        for rows in order:
            logits, kept = self(found.of(rows), said[earlier[rows]])
            said = said.index_copy(0, rows, kept)
            parts.append(logits)
        return torch.cat(parts)[torch.cat(order).argsort()]


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

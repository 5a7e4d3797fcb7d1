"""What is smaller than a cell, such as a person, and how it moves: radar and LiDAR in steps of 1 m and one beam, over time.

Someone who walks needs seconds to leave a cell; here it shows within one. So a few channels of every place go into the memory
(memory.py) and stay where they were, and convolutions look at this moment and at all that is remembered together:

    fine = look(radar, lidar),    trace = tanh(W fine), which is kept,
    f = conv(fine, trace_1, ..., trace_SLOTS; their ages),    cell_c = V sum_p softmax_p(score_p) f_p,

p being the places that lie in cell c: it tells of that place in it that has most to tell. Maps of several moments, stacked as
channels, are how Luo et al. (Fast and Furious, CVPR 2018) and Wu et al. (MotionNet, CVPR 2020) read motion from LiDAR seen from above.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, convolution

FINE = (64, 64)  #: rows and columns
FINE_CHANNELS = 32  #: channels of a place as it is seen now
TRACE_CHANNELS = 8  #: of a place as it is remembered
FOUND_CHANNELS = 64  #: of a place with its past
FOLD = FINE[0] // CELLS[0], FINE[1] // CELLS[1]  #: rows and columns of places in a cell
TRACE = TRACE_CHANNELS * FOLD[0] * FOLD[1]  #: channels of cells that hold what is remembered


class Look(nn.Module):
    """Radar and LiDAR looked at together, place by place."""

    def __init__(self) -> None:
        super().__init__()
        # Doppler and power differ in scale.
        self.even = nn.ModuleList(nn.BatchNorm2d(3, affine=False) for _ in range(2))
        self.join = convolution(6, FINE_CHANNELS, (2, 1))

    def forward(self, radar: Tensor, lidar: Tensor, weights: list[Tensor]) -> Tensor:
        """(B, FINE_CHANNELS, *FINE) from polar maps (B, 3, rows, columns) and the gate's `weights` (B, 1, 1, 1) of each."""
        maps = [even(polar) * weight.to(polar.dtype) for even, polar, weight in zip(self.even, (radar, lidar), weights)]
        return self.join(torch.cat(maps, dim=1))


@dataclass
class Moments:
    """Now and all that is remembered, `places` (B, FINE_CHANNELS + SLOTS * TRACE_CHANNELS, *FINE), and when that was, `times` (B, 2 SLOTS): whether each slot
    holds anything, and its age as part of the memory's reach."""

    places: Tensor
    times: Tensor


class Traces(nn.Module):
    """What there is at each place and how it came there."""

    def __init__(self, slots: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.remember = nn.Conv2d(FINE_CHANNELS, TRACE_CHANNELS, 1)
        self.first = nn.Conv2d(FINE_CHANNELS + slots * TRACE_CHANNELS, FOUND_CHANNELS, 3, padding=1)
        self.timed = nn.Sequential(nn.Linear(2 * slots, 32), nn.ReLU(), nn.Linear(32, 2 * FOUND_CHANNELS))
        self.then = nn.ModuleList(nn.Conv2d(FOUND_CHANNELS, FOUND_CHANNELS, 3, padding=2, dilation=2) for _ in range(2))
        self.score = nn.Conv2d(FOUND_CHANNELS, 1, 1)
        self.tell = nn.Conv2d(FOUND_CHANNELS, CELL_CHANNELS, 1)

    def keep(self, fine: Tensor) -> Tensor:
        """What of `fine` (B, FINE_CHANNELS, *FINE) is remembered, (B, TRACE, *CELLS)."""
        return _in_cells(torch.tanh(self.remember(fine))).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def moments(self, fine: Tensor, traces: Tensor, ages: Tensor) -> Moments:
        """`fine` and `traces` (B, slots, TRACE, *CELLS), `ages` (B, slots) [s] old, -1 for none, place by place."""
        there = (ages >= 0).to(fine.dtype)
        past = _unfold(traces.to(fine.dtype) * there[:, :, None, None, None])
        age = (ages / self.reach).clamp(0, 2).to(fine.dtype) * there
        return Moments(torch.cat([fine, past], dim=1), torch.cat([there, age], dim=1))

    def forward(self, moments: Moments) -> Tensor:
        """What `moments` tell of the cells, (B, CELL_CHANNELS, *CELLS)."""
        found = torch.relu(at_times(self.first(moments.places), self.timed(moments.times)))
        for further in self.then:
            found = found + torch.relu(further(found))
        share = torch.softmax(_in_cells(self.score(found)).float(), dim=4).to(found.dtype)
        return self.tell((_in_cells(found) * share).sum(dim=4))


def at_times(features: Tensor, times: Tensor) -> Tensor:
    """`features` (B, n, rows, columns) of several moments as their `times` (B, 2 n) scale and shift them."""
    scale, shift = times[..., None, None].chunk(2, dim=1)
    return features * (1 + scale) + shift


def _in_cells(features: Tensor) -> Tensor:
    """`features` (B, n, *FINE) of the places in each cell, (B, n, *CELLS, places)."""
    return features.unflatten(3, (CELLS[1], FOLD[1])).unflatten(2, (CELLS[0], FOLD[0])).transpose(3, 4).flatten(4)


def _unfold(traces: Tensor) -> Tensor:
    """What `Traces.keep` folded into cells, of all slots, at its places: (B, slots * TRACE_CHANNELS, *FINE)."""
    places = traces.flatten(1, 2).unflatten(1, (-1, *FOLD))
    return places.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)

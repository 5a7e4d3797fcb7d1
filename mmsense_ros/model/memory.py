"""The memory: what the last snapshots looked like, at their true time offsets, in a block of fixed size.

An entry holds a few channels of every polar cell, made from its own snapshot alone, so that a window of any length costs one
entry a snapshot. The slots cover the past in growing steps: slot k keeps its entry until that is REACH[k] old and slot k - 1 has
one to pass on, so that at 30 snapshots a second they hold what is 0 to 0.5, 0.5 to 1, 1 to 2 and 2 to 4 seconds old.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, convolution

SLOTS = 4
ENTRY = 12  #: channels of an entry
REACH = (0.5, 1.0, 2.0, 4.0)  #: [s] how old a slot's entry gets


class Memory(nn.Module):
    """Writes entries, and reads them beside what is seen now."""

    def __init__(self) -> None:
        super().__init__()
        self.write = nn.Conv2d(CELL_CHANNELS, ENTRY, 1)
        self.compare = nn.Sequential(
            nn.Conv2d(SLOTS * (ENTRY + 2) + CELL_CHANNELS, CELL_CHANNELS, 1, bias=False),
            convolution(CELL_CHANNELS, CELL_CHANNELS),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(CELL_CHANNELS),
            nn.ReLU(),
        )

    def entry(self, cells: Tensor) -> Tensor:
        """Entry (B, ENTRY, *CELLS) of a snapshot's own `cells` (B, CELL_CHANNELS, *CELLS)."""
        return torch.tanh(self.write(cells))

    def forward(self, cells: Tensor, entries: Tensor, ages: Tensor) -> Tensor:
        """What the past adds, (B, CELL_CHANNELS, *CELLS).

        `entries` (B, SLOTS, ENTRY, *CELLS), newest first; `ages` (B, SLOTS) [s] before this snapshot, -1 for an empty slot.
        """
        there = (ages >= 0).to(cells.dtype)[:, :, None, None, None]
        age = (ages / REACH[-1]).clamp(0, 2).to(cells.dtype)[:, :, None, None, None] * there
        planes = torch.cat([entries.to(cells.dtype) * there, there.expand(-1, -1, 1, *CELLS), age.expand(-1, -1, 1, *CELLS)], dim=2)
        return self.compare(torch.cat([cells, planes.flatten(1, 2)], dim=1))


def remember(entry: Tensor, entries: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
    """Entries and ages (as `Memory.forward` takes them, ages from now on) after this snapshot's `entry` (B, ENTRY, *CELLS)."""
    passed = torch.cat([entry[:, None], entries[:, :-1]], dim=1)
    passed_ages = torch.cat([torch.zeros_like(ages[:, :1]), ages[:, :-1]], dim=1)
    old = (ages < 0) | (ages >= torch.tensor(REACH, device=ages.device))
    free = torch.stack([old[:, : slot + 1].all(dim=1) for slot in range(SLOTS)], dim=1)
    return torch.where(free[:, :, None, None, None], passed, entries), torch.where(free, passed_ages, ages)

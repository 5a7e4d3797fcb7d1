"""The memory: what the last snapshots looked like, carried along to where things are by now, in a block of fixed size.

An entry holds a few channels of every polar cell, and how fast what is there moves. Before it is compared with what is seen now,
each cell's content is moved on by its motion times the entry's true age: what has gone behind a bus meanwhile is still there. One
entry a snapshot is all that is kept, so that a window of any length costs the same. The slots cover the past in growing steps: slot
k keeps its entry until that is REACH[k] old and slot k - 1 has one to pass on, so that at 30 snapshots a second they hold what is
up to about 0.5, 1, 2 and 4 seconds old.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.pointer import KINDS
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

SLOTS = 4
CONTENT = 14  #: channels of an entry that say what is there
ENTRY = CONTENT + 2  #: and two that say how it moves, in rows and columns of cells per second
REACH = (0.5, 1.0, 2.0, 4.0)  #: [s] how old a slot's entry gets


@dataclass
class Recollection:
    """What the memory adds to a batch of snapshots: `past` (B, CELL_CHANNELS, *CELLS), what it says about each cell; `kinds`
    (B, classes + colours, *CELLS), logits that it adds to what a vehicle there looks like; `motion` (B, 2, *CELLS) [rows/s, columns/s];
    the new `entry` (B, ENTRY, *CELLS) to remember."""

    past: Tensor
    kinds: Tensor
    motion: Tensor
    entry: Tensor


class Memory(nn.Module):
    """Writes entries, and reads them beside what is seen now."""

    def __init__(self) -> None:
        super().__init__()
        self.write = nn.Conv2d(CELL_CHANNELS, CONTENT, 1)
        # No batch norm: snapshots with and without a past come in batches of their own, whose statistics differ.
        self.compare = nn.Sequential(
            nn.Conv2d(SLOTS * (CONTENT + 2) + CELL_CHANNELS, CELL_CHANNELS, 1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=2, dilation=2),
        )
        self.move = nn.Sequential(nn.Conv2d(CELL_CHANNELS, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 1))
        self.tell = nn.Conv2d(CONTENT, sum(KINDS) + 2, 1)  #: entries tell class, colour, and where in its cell a thing is
        self.trust = nn.Conv2d(CELL_CHANNELS, SLOTS, 1)  #: and how far they are to be believed
        nn.init.constant_(self.trust.bias, -2.0)
        nn.init.zeros_(self.move[2].weight)
        nn.init.zeros_(self.move[2].bias)

    def forward(self, cells: Tensor, entries: Tensor, ages: Tensor) -> Recollection:
        """`cells` (B, CELL_CHANNELS, *CELLS) as this moment's sensors show them; `entries` (B, SLOTS, ENTRY, *CELLS), newest first;
        `ages` (B, SLOTS) [s] before this snapshot, -1 for an empty slot."""
        there = (ages >= 0).to(cells.dtype)[:, :, None, None, None]
        age = (ages / REACH[-1]).clamp(0, 2).to(cells.dtype)[:, :, None, None, None] * there
        carried = carry(entries, ages.clamp(min=0), cells.dtype) * there
        planes = torch.cat([carried, there.expand(-1, -1, 1, *CELLS), age.expand(-1, -1, 1, *CELLS)], dim=2)
        past = self.compare(torch.cat([cells, planes.flatten(1, 2)], dim=1))
        trust = torch.sigmoid(self.trust(past)) * there[:, :, 0]
        told = self.tell(carried.flatten(0, 1))[:, : sum(KINDS)].unflatten(0, carried.shape[:2])
        kinds = (told * trust[:, :, None]).sum(dim=1)
        motion = self.move(cells + past).float() * MOTION_UNIT
        content = torch.tanh(self.write(cells)).float()
        return Recollection(past, kinds, motion, torch.cat([content, motion], dim=1))

    def in_turn(self, cells: Tensor, earlier: Tensor, ages: Tensor) -> Recollection:
        """The same for snapshots that remember each other: `earlier` (B, SLOTS) int64 says which, each before its own."""
        turns = _turns(earlier, ages)
        entries = cells.new_zeros(len(cells), ENTRY, *CELLS, dtype=torch.float32)
        parts = []
        for rows in turns:
            parts.append(self(cells[rows], entries[earlier[rows]], ages[rows]))
            entries = entries.index_copy(0, rows, parts[-1].entry)
        back = torch.cat(turns).argsort()
        joined = (torch.cat([getattr(part, name) for part in parts])[back] for name in ("past", "kinds", "motion"))
        return Recollection(*joined, entries)


def carry(entries: Tensor, ages: Tensor, dtype: torch.dtype) -> Tensor:
    """Content (B, SLOTS, CONTENT, *CELLS) of `entries`, each cell of it moved on for `ages` (B, SLOTS) [s], in `dtype`.

    What moves by s cells gives max(0, 1 - |n' - n - s|) of itself to place n', along range as along azimuth; what leaves the view
    is lost.
    """
    content = entries[:, :, :CONTENT].flatten(3).to(dtype)
    rows, columns = (entries[:, :, CONTENT:].float() * ages[:, :, None, None, None]).unbind(dim=2)
    along_range = _places(rows, 2).transpose(2, 3).to(dtype)
    along_azimuth = _places(columns, 3).to(dtype)
    moved = (content[:, :, :, None] * along_range[:, :, None]).flatten(2, 3) @ along_azimuth
    return moved.unflatten(2, (CONTENT, CELLS[0]))


def _places(shift: Tensor, axis: int) -> Tensor:
    """Weights (B, SLOTS, cells, n) with which cells that move by `shift` (B, SLOTS, *CELLS) come to lie at the n places of `axis`."""
    place = torch.arange(shift.shape[axis], device=shift.device, dtype=shift.dtype)
    start = place[:, None] if axis == 2 else place
    return F.relu(1 - (place - (start + shift).flatten(2)[..., None]).abs())


def _turns(earlier: Tensor, ages: Tensor) -> list[Tensor]:
    """Rows that can be answered together, in an order in which each comes after all it remembers."""
    turn: list[int] = []
    for places, known in zip(earlier.tolist(), (ages >= 0).tolist()):
        turn.append(1 + max((turn[place] for place, there in zip(places, known) if there), default=-1))
    turns = torch.tensor(turn, device=earlier.device)
    return [torch.nonzero(turns == number)[:, 0] for number in range(max(turn) + 1)]


def remember(entry: Tensor, entries: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
    """Entries and ages (as `Memory.forward` takes them, ages from now on) after this snapshot's `entry` (B, ENTRY, *CELLS)."""
    passed = torch.cat([entry[:, None], entries[:, :-1]], dim=1)
    passed_ages = torch.cat([torch.zeros_like(ages[:, :1]), ages[:, :-1]], dim=1)
    old = (ages < 0) | (ages >= torch.tensor(REACH, device=ages.device))
    free = torch.stack([old[:, : slot + 1].all(dim=1) for slot in range(SLOTS)], dim=1)
    return torch.where(free[:, :, None, None, None], passed, entries), torch.where(free, passed_ages, ages)

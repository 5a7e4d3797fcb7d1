"""The memory: what the last snapshots looked like, carried along to where things are by now, in a block of fixed size.

An entry holds a few channels of every polar cell, how fast what is there moves, and what lay at each place in it. Before it is compared
with what is seen now, each cell's content goes straight on (polar.py) for the entry's true age: what has gone behind a bus meanwhile is
still there. What lay at each place stays where it was: how that differs from now tells of motion (detail.py). One entry a snapshot is all
that is kept, so that a window of any length costs the same. The slots cover the past in growing steps: slot k keeps its entry until that
is REACH[k] old and slot k - 1 has one to pass on, so that at 30 snapshots a second they hold what is up to about 0.5, 1, 2 and 4 seconds
old.

How things move is told by where they were. A cell compares its content y with an entry's, carried to now, in a window of cells around,

    P(d) = softmax_d(<y_c, carried_{c+d}> + usual_d),    moved = place_c - sum_d P(d) (d + place_{c+d}),

`place` being where in its cell a thing is. The motion that the thing has by then, plus moved / max(age, SOONEST), is one opinion; what the
entry has come to hold at c itself goes straight on, another, for what is hidden now; what this snapshot shows (Doppler, which way it
faces), a third. A softmax over the opinions of all slots weighs them. Soft matching of local correlations is FlowNet's (Dosovitskiy et al.,
2015), the soft argmax GC-Net's (Kendall et al., 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.detail import TRACE, Moments, Traces
from mmsense_ros.model.pointer import KINDS
from mmsense_ros.model.polar import onward
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

SLOTS = 4
CONTENT = 14  #: channels of an entry that say what is there
MOTION = slice(CONTENT, CONTENT + 2)  #: those that say how it moves, in rows and columns of cells per second
ENTRY = CONTENT + 2 + TRACE  #: and those that hold what lay at each place in the cell (detail.py)
REACH = (0.5, 1.0, 2.0, 4.0)  #: [s] how old a slot's entry gets
WINDOW = 1, 4  #: rows and columns to each side in which a thing is looked for
PLACES = 2 * WINDOW[0] + 1, 2 * WINDOW[1] + 1  #: of a window, along range and azimuth
SOONEST = 0.5  #: [s] age below which having moved tells less of motion: places are not known exactly, and no younger entry is learned from
TOLD = sum(KINDS) + 3  #: what entries tell of each cell: class, colour, where in it a thing is (2), whether one is
FAINT = 1e-3  #: presence that a cell must have to say anything
UNKNOWN = 1e4  #: what is taken from the logit of an empty slot
MOVED = 7  #: channels of how an entry tells of motion: that of what must be here by now; that of what matches, and since; how well it does


@dataclass
class Recollection:
    """What the memory adds to a batch of snapshots: `past` (B, CELL_CHANNELS, *CELLS), what it and the traces say of each cell; `kinds`
    (B, classes + colours, *CELLS), logits that it adds to what a vehicle there looks like; `seen` and `motion` (B, 2, *CELLS) [rows/s,
    columns/s], how things move by this snapshot alone and by all opinions; the new `entry` (B, ENTRY, *CELLS) to remember; what lies at
    each place, and lay there, `moments`."""

    past: Tensor
    kinds: Tensor
    seen: Tensor
    motion: Tensor
    entry: Tensor
    moments: Moments


@dataclass
class Carried:
    """Where the content of each cell of the entries is by now: how far [cells] beyond each row (B, SLOTS, rows, cells) and column
    (B, SLOTS, cells, columns); `motion` (B, SLOTS, 2, cells) [cells/s], its own by now."""

    rows: Tensor
    columns: Tensor
    motion: Tensor


class Memory(nn.Module):
    """Writes entries, and reads them beside what is seen now."""

    def __init__(self) -> None:
        super().__init__()
        self.traces = Traces(SLOTS, REACH[-1])
        self.write = nn.Conv2d(CELL_CHANNELS, CONTENT, 1)
        # No batch norm: snapshots with and without a past come in batches of their own, whose statistics differ.
        self.compare = nn.Sequential(
            nn.Conv2d(SLOTS * (CONTENT + 2 + MOVED) + CELL_CHANNELS, CELL_CHANNELS, 1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=2, dilation=2),
        )
        rows, columns = (torch.arange(-reach, reach + 1.0).square() for reach in WINDOW)
        self.usual = nn.Parameter(-(rows[:, None] + columns).flatten() / 50)
        self.register_buffer("steps", _steps(), persistent=False)
        self.strict = nn.Parameter(torch.tensor(1.0))
        self.move = nn.Sequential(nn.Conv2d(CELL_CHANNELS, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 1))
        #: of motion as it is seen, as each entry has it of what must be here by now, and of what matches
        self.sure = nn.Conv2d(CELL_CHANNELS, 1 + 2 * SLOTS, 1)
        self.tell = nn.Conv2d(CONTENT, TOLD, 1)
        self.trust = nn.Conv2d(CELL_CHANNELS, SLOTS, 1)  #: and how far they are to be believed
        nn.init.constant_(self.trust.bias, -2.0)
        nn.init.zeros_(self.move[2].weight)
        nn.init.zeros_(self.move[2].bias)
        nn.init.zeros_(self.sure.weight)
        with torch.no_grad():
            self.sure.bias.copy_(torch.tensor([4.0] + [0.0] * 2 * SLOTS))

    def forward(self, cells: Tensor, fine: Tensor, entries: Tensor, ages: Tensor) -> Recollection:
        """`cells` (B, CELL_CHANNELS, *CELLS) and `fine` (detail.py) as this moment's sensors show them; `entries` (B, SLOTS, ENTRY,
        *CELLS), newest first; `ages` (B, SLOTS) [s] before this snapshot, -1 for an empty slot."""
        moments = self.traces.moments(fine, entries[:, :, MOTION.stop :], ages)
        traced = self.traces(moments)
        there = (ages >= 0).to(cells.dtype)[:, :, None, None, None]
        age = (ages / REACH[-1]).clamp(0, 2).to(cells.dtype)[:, :, None, None, None] * there
        where = carried_to(entries, ages.clamp(min=0))
        carried = carry(entries, where, cells.dtype) * there
        content = torch.tanh(self.write(cells))
        kept, found, since, like = self._match(content, carried, entries, where, ages)
        moved = torch.cat([kept, found, since.clamp(-4, 4), like], dim=2).to(cells.dtype) * there
        flags = torch.cat([there, age], dim=2).expand(-1, -1, -1, *CELLS)
        planes = torch.cat([carried, flags, moved], dim=2)
        past = self.compare(torch.cat([cells, planes.flatten(1, 2)], dim=1))
        trust = torch.sigmoid(self.trust(past)) * there[:, :, 0]
        told = self.tell(carried.flatten(0, 1))[:, : sum(KINDS)].unflatten(0, carried.shape[:2])
        kinds = (told * trust[:, :, None]).sum(dim=1)
        unknown = ((ages < 0) * UNKNOWN).repeat(1, 2)
        sure = torch.softmax(self.sure(past).float() - F.pad(unknown, (1, 0))[:, :, None, None], dim=1)
        seen = self.move(cells + traced + past).float()
        motions = torch.cat([seen[:, None], kept, found + since], dim=1)
        motion = (motions * sure[:, :, None]).sum(dim=1) * MOTION_UNIT
        entry = torch.cat([content.float(), motion, self.traces.keep(fine).float()], dim=1)
        return Recollection(traced + past, kinds, seen * MOTION_UNIT, motion, entry, moments)

    def _match(
        self, content: Tensor, carried: Tensor, entries: Tensor, where: Carried, ages: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `entries` tell of motion, (B, SLOTS, 2, *CELLS) [MOTION_UNIT] each: that of what must be in the cells by now; that of
        what is found around in `carried` (B, SLOTS, CONTENT, *CELLS) to be like `content` (B, CONTENT, *CELLS); how it moved since; and
        (B, SLOTS, 1, *CELLS) how like it is."""
        rows, columns = self.steps
        inside = columns.abs() <= WINDOW[1]
        place = (rows + WINDOW[0]) * PLACES[1] + (columns + WINDOW[1]).clamp(0, PLACES[1] - 1)
        usual = torch.where(inside, self.usual[place.long()], -UNKNOWN)
        like = (content[:, None].permute(0, 1, 3, 4, 2) @ _around(carried)).float()
        like = F.softplus(self.strict) * like + usual
        share = torch.softmax(like, dim=4)
        with torch.autocast(content.device.type, enabled=False):  # places need more than bfloat16's eight bits
            told = self.tell(entries[:, :, :CONTENT].flatten(0, 1))[:, sum(KINDS) :].unflatten(0, entries.shape[:2])
            things = carry_things(told[:, :, :2], torch.sigmoid(told[:, :, 2:]), where)
            found = (share @ _around(things).transpose(3, 4)).permute(0, 1, 4, 2, 3)
        away = torch.stack([(share * steps).sum(dim=4) for steps in (rows, columns)], dim=2)
        here = self.tell(content)[:, None, sum(KINDS) : sum(KINDS) + 2].float()
        since = (here - found[:, :, :2] - away) / ages.clamp(min=SOONEST)[:, :, None, None, None]
        moving = (motion / MOTION_UNIT for motion in (things[:, :, 2:], found[:, :, 2:], since))
        return *moving, (share * like).sum(dim=4)[:, :, None]

    def in_turn(self, cells: Tensor, fine: Tensor, earlier: Tensor, ages: Tensor) -> Recollection:
        """The same for snapshots that remember each other: `earlier` (B, SLOTS) int64 says which, each before its own."""
        turns = _turns(earlier, ages)
        entries = cells.new_zeros(len(cells), ENTRY, *CELLS, dtype=torch.float32)
        parts = []
        for rows in turns:
            parts.append(self(cells[rows], fine[rows], entries[earlier[rows]], ages[rows]))
            entries = entries.index_copy(0, rows, parts[-1].entry)
        back = torch.cat(turns).argsort()
        joined = [torch.cat([getattr(part, name) for part in parts])[back] for name in ("past", "kinds", "seen", "motion")]
        moments = (torch.cat([getattr(part.moments, name) for part in parts])[back] for name in ("places", "times"))
        return Recollection(*joined, entries, Moments(*moments))


def carried_to(entries: Tensor, ages: Tensor) -> Carried:
    """Where what `entries` (B, SLOTS, ENTRY, *CELLS) hold has come to lie, `ages` (B, SLOTS) [s] having gone by."""
    rows, columns = (torch.arange(count, device=ages.device, dtype=torch.float32) + 0.5 for count in CELLS)
    here = rows[:, None].expand(CELLS), columns.expand(CELLS)
    row, column, motion = (part.flatten(-2) for part in onward(*here, entries[:, :, MOTION].float(), ages[:, :, None, None]))
    return Carried(row[:, :, None] - rows[:, None], column[..., None] - columns, motion)


def carry(entries: Tensor, where: Carried, dtype: torch.dtype) -> Tensor:
    """Content (B, SLOTS, CONTENT, *CELLS) of `entries`, each cell of it carried `where` it is by now, in `dtype`.

    What comes to lie s cells from its own gives max(0, 1 - |n' - n - s|) of itself to cell n', along range as along azimuth; what
    leaves the view is lost.
    """
    rows, columns = (F.relu(1 - away.abs()).to(dtype) for away in (where.rows, where.columns))
    content = entries[:, :, :CONTENT].flatten(3).to(dtype)
    moved = (content[:, :, :, None] * rows[:, :, None]).flatten(2, 3) @ columns
    return moved.unflatten(2, (CONTENT, CELLS[0]))


def carry_things(place: Tensor, presence: Tensor, where: Carried) -> Tensor:
    """Where in each cell things are by now, and their motion (B, SLOTS, 4, *CELLS) [cells, cells/s]: those that entries tell of at
    `place` (B, SLOTS, 2, *CELLS) [cells] in theirs, `presence` (B, SLOTS, 1, *CELLS) 0..1, carried as in `carry`. Where several come
    to lie in a cell it is their mean, where none does, 0."""
    rows, columns, motion = where.rows, where.columns, where.motion
    row_share, column_share = F.relu(1 - rows.abs()), F.relu(1 - columns.abs())
    place, presence = place.flatten(3), presence.flatten(3)
    weight = presence * row_share
    along = [weight, weight * (place[:, :, :1] + rows), weight * motion[:, :, :1], weight * motion[:, :, 1:]]
    total, down, *moving = (torch.cat(along, dim=2) @ column_share).unflatten(2, (len(along), CELLS[0])).unbind(dim=2)
    aside = weight @ (column_share * (place[:, :, 1, :, None] + columns))
    return torch.stack([down, aside, *moving], dim=2) / (total[:, :, None] + FAINT)


def _around(features: Tensor) -> Tensor:
    """`features` (B, SLOTS, n, *CELLS) of all cells that are looked at from each row, (B, SLOTS, rows, n, m): its neighbours in range
    beside one another, each with the WINDOW's columns outside the view, which hold 0."""
    padded = F.pad(features, (WINDOW[1], WINDOW[1], WINDOW[0], WINDOW[0]))
    return torch.cat([padded[..., row : row + CELLS[0], :] for row in range(PLACES[0])], dim=4).transpose(2, 3)


def _steps() -> Tensor:
    """Rows and columns (2, columns, m) from a cell of each column to what `_around` holds."""
    rows = torch.arange(-WINDOW[0], WINDOW[0] + 1.0).repeat_interleave(CELLS[1] + 2 * WINDOW[1])
    columns = torch.arange(-WINDOW[1], CELLS[1] + WINDOW[1] + 0.0).repeat(PLACES[0])
    return torch.stack([rows.expand(CELLS[1], -1), columns - torch.arange(CELLS[1])[:, None]])


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

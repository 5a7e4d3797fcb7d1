"""The street: where its facades stand, which lane is where, and what is seen of it in the mirror that the facades are.

Facades across the street stand along a line: points p with p . n = D, n being the unit vector of azimuth a. Every cell votes for all
lines through it by a Hough transform (Duda and Hart, 1972): with e_c the evidence in cell c for a facade, at range r_c and azimuth z_c,

    score(a, D) = sum_c e_c max(0, 1 - |r_c cos(z_c - a) - D| / step)

and what is known of the line is the softmax over a grid of (a, D). From it follow lanes, which run along it, and reflections: what
stands at q is seen in it at q + 2 (D - q . n) n (image method; Allen and Berkley, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import LANES
from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.polar import CELL_ANGLE, CELL_DEPTH, HALF_VIEW, polar, position
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

HALVES = 2  #: a cell votes for its nearer and its farther half
ANGLES = torch.linspace(-45, 45, 19).deg2rad()  #: [rad] azimuths of facades that are thought of
DISTANCES = torch.linspace(6, 63, 20)  #: [m] and their distances
ACROSS = torch.linspace(4, 32, 15)  #: [m] marks across the street, from the array
BEHIND = torch.linspace(-2, 20, 12)  #: [m] and from the facades
MARKS = len(ACROSS) + len(BEHIND)


@dataclass
class Facade:
    """`score` (B, ANGLES, DISTANCES) logits of where the facades stand; `angle` (B,) [rad] and `distance` (B,) [m], their means."""

    score: Tensor
    angle: Tensor
    distance: Tensor

    @property
    def normal(self) -> tuple[Tensor, Tensor]:
        """x and y (B, 1, 1) of the unit vector across the street."""
        return self.angle.cos()[:, None, None], self.angle.sin()[:, None, None]


@dataclass
class Reflection:
    """Ways by the facades to the cells: `column` (B, *CELLS) in which each is seen in them, the last ones if outside the view; x and y
    (B, *CELLS) [m] of what is in it, `thing`, and of where the way `meets` the facade."""

    column: Tensor
    thing: tuple[Tensor, Tensor]
    meets: tuple[Tensor, Tensor]

    def point(self, part: float) -> tuple[Tensor, Tensor]:
        """Rows and columns (B, *CELLS) [cells] of the points `part` of the way from the facade to the things."""
        x, y = (start + part * (end - start) for start, end in zip(self.meets, self.thing))
        return polar(x, y)


class Street(nn.Module):
    """Finds the facades, where in its cell each vehicle is, and its lane."""

    def __init__(self) -> None:
        super().__init__()
        self.evidence = nn.Conv2d(CELL_CHANNELS, HALVES, 1)
        self.usual = nn.Parameter(torch.zeros(len(ANGLES), len(DISTANCES)))
        self.place = nn.Sequential(nn.Conv2d(CELL_CHANNELS, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 1))
        self.lane = nn.Sequential(
            nn.Conv2d(CELL_CHANNELS + 2 * MARKS + 2, CELL_CHANNELS, 1), nn.ReLU(), nn.Conv2d(CELL_CHANNELS, len(LANES), 1)
        )
        self.register_buffer("votes", _votes(), persistent=False)
        nn.init.zeros_(self.place[2].weight)
        nn.init.zeros_(self.place[2].bias)

    def facade(self, cells: Tensor) -> Facade:
        """What `cells` (B, CELL_CHANNELS, *CELLS) show of the facades."""
        evidence = F.softplus(self.evidence(cells).float()).flatten(1)
        score = (evidence @ self.votes).unflatten(1, self.usual.shape) + self.usual
        share = torch.softmax(score.flatten(1), dim=1).unflatten(1, self.usual.shape)
        # Sums and no products of matrices: those are what is rounded to int8.
        angle, distance = (
            (share.sum(dim=axis) * grid.to(share.device)).sum(dim=1) for axis, grid in ((2, ANGLES), (1, DISTANCES))
        )
        return Facade(score, angle, distance)

    def lanes(self, cells: Tensor, place: Tensor, motion: Tensor, presence: Tensor, facade: Facade) -> Tensor:
        """Logits (B, LANES, *CELLS) of the lane of a vehicle in each cell at `place` (B, 2, *CELLS) [cells] from its centre, moving by
        `motion` (B, 2, *CELLS) [cells/s]; `presence` (B, 1, *CELLS) logits say where there are vehicles, which tell where lanes are."""
        (x, y), (cos, sin) = position(place), facade.normal
        across = x * cos + y * sin
        marks = torch.cat([_marks(across, ACROSS), _marks(facade.distance[:, None, None] - across, BEHIND)], dim=1)
        there = torch.sigmoid(presence.float())
        used = torch.tanh((marks * there).sum(dim=(2, 3), keepdim=True)).expand_as(marks)
        return self.lane(torch.cat([cells, torch.cat([marks, used, motion / MOTION_UNIT], dim=1).to(cells.dtype)], dim=1))


def by_facade(place: Tensor, facade: Facade) -> Reflection:
    """How what is at `place` (as in `position`) is seen in the facades; what is in or behind them is its own image."""
    (x, y), (cos, sin) = position(place), facade.normal
    across, distance = x * cos + y * sin, facade.distance[:, None, None]
    beyond = 2 * (distance - across).clamp(min=0)
    image = x + beyond * cos, y + beyond * sin
    meets = distance / (across + beyond).clamp(min=1.0)
    return Reflection(polar(*image)[1].clamp(0, CELLS[1]), (x, y), (image[0] * meets, image[1] * meets))


def grid_shares(angle: Tensor, distance: Tensor) -> Tensor:
    """Shares (B, ANGLES, DISTANCES) of the grid's points around a line at `angle` (B,) [rad] and `distance` (B,) [m]: their mean is it."""
    parts = []
    for value, grid in ((angle, ANGLES), (distance, DISTANCES)):
        grid = grid.to(value.device)
        away = (value.clamp(grid[0].item(), grid[-1].item())[:, None] - grid) / (grid[1] - grid[0])
        parts.append(F.relu(1 - away.abs()))
    return parts[0][:, :, None] * parts[1][:, None]


def _votes() -> Tensor:
    """(HALVES * cells, ANGLES * DISTANCES): how near the middle of each half cell lies to each line, 0..1."""
    half = (torch.arange(HALVES)[:, None] + 0.5) / HALVES
    distance = ((torch.arange(CELLS[0]) + half) * CELL_DEPTH)[:, :, None, None]
    azimuth = (HALF_VIEW - (torch.arange(CELLS[1]) + 0.5) * CELL_ANGLE)[:, None]
    across = (distance * (azimuth - ANGLES).cos()).flatten(0, 2)
    step = DISTANCES[1] - DISTANCES[0]
    return F.relu(1 - (across[..., None] - DISTANCES).abs() / step).flatten(1)


def _marks(value: Tensor, grid: Tensor) -> Tensor:
    """How near `value` (B, *CELLS) is to each of `grid`, 0..1, (B, marks, *CELLS)."""
    grid = grid.to(value.device)
    return F.relu(1 - (value[:, None] - grid[:, None, None]).abs() / (grid[1] - grid[0]))

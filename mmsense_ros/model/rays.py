"""Rays: on which ways the array reaches what is in a cell, and so with which beams."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.street import Facade, at, by_facade
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

BEAMS = 64
FINEST = 0.3  #: [beams] the sharpest a beam prediction gets
RAYS = 3  #: ways from the array to a cell: line of sight, the facades' mirror image, and another reflection
FARTHEST = 12.0  #: [beams] one unit of that one's distance from the line of sight
NUDGE = 2.0  #: [beams] one unit of what is corrected of the others
SOLID = 10  #: channels of what there is in a cell that might stand in the way
LEGS = (0.0, 0.35, 0.7)  #: where a way by the facades is looked at, from the facade (0) to the cell (1)


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


class Ways(nn.Module):
    """Beam k reaches cell c with share sum_i w_ci N(k; centre_ci, width_ci) over the RAYS, now, and ahead, by when c's motion has carried
    what is there on.

    Which way is the strongest depends on what stands in it: before the cell itself; before the facade, where that shows the cell's
    mirror image, and whether there is a wall at all; and from there to the cell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.horizon = nn.Parameter(torch.tensor(0.5))  #: [s]
        self.solid = nn.Conv2d(CELL_CHANNELS, SOLID, 1)
        self.aim = nn.Sequential(
            nn.Conv2d(CELL_CHANNELS + AHEAD + 2 + AHEAD + len(LEGS) * SOLID, CELL_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, padding=(2, 4), dilation=(2, 4)),
            nn.ReLU(),
            nn.Conv2d(CELL_CHANNELS, 2 * RAYS * 3, 1),
        )  #: centre, log width and weight of each ray, now and ahead
        nn.init.zeros_(self.aim[4].weight)
        with torch.no_grad():
            usual = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.5, 1.0, 0.0]])
            self.aim[4].bias.copy_(usual.repeat(2, 1, 1).flatten())

    def forward(self, cells: Tensor, ahead: Tensor, place: Tensor, motion: Tensor, facade: Facade) -> Rays:
        """Rays to `cells` (B, CELL_CHANNELS, *CELLS), `ahead` (B, AHEAD, *CELLS) being what lies before them, `place` and `motion`
        (B, 2, *CELLS) [cells, cells/s] where in them things are and how they move."""
        columns = torch.arange(CELLS[1], device=cells.device) + 0.5
        places = [place.float() + seconds * motion.float() for seconds in (0.0, self.horizon)]
        sight = [columns + there[:, 1] for there in places]
        ways = [by_facade(there, facade) for there in places]
        turned = torch.stack([ways[0].column - sight[0], (ways[0].column - columns).abs() / CELLS[1]], dim=1)
        solid = self.solid(cells)
        first, *others = (ways[0].point(part) for part in LEGS)
        legs = [at(torch.cat([ahead, solid], dim=1), *first), *(at(solid, *point) for point in others)]
        rays = self.aim(torch.cat([cells, ahead, turned.to(cells.dtype), *legs], dim=1))
        centre, log_width, weight = rays.flatten(2).float().unflatten(1, (2, RAYS, 3)).unbind(dim=3)
        wide = BEAMS / CELLS[1]
        sights, images = (torch.stack(two, dim=1).flatten(2) * wide for two in (sight, [way.column for way in ways]))
        aside = centre * torch.tensor([NUDGE, NUDGE, FARTHEST], device=centre.device)[:, None]
        aim = torch.stack([sights, images, sights], dim=2) + aside
        width = FINEST + log_width.clamp(-4, 4).exp()
        return Rays(*(part.permute(0, 3, 1, 2) for part in (aim, width, weight)))

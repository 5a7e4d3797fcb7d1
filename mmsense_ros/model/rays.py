"""Rays: on which ways the array reaches what is in a cell, and so with which beams."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.polar import at, onward
from mmsense_ros.model.street import Facade, by_facade
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

BEAMS = 64
FINEST = 0.3  #: [beams] the sharpest a beam prediction gets
RAYS = 3  #: ways from the array to a cell: line of sight, the facades' mirror image, one that is free; besides those by other cells
FARTHEST = 12.0  #: [beams] one unit of that one's distance from the line of sight
NUDGE = 2.0  #: [beams] one unit of what is corrected of the others
SOLID = 10  #: channels of what there is in a cell that might stand in the way
USUAL_WAY = 30.0  #: [m]
LEGS = (0.0, 0.35, 0.7)  #: where a way by the facades is looked at, from the facade (0) to the cell (1)


@dataclass
class Rays:
    """How each cell is reached, now and ahead: `centre` and `width` [beams] and `weight`, logits, (B, 2, RAYS, cells); `other`
    (B, 2, 1, cells) logits of all that is beside. Large vehicles mirror others: `mirror` (B, cells) logits of how well what is in a cell
    does, `x` and `y` (B, 2, cells) [m] where it is, `towards` (B, 2, cells, BEAMS) the shares of the beams that reach it; `law` (4,)
    how that depends on distances (`Ways`)."""

    centre: Tensor
    width: Tensor
    weight: Tensor
    other: Tensor
    mirror: Tensor
    x: Tensor
    y: Tensor
    towards: Tensor
    law: Tensor

    def of(self, cell: Tensor) -> Tensor:
        """Shares (B, n, 2, BEAMS) of the beams that reach each snapshot's cells `cell` (B, n)."""
        snapshot = torch.arange(len(cell), device=cell.device)[:, None]

        def here(part: Tensor) -> Tensor:  # (B, n, 2, ...)
            return part.movedim(-1, 1)[snapshot, cell]

        spread = _spread(here(self.centre), here(self.width))
        x, y = here(self.x)[..., None] - self.x[:, None], here(self.y)[..., None] - self.y[:, None]
        mirrored = here(self.other) + self.mirror[:, None, None] - self._lost(_length(x, y))
        share = torch.softmax(torch.cat([here(self.weight), mirrored], dim=-1), dim=-1)
        direct = (share[..., None, :RAYS] @ spread).squeeze(-2)
        return direct + (share[..., RAYS:].transpose(1, 2) @ self.towards).transpose(1, 2)

    def _lost(self, between: Tensor) -> Tensor:
        """What of its logit a way by another cell loses, that being `between` (B, n, 2, cells) [m] away."""
        fall, nearest, farthest, sharp = self.law
        length = _length(self.x, self.y)[:, None] + between
        return (
            fall * (length / USUAL_WAY).log()
            + F.softplus(sharp * (between - farthest))
            + F.softplus(sharp * (nearest - between))
        )


class Ways(nn.Module):
    """Beam k reaches cell c with share sum_i w_ci N(k; centre_ci, width_ci), now, and ahead, by when motion has carried on what is there.

    i goes over the RAYS and over all other cells j, which mirror c: of those w_cj is proportional to exp(other_c + mirror_j - lost_cj),

        lost_cj = fall ln((r_j + d_cj) / USUAL_WAY) + softplus(s (d_cj - farthest)) + softplus(s (nearest - d_cj)),

    r_j being how far j is from the array and d_cj from c: the longer the way, the weaker (Friis), and what is next to c is c's own vehicle.
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
            nn.Conv2d(CELL_CHANNELS, 2 * (3 * RAYS + 1), 1),
        )  #: now and ahead, each ray's centre, log width and weight, and the weight of ways by other cells
        self.mirror = nn.Sequential(
            nn.Conv2d(CELL_CHANNELS + AHEAD, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 1)
        )  #: how well a cell mirrors, and the log width of the beams that it does so with
        self.law = nn.Parameter(torch.tensor([4.0, 3.0, 15.0, 2.0]))  #: fall, nearest and farthest [m], sharpness [1/m]
        nn.init.zeros_(self.aim[4].weight)
        nn.init.zeros_(self.mirror[2].weight)
        with torch.no_grad():
            usual = torch.tensor([0.0, 0.0, 0.5, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0])
            self.aim[4].bias.copy_(usual.repeat(2))
            self.mirror[2].bias.copy_(torch.tensor([-5.0, 0.0]))

    def forward(self, cells: Tensor, ahead: Tensor, place: Tensor, motion: Tensor, facade: Facade) -> Rays:
        """Rays to `cells` (B, CELL_CHANNELS, *CELLS), `ahead` (B, AHEAD, *CELLS) being what lies before them, `place` and `motion`
        (B, 2, *CELLS) [cells, cells/s] where in them things are and how they move."""
        rows, columns = (torch.arange(count, device=cells.device) + 0.5 for count in CELLS)
        here = torch.stack([rows[:, None].expand(CELLS), columns.expand(CELLS)])
        then = onward(*(here + place.float()).unbind(dim=1), motion.float(), self.horizon)
        places = [place.float(), torch.stack(then[:2], dim=1) - here]
        sight = [columns + there[:, 1] for there in places]
        ways = [by_facade(there, facade) for there in places]
        turned = torch.stack([ways[0].column - sight[0], (ways[0].column - columns).abs() / CELLS[1]], dim=1)
        solid = self.solid(cells)
        first, *others = (ways[0].point(part) for part in LEGS)
        legs = [at(torch.cat([ahead, solid], dim=1), *first), *(at(solid, *point) for point in others)]
        rays = self.aim(torch.cat([cells, ahead, turned.to(cells.dtype), *legs], dim=1))
        centre, log_width, weight, other = rays.flatten(2).float().unflatten(1, (2, -1)).split([RAYS, RAYS, RAYS, 1], dim=2)
        wide = BEAMS / CELLS[1]
        sights, images = (torch.stack(two, dim=1).flatten(2) * wide for two in (sight, [way.column for way in ways]))
        aside = centre * torch.tensor([NUDGE, NUDGE, FARTHEST], device=centre.device)[:, None]
        mirror, spread = self.mirror(torch.cat([cells, ahead], dim=1)).flatten(2).float().unbind(dim=1)
        x, y = (torch.stack(both, dim=1).flatten(2) for both in zip(*(way.thing for way in ways)))
        return Rays(
            centre=torch.stack([sights, images, sights], dim=2) + aside,
            width=_width(log_width),
            weight=weight,
            other=other,
            mirror=mirror,
            x=x,
            y=y,
            towards=_spread(sights, _width(spread)[:, None]),
            law=self.law,
        )


def _spread(centre: Tensor, width: Tensor) -> Tensor:
    """Shares (..., BEAMS) of the beams around `centre` (...), `width` (...) wide [beams]."""
    away = torch.arange(BEAMS, device=centre.device) + 0.5 - centre[..., None]
    return torch.softmax((away / width[..., None]).square() / -2, dim=-1)


def _length(x: Tensor, y: Tensor) -> Tensor:
    """Of vectors [m]; where they vanish its slope does not explode."""
    return (x.square() + y.square() + 1e-4).sqrt()


def _width(log_width: Tensor) -> Tensor:
    """[beams]"""
    return FINEST + log_width.clamp(-4, 4).exp()

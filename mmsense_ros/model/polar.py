"""Where polar cells are, and where what is in them will be."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mmsense_ros.model.tokenizers import CELLS

CELL_DEPTH = 4.0  #: [m] of a cell in range
HALF_VIEW = math.pi / 4  #: [rad]
CELL_ANGLE = 2 * HALF_VIEW / CELLS[1]  #: [rad] of a cell in azimuth
GONE = 180.0  #: [m] far out of view, yet its square is within float16


def position(place: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (B, *CELLS) [m] of points `place` (B, 2, *CELLS) [rows, columns] from the cells' centres."""
    rows, columns = (torch.arange(count, device=place.device, dtype=torch.float32) + 0.5 for count in CELLS)
    distance = (rows[:, None] + place[:, 0].float()) * CELL_DEPTH
    azimuth = HALF_VIEW - (columns + place[:, 1].float()) * CELL_ANGLE
    return distance * azimuth.cos(), distance * azimuth.sin()


def at(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`features` (B, n, *CELLS) at the points `rows`, `columns` (B, *CELLS) [cells], bilinear between the cells' middles, 0 outside;
    (B, n, *CELLS)."""
    grid = torch.stack([2 * columns / CELLS[1] - 1, 2 * rows / CELLS[0] - 1], dim=-1)
    return F.grid_sample(features.float(), grid, align_corners=False).to(features.dtype)


def polar(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns [cells] of points [m]."""
    # Within a quarter turn of boresight x is positive, and atan of a quotient is what all engines have.
    azimuth = torch.atan(y / x.clamp(min=1.0))
    return (x.square() + y.square()).clamp(min=1.0).sqrt() / CELL_DEPTH, (HALF_VIEW - azimuth) / CELL_ANGLE


def onward(rows: Tensor, columns: Tensor, motion: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where things at `rows` and `columns` (..., *CELLS) [cells] are `seconds` later, and their `motion` (..., 2, *CELLS) [cells/s] by then.

    They go straight on: what passes by crosses columns fast when it is near, and slowly before and after, so that its velocity is kept
    and its rates are not. x points along the line of sight, y towards growing columns. Nothing comes nearer than 1 m, nor goes
    farther than GONE.
    """
    distance = rows * CELL_DEPTH
    outward, aside = motion[..., 0, :, :] * CELL_DEPTH, motion[..., 1, :, :] * (CELL_ANGLE * distance)
    x, y = (distance + outward * seconds).clamp(1.0, GONE), (aside * seconds).clamp(-GONE, GONE)
    away = (x.square() + y.square()).sqrt()
    rates = (outward * x + aside * y) / away / CELL_DEPTH, (aside * x - outward * y) / away.square() / CELL_ANGLE
    return away / CELL_DEPTH, columns + torch.atan(y / x) / CELL_ANGLE, torch.stack(rates, dim=-3)

"""Polar cells: camera features are lifted to range and azimuth, then joined with those of radar and LiDAR."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmsense_ros.model.polar import CELL_DEPTH
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, IMAGE_FEATURES, convolution

MOTION_UNIT = 4.0  #: [cells/s] one unit of motion
USUAL_DROP, USUAL_PITCH = 4.0, 0.2  #: [m] of a vehicle's middle below the camera, [rad] downwards: where learning starts
AHEAD = 16  #: channels of what lies between the array and a cell
PIXEL_ROWS, FOCAL = 8, 80.0  #: image rows of a feature row; focal length [pixels] of a 90 degree, 160 pixel wide image


class Lift(nn.Module):
    """Each column of image features, bottom to top, becomes a ray of cells, near to far, by attention within the column.

    cell_r = sum_v softmax_v(<q_r, k_v> + geometry_rv) value_v for every azimuth by itself; q_r comes from what radar and LiDAR
    have in the cell (Saha et al., "Translating images into maps", 2022).
    """

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.range = nn.Parameter(0.02 * torch.randn(CELL_CHANNELS, CELLS[0], 1))
        self.query = nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 1)
        self.key_value = nn.Conv2d(CELL_CHANNELS, 2 * CELL_CHANNELS, 1)
        self.geometry = nn.Parameter(flat_ground().repeat(heads, 1, 1))

    def forward(self, image: Tensor, polar: Tensor) -> Tensor:
        """Cells (B, CELL_CHANNELS, *CELLS) from `image` (B, CELL_CHANNELS, rows, columns) and `polar`, gated radar and LiDAR cells."""
        size = CELL_CHANNELS // self.heads

        def split(features: Tensor) -> Tensor:  # (B, heads, columns, rows, size)
            return features.unflatten(1, (self.heads, size)).permute(0, 1, 4, 3, 2)

        query = split(self.query(polar + self.range.to(polar.dtype))) * size**-0.5
        key, value = (split(part) for part in self.key_value(image).chunk(2, dim=1))
        weight = torch.softmax(query @ key.transpose(-1, -2) + self.geometry[:, None].to(query.dtype), dim=-1)
        return (weight @ value).permute(0, 1, 4, 3, 2).flatten(1, 2)


def flat_ground() -> Tensor:
    """Log weights (range cells, image rows) of where vehicles on flat ground appear to the usual camera."""
    distance = (torch.arange(CELLS[0]) + 0.5) * CELL_DEPTH
    below = torch.atan(USUAL_DROP / distance) - USUAL_PITCH
    row = (PIXEL_ROWS * IMAGE_FEATURES[0] / 2 + FOCAL * below.tan()) / PIXEL_ROWS - 0.5
    return -((torch.arange(IMAGE_FEATURES[0]) - row[:, None]).square() / (2 * 1.5**2)).clamp(max=8.0)


class Cells(nn.Module):
    """What this moment's sensors say about each cell: lifted camera, radar and LiDAR, each times its gate, joined.

    x = W [lift(camera), radar, lidar] + place,    cells = x + mix(x)

    as features of several sensors are joined seen from above (Liu et al., "BEVFusion", 2023), here in polar cells.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lift = Lift()
        self.place = nn.Parameter(0.02 * torch.randn(CELL_CHANNELS, *CELLS))
        self.join = nn.Conv2d(3 * CELL_CHANNELS, CELL_CHANNELS, 1, bias=False)
        self.mix = convolution(CELL_CHANNELS, CELL_CHANNELS)

    def forward(self, camera: Tensor, radar: Tensor, lidar: Tensor) -> Tensor:
        """Cells (B, CELL_CHANNELS, *CELLS) from gated features: `camera` of the image, `radar` and `lidar` of polar cells."""
        joined = self.join(torch.cat([self.lift(camera, radar + lidar), radar, lidar], dim=1))
        joined = joined + self.place.to(joined.dtype)
        return joined + self.mix(joined)


class Ahead(nn.Module):
    """What lies between the array and each cell: a sum along range of what nearer cells hold, squashed.

    s_r = tanh(sum_{r' < r} relu(W cell_r') / sqrt(R)), R the rows of cells: hidden things and blocked lines of sight are told by what
    stands before them, as density along a ray dims what is behind it (Mildenhall et al., "NeRF", 2020); ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hold = nn.Conv2d(CELL_CHANNELS, AHEAD, 1)
        rows = torch.arange(CELLS[0])
        self.register_buffer("nearer", (rows[:, None] > rows).float(), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """(B, AHEAD, *CELLS)."""
        held = torch.relu(self.hold(cells))
        return torch.tanh(self.nearer.to(held.dtype) @ held / math.sqrt(CELLS[0]))

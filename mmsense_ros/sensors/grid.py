"""The polar grid that the radar and LiDAR maps share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PolarGrid:
    """Range-azimuth cells in the `antenna_array` frame.

    Row 0 is the nearest range; column 0 is furthest left (+half_view), as in `Codebook`: with 64 columns, column k is beam k.
    """

    rows: int = 128
    columns: int = 64
    max_range: float = 64.0  #: [m]
    half_view: float = np.pi / 4  #: [rad]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows, self.columns

    @property
    def range_step(self) -> float:
        """Depth of a cell [m]."""
        return self.max_range / self.rows

    @property
    def azimuth_step(self) -> float:
        """Width of a cell [rad]."""
        return 2 * self.half_view / self.columns

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

    @property
    def azimuths(self) -> np.ndarray:
        """Azimuths of the columns' centres, (columns,) [rad], descending."""
        return self.half_view - self.azimuth_step * (np.arange(self.columns) + 0.5)

    def cells(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell index row * columns + column of points (N,) [m], and which of them are inside the grid (N,) bool."""
        row = np.minimum(np.sqrt(x * x + y * y) * (1 / self.range_step), self.rows)
        column = (self.half_view - np.arctan2(y, x)) * (1 / self.azimuth_step)
        inside = (row < self.rows) & (column >= 0) & (column < self.columns)
        return np.where(inside, row.astype(np.int32) * self.columns + column.astype(np.int32), 0), inside

"""How fast things cross the anchored cells."""

from __future__ import annotations

import numpy as np
import pytest

from mmsense_ros.anchors import AnchorGrid, encode_motion

GRID = AnchorGrid()


def coordinates(position: np.ndarray) -> np.ndarray:
    """Rows and columns (N, 2) with their fractions."""
    cell, offset = GRID.locate(position)
    assert (cell >= 0).all()
    return np.stack([cell // GRID.columns, cell % GRID.columns], axis=1) + 0.5 + offset


def test_motion_is_the_change_of_place_a_second() -> None:
    rng = np.random.default_rng(0)
    distance, azimuth = rng.uniform(5, 55, 200), rng.uniform(-0.7, 0.7, 200)
    position = np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(-3, 3, 200)], axis=1)
    velocity, step = rng.normal(0, 10, (200, 3)), 1e-5
    finite = (coordinates(position + step * velocity) - coordinates(position - step * velocity)) / (2 * step)
    np.testing.assert_allclose(encode_motion(position, velocity, GRID), finite, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("velocity", "motion"), [((8.0, 0.0, 5.0), (2.0, 0.0)), ((0.0, 8.0, 0.0), (0.0, -8 / 40 * 32 / (np.pi / 2)))]
)
def test_what_drives_away_gains_rows_and_what_goes_left_loses_columns(velocity: tuple, motion: tuple) -> None:
    moved = encode_motion(np.array([[40.0, 0.0, -3.0]]), np.array([velocity]), GRID)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, [motion], atol=1e-6)


def test_at_the_array_itself_nothing_is_infinite() -> None:
    assert np.isfinite(encode_motion(np.zeros((1, 3)), np.ones((1, 3)), GRID)).all()
    assert encode_motion(np.zeros((0, 3)), np.zeros((0, 3)), GRID).shape == (0, 2)

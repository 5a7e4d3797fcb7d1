"""Where what is in polar cells will be."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from mmsense_ros.anchors import AnchorGrid, encode_motion
from mmsense_ros.model.polar import CELL_ANGLE, CELL_DEPTH, GONE, HALF_VIEW, onward


@pytest.mark.parametrize("start", [(12.0, 6.0), (25.0, -8.0), (40.0, 0.0)])
@pytest.mark.parametrize("velocity", [(0.0, -9.0), (0.0, 9.0), (6.0, 3.0), (-4.0, 2.0), (0.0, 0.0)])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 2.0])
def test_things_go_straight_on(start: tuple[float, float], velocity: tuple[float, float], seconds: float) -> None:
    then = np.add(start, np.multiply(velocity, seconds))
    row, column = cells(*start)
    moved = onward(row, column, torch.tensor(motion(start, velocity))[:, None, None], torch.tensor(seconds))
    torch.testing.assert_close(moved[:2], cells(*then), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(moved[2].flatten(), torch.tensor(motion(then, velocity)), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
@pytest.mark.parametrize("rates", [(-12.0, 1.0), (40.0, 40.0), (-40.0, -40.0), (0.0, 40.0)])
def test_whatever_is_believed_of_motion_stays_finite(rates: tuple[float, float], kind: torch.dtype) -> None:
    """Motion is not learned where nothing is, and engines may compute in float16."""
    row, column = (part.to(kind) for part in cells(40.0, 5.0))
    moved = onward(row, column, torch.tensor(rates, dtype=kind)[:, None, None], torch.tensor(8.0, dtype=kind))
    assert all(part.isfinite().all() for part in moved)
    assert moved[0].item() * CELL_DEPTH <= GONE * 1.5


def cells(x: float, y: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column (1, 1) [cells] of a point [m]."""
    row, column = np.hypot(x, y) / CELL_DEPTH, (HALF_VIEW - np.arctan2(y, x)) / CELL_ANGLE
    return torch.full((1, 1), row), torch.full((1, 1), column)


def motion(place: np.ndarray | tuple[float, float], velocity: tuple[float, float]) -> np.ndarray:
    """(2,) [cells/s], as training has it."""
    return encode_motion(np.array([[*place, 0.0]]), np.array([[*velocity, 0.0]]), AnchorGrid())[0]

"""Polar cells: the camera is lifted to them along its columns, and each knows what lies before it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from mmsense_ros.model.cells import Ahead, Cells, Lift, flat_ground
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, IMAGE_FEATURES

ROW, COLUMN = 9, 12


@pytest.fixture
def lift() -> Lift:
    torch.manual_seed(0)
    return Lift().eval()


def features() -> torch.Tensor:
    """Of an image whose columns are those of azimuth already."""
    return torch.randn(1, CELL_CHANNELS, IMAGE_FEATURES[0], CELLS[1], generator=torch.Generator().manual_seed(1))


def nothing() -> torch.Tensor:
    return torch.zeros(1, CELL_CHANNELS, *CELLS)


@torch.no_grad()
def test_a_column_of_the_image_is_a_ray_of_cells(lift: Lift) -> None:
    seen, changed = features(), features()
    changed[..., COLUMN] += 1
    moved = (lift(changed, nothing()) - lift(seen, nothing())).abs().amax(dim=(0, 1))
    assert (moved[:, COLUMN] > 1e-3).all() and (moved[:, torch.arange(CELLS[1]) != COLUMN] == 0).all()


@torch.no_grad()
def test_a_cell_is_a_mean_of_its_column(lift: Lift) -> None:
    same = features()[:, :, :1].expand(-1, -1, IMAGE_FEATURES[0], -1)
    cells = lift(same, nothing())
    torch.testing.assert_close(cells, cells[:, :, :1].expand_as(cells))
    torch.testing.assert_close(cells[:, :, 0], lift.key_value(same).chunk(2, dim=1)[1][:, :, 0])


@torch.no_grad()
def test_what_radar_and_lidar_have_in_a_cell_says_where_to_look(lift: Lift) -> None:
    polar = nothing()
    polar[..., ROW, COLUMN] = 3
    moved = (lift(features(), polar) - lift(features(), nothing())).abs().amax(dim=(0, 1))
    assert moved[ROW, COLUMN] > 1e-3 and (moved > 0).sum() == 1


def test_on_flat_ground_what_is_farther_is_higher_in_the_image() -> None:
    row = flat_ground().argmax(dim=1)
    assert row[0] == IMAGE_FEATURES[0] - 1 and row[-1] == 6  # 62 m: 7.8 degrees above the axis, pitched down by 11.5
    assert (row.diff() <= 0).all()


@torch.no_grad()
def test_cells_join_all_three() -> None:
    torch.manual_seed(0)
    cells = Cells().eval()
    before = cells(features(), nothing(), nothing())
    something = nothing()
    something[..., ROW, COLUMN] = 1
    after = (cells(features() + 1, nothing(), nothing()), *(cells(features(), *two) for two in ((something, nothing()),)))
    after = (*after, cells(features(), nothing(), something))
    assert all((now - before).abs().max() > 1e-3 for now in after)
    assert (after[1] - after[2]).abs().max() > 1e-3, "radar and LiDAR are told apart"


@torch.no_grad()
def test_what_lies_before_a_cell_adds_up_along_range() -> None:
    ahead = Ahead()
    ahead.hold.weight.zero_()
    ahead.hold.bias.zero_()
    ahead.hold.weight[0, 0] = 1
    cells = nothing()
    cells[0, 0, 3, COLUMN], cells[0, 0, 8, COLUMN], cells[0, 0, 10, COLUMN] = 2.0, 1.0, -5.0
    expected = torch.zeros(CELLS)
    expected[4:, COLUMN], expected[9:, COLUMN] = 2 / 4, 3 / 4  # the root of 16 rows; what is negative holds nothing
    seen = ahead(cells)
    torch.testing.assert_close(seen[0, 0], expected.tanh())
    assert not seen[0, 1:].any()

"""The street: facades are found by votes, what they mirror is where geometry says, and lanes go by the distance across."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import stir
from torch import Tensor

from mmsense_ros.anchors import LANES, AnchorGrid
from mmsense_ros.model.polar import at, position
from mmsense_ros.model.street import ANGLES, DISTANCES, Facade, Street, by_facade, grid_shares
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

GRID = AnchorGrid()
MIDDLES = torch.zeros(1, 2, *CELLS)  #: places in the middles of their cells


def line(angle: float, distance: float) -> Facade:
    """Facades known beyond doubt to stand at `angle` [degrees] and `distance` [m]."""
    return Facade(torch.zeros(1, len(ANGLES), len(DISTANCES)), torch.tensor([math.radians(angle)]), torch.tensor([distance]))


def wall(angle: float, distance: float) -> Tensor:
    """Cells whose first two channels say that a wall is in their nearer and farther halves."""
    turn, cells = math.radians(angle), torch.zeros(1, CELL_CHANNELS, *CELLS)
    for bearing in np.linspace(-0.78, 0.78, 200):
        reach = distance / math.cos(bearing - turn)
        if 0 < reach < 64:
            (cell,), ((along, _),) = GRID.locate(np.array([[reach * math.cos(bearing), reach * math.sin(bearing)]]))
            cells[0, int(along > 0), cell // CELLS[1], cell % CELLS[1]] = 1.0
    return cells


@pytest.fixture
def street() -> Street:
    """One that takes the first two channels for evidence."""
    torch.manual_seed(0)
    made = Street().eval()
    with torch.no_grad():
        made.evidence.weight.zero_()
        made.evidence.weight[[0, 1], [0, 1]] = 10.0
        made.evidence.bias.fill_(-5.0)
    return made


@pytest.mark.parametrize(("angle", "distance"), [(0.0, 24.0), (12.0, 30.0), (-17.0, 27.0), (5.0, 19.0)])
@torch.no_grad()
def test_facades_are_where_most_votes_go(street: Street, angle: float, distance: float) -> None:
    found = street.facade(wall(angle, distance))
    assert math.degrees(found.angle.item()) == pytest.approx(angle, abs=2.5), "half a step of the grid"
    assert found.distance.item() == pytest.approx(distance, abs=1.5)


@torch.no_grad()
def test_without_a_facade_the_usual_one_is_as_good_a_guess_as_any(street: Street) -> None:
    street.usual[9, 5] = 30.0
    found = street.facade(torch.zeros(1, CELL_CHANNELS, *CELLS))
    assert found.angle.item() == pytest.approx(ANGLES[9].item(), abs=0.01)
    assert found.distance.item() == pytest.approx(DISTANCES[5].item(), abs=0.1)


def test_places_are_those_of_the_anchors() -> None:
    place = torch.rand(1, 2, *CELLS, generator=torch.Generator().manual_seed(0)) - 0.5
    x, y = position(place)
    expected = GRID.place(np.arange(GRID.cells), place.flatten(2)[0].T.numpy().astype(float))
    np.testing.assert_allclose(torch.stack([x, y], dim=-1).reshape(-1, 2), expected, atol=1e-3)


@pytest.mark.parametrize(("angle", "distance"), [(0.0, 40.0), (12.0, 30.0), (-17.0, 27.0)])
def test_mirror_images_are_as_far_behind_the_facade_as_things_are_before_it(angle: float, distance: float) -> None:
    columns = by_facade(MIDDLES, line(angle, distance)).column[0]
    normal = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    compared = 0
    for cell in range(0, GRID.cells, 7):
        (place,) = GRID.place(np.array([cell]), np.zeros((1, 2)))
        before = distance - place @ normal
        image = place + 2 * before * normal
        column = (math.pi / 4 - math.atan2(image[1], image[0])) * CELLS[1] / (math.pi / 2)
        if before > 0 and 0 < column < CELLS[1]:
            assert columns.flatten()[cell].item() == pytest.approx(column, abs=1e-3)
            compared += 1
    assert compared > 20


def test_what_stands_in_the_facade_is_its_own_image() -> None:
    columns = by_facade(MIDDLES, line(0.0, 6.0)).column[0]
    torch.testing.assert_close(columns[8:], (torch.arange(CELLS[1]) + 0.5).expand(8, -1), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("angle", "distance"), [(0.0, 70.0), (-12.0, 68.0)])
def test_ways_by_the_facades_leave_them_as_they_came(angle: float, distance: float) -> None:
    way = by_facade(MIDDLES, line(angle, distance))
    normal = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    meets, thing = (torch.stack(point, dim=-1) for point in (way.meets, way.thing))
    torch.testing.assert_close(meets @ normal, torch.full((1, *CELLS), distance), atol=1e-3, rtol=0)
    on, back = meets / meets.norm(dim=-1, keepdim=True), (thing - meets) / (thing - meets).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(on - 2 * (on @ normal)[..., None] * normal, back, atol=1e-4, rtol=0)


def test_points_of_a_way_lead_from_the_facade_to_the_thing() -> None:
    way = by_facade(MIDDLES, line(0.0, 40.0))
    row, column = way.point(1.0)
    torch.testing.assert_close(row[0], (torch.arange(CELLS[0]) + 0.5)[:, None].expand(CELLS), atol=1e-3, rtol=0)
    torch.testing.assert_close(column[0], (torch.arange(CELLS[1]) + 0.5).expand(CELLS), atol=1e-3, rtol=0)
    row, column = (values[0, 5, 8].item() for values in way.point(0.0))
    x, y = (values[0, 5, 8].item() for values in way.meets)
    assert x == pytest.approx(40.0, abs=1e-3) and row == pytest.approx(math.hypot(x, y) / 4.0, abs=1e-3)
    assert column == pytest.approx(way.column[0, 5, 8].item(), abs=1e-3), (
        "the facade shows a thing where the way to it meets it"
    )


def test_what_is_read_between_the_middles_of_cells_is_between_what_they_hold() -> None:
    row, column = torch.meshgrid(*(torch.arange(count) + 0.5 for count in CELLS), indexing="ij")
    held = torch.stack([row, column])[None]
    points = torch.rand(2, 1, *CELLS, generator=torch.Generator().manual_seed(0))
    rows, columns = (0.5 + points[axis] * (count - 1) for axis, count in enumerate(CELLS))
    torch.testing.assert_close(at(held, rows, columns)[0], torch.cat([rows, columns]), atol=1e-4, rtol=1e-4)
    assert not at(held, rows + 2 * CELLS[0], columns).any(), "outside there is nothing"


@pytest.mark.parametrize(("angle", "distance"), [(3.0, 22.5), (-44.0, 62.0), (7.7, 8.0)])
def test_shares_of_the_grid_are_around_the_line(angle: float, distance: float) -> None:
    shares = grid_shares(torch.tensor([math.radians(angle)]), torch.tensor([distance]))[0]
    assert shares.sum().item() == pytest.approx(1.0, abs=1e-5) and (shares > 0).sum() <= 4
    assert (shares.sum(dim=1) @ ANGLES).rad2deg().item() == pytest.approx(angle, abs=1e-3)
    assert (shares.sum(dim=0) @ DISTANCES).item() == pytest.approx(distance, abs=1e-3)


@torch.no_grad()
def test_lanes_go_by_the_distance_across_the_street_and_by_where_vehicles_are(street: Street) -> None:
    stir(street)
    street.lane[0].weight[:, :CELL_CHANNELS].zero_()  # no cell looks like anything
    cells, empty = torch.zeros(1, CELL_CHANNELS, *CELLS), torch.full((1, 1, *CELLS), -20.0)

    def lanes(facade: Facade, place: Tensor = MIDDLES, presence: Tensor = empty) -> Tensor:
        return street.lanes(cells, place, torch.zeros(1, 2, *CELLS), presence, facade)[0]

    across = lanes(line(0.0, 30.0))
    assert across.shape == (len(LANES), *CELLS)
    # Mirror images to both sides of boresight are as far across.
    torch.testing.assert_close(across, across.flip(2), atol=1e-4, rtol=1e-4)
    turned = lanes(line(12.0, 30.0))
    assert (turned - turned.flip(2)).abs().max() > 1e-2, "in a street that is turned they are not"
    assert (across - lanes(line(0.0, 34.0))).abs().max() > 1e-2
    nearer = lanes(line(0.0, 30.0), MIDDLES - torch.tensor([0.4, 0.0])[None, :, None, None])
    assert (across - nearer).abs().max() > 1e-2
    busy = empty.clone()
    busy[0, 0, 4, 15] = 20.0
    assert (across - lanes(line(0.0, 30.0), presence=busy)).abs().max() > 1e-3

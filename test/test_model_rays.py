"""Rays: which way is chosen depends on what stands in each of them."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import stir
from torch import Tensor

from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.rays import LEGS, Rays, Ways
from mmsense_ros.model.street import ANGLES, DISTANCES, Facade, by_facade
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

MIDDLES = torch.zeros(1, 2, *CELLS)
FACADE = Facade(torch.zeros(1, len(ANGLES), len(DISTANCES)), torch.tensor([math.radians(5.0)]), torch.tensor([36.0]))
TO = 4, 6  #: the cell that is reached


@pytest.fixture
def ways() -> Ways:
    """Ones that look at a cell itself and at the way by the facades, not at the cells around."""
    torch.manual_seed(0)
    made = Ways().eval()
    stir(made)
    with torch.no_grad():
        for layer in (made.aim[0], made.aim[2]):
            middle = layer.weight[:, :, 1, 1].clone()
            layer.weight.zero_()
            layer.weight[:, :, 1, 1] = middle
    return made


@torch.no_grad()
def weights(ways: Ways, cells: Tensor, ahead: Tensor | None = None) -> Tensor:
    """Logits (*CELLS, 2, RAYS) of the ways to the cells."""
    return rays(ways, cells, ahead).weight[0].movedim(-1, 0).unflatten(0, CELLS)


def rays(ways: Ways, cells: Tensor, ahead: Tensor | None = None) -> Rays:
    """Of one snapshot in which nothing moves."""
    ahead = torch.zeros(1, AHEAD, *CELLS) if ahead is None else ahead
    return ways(cells, ahead, MIDDLES, MIDDLES, FACADE)


@pytest.mark.parametrize("part", LEGS)
def test_what_stands_in_the_way_by_the_facades_changes_the_choice(ways: Ways, part: float) -> None:
    row, column = (int(values[0, TO[0], TO[1]]) for values in by_facade(MIDDLES, FACADE).point(part))
    empty = torch.zeros(1, CELL_CHANNELS, *CELLS)
    there = empty.clone()
    there[0, :, row, column] = 3.0
    changed = (weights(ways, there) - weights(ways, empty)).abs().amax(dim=(2, 3))
    assert changed[TO] > 1e-3
    aside = CELLS[1] - 1 - TO[1]
    assert changed[TO[0], aside] == 0, "the way to what is on the other side does not lead there"


def test_what_stands_before_the_facade_changes_the_choice(ways: Ways) -> None:
    row, column = (int(values[0, TO[0], TO[1]]) for values in by_facade(MIDDLES, FACADE).point(0.0))
    cells, before = torch.zeros(1, CELL_CHANNELS, *CELLS), torch.zeros(1, AHEAD, *CELLS)
    before[0, :, row, column] = 1.0
    assert (weights(ways, cells, before) - weights(ways, cells))[TO].abs().max() > 1e-3


VEHICLE = 5, 9  #: a cell 11 m from TO


@pytest.fixture
def mirroring() -> Ways:
    """Ones to whom a cell mirrors that shows something, and all ways other than by mirrors are weak."""
    made = Ways().eval()
    with torch.no_grad():
        made.mirror[0].weight.zero_()
        made.mirror[0].weight[0, 0, 1, 1] = 1.0
        made.mirror[0].bias.zero_()
        made.mirror[2].weight[0, 0] = 1.0
        made.mirror[2].bias.copy_(torch.tensor([-30.0, -4.0]))
        made.aim[4].bias[[6, 7, 8, 16, 17, 18]] = -20.0
        made.law[3] = 10.0
    return made


@torch.no_grad()
def by_mirror(ways: Ways, *cells: tuple[int, int], to: tuple[int, int] = TO, **changed: Tensor) -> Tensor:
    """Shares (2, BEAMS) of the beams that reach `to` where `cells` hold what mirrors."""
    shown = torch.zeros(1, CELL_CHANNELS, *CELLS)
    for row, column in cells:
        shown[0, 0, row, column] = 60.0
    given = {"place": MIDDLES, "motion": MIDDLES} | changed
    made = ways(shown, torch.zeros(1, AHEAD, *CELLS), given["place"], given["motion"], FACADE)
    return made.of(torch.tensor([[to[0] * CELLS[1] + to[1]]]))[0, 0]


def test_a_large_vehicle_nearby_mirrors_what_is_in_a_cell(mirroring: Ways) -> None:
    shares = by_mirror(mirroring, VEHICLE)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    assert shares[:, 2 * VEHICLE[1] : 2 * VEHICLE[1] + 2].sum(dim=1).min() > 0.9, "beams go to the vehicle"


@pytest.mark.parametrize("why, vehicle", [("too far off", (14, 25)), ("the terminal's own", TO)])
def test_not_every_vehicle_mirrors(mirroring: Ways, why: str, vehicle: tuple[int, int]) -> None:
    reached = by_mirror(mirroring, VEHICLE, vehicle)[0]
    assert reached[2 * VEHICLE[1] : 2 * VEHICLE[1] + 2].sum() > 0.9, why


def test_of_two_vehicles_the_shorter_way_is_the_stronger(mirroring: Ways) -> None:
    nearer, farther = (4, 10), (7, 6)  # both 12 m from TO
    reached = by_mirror(mirroring, nearer, farther)[0]
    assert reached[20:22].sum() > 2 * reached[12:14].sum() > 0.01


def test_ahead_beams_follow_the_mirroring_vehicle(mirroring: Ways) -> None:
    motion = torch.zeros(1, 2, *CELLS)
    motion[0, 1, VEHICLE[0], VEHICLE[1]] = -4.0  # columns/s, for half a second
    now, later = by_mirror(mirroring, VEHICLE, motion=motion)
    assert now.argmax() // 2 == VEHICLE[1] and later.argmax() // 2 == VEHICLE[1] - 2

"""Rays: which way is chosen depends on what stands in each of them."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import stir
from torch import Tensor

from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.rays import LEGS, Ways
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
    ahead = torch.zeros(1, AHEAD, *CELLS) if ahead is None else ahead
    return ways(cells, ahead, MIDDLES, MIDDLES, FACADE).weight[0].unflatten(0, CELLS)


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

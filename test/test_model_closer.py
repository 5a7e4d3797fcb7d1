"""A closer look: it reads what lies around the place where somebody is, and changes nothing but what people are said to do."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import SIZES, TASKS, maps, nothing_remembered, small, told
from torch import Tensor

from mmsense_ros.anchors import ACTIVITIES, PEOPLE_CHANNELS
from mmsense_ros.model.closer import MARGIN, SEES, Closer, Found, nearest, views
from mmsense_ros.model.detail import FINE, FINE_CHANNELS, FOLD, TRACE_CHANNELS, Moments
from mmsense_ros.model.mmsense import MMSense, ModelConfig
from mmsense_ros.model.tokenizers import CELLS

SLOTS = 4
CELL = 5, 6  #: row and column of somebody's cell


@pytest.fixture(scope="module")
def closer() -> Closer:
    torch.manual_seed(0)
    return Closer(SLOTS, len(ACTIVITIES)).eval()


def standing(row: float, column: float) -> Tensor:
    """The output of people (1, cells, 4) who all stand at such an offset [cells]."""
    output = torch.zeros(1, CELLS[0] * CELLS[1], PEOPLE_CHANNELS)
    output[..., 1], output[..., 2] = row, column
    return output


def said(closer: Closer, *places: tuple[int, int], people: Tensor | None = None, channel: int = 0) -> Tensor:
    """What is said of CELL, (activities,), with something at `places`."""
    seen = torch.zeros(1, FINE_CHANNELS + SLOTS * TRACE_CHANNELS, *FINE)
    for row, column in places:
        seen[0, channel, row, column] = 3.0
    moments = Moments(seen, torch.zeros(1, 2 * SLOTS))
    nothing = torch.zeros(1, CELLS[0] * CELLS[1], len(ACTIVITIES)), torch.zeros(1, 2, *CELLS)
    return closer(Found(moments, standing(0.0, 0.0) if people is None else people, *nothing))[0, CELL[0] * CELLS[1] + CELL[1]]


@pytest.mark.parametrize("offset", [(-0.5, -0.5), (-0.26, 0.2), (0.0, 0.0), (0.4, 0.499)])
def test_the_nearest_place_is_the_one_somebody_is_in(offset: tuple[float, float]) -> None:
    rows, columns, within = nearest(standing(*offset)[..., 1:3])
    cell = CELL[0] * CELLS[1] + CELL[1]
    for index, place in enumerate((rows, columns)):
        exactly = (CELL[index] + 0.5 + offset[index]) * FOLD[index]
        assert int(place[0, cell]) == int(exactly)
        assert float(within[0, cell, index]) == pytest.approx(exactly - int(exactly) - 0.5, abs=1e-5)


def test_nobody_is_looked_for_outside_of_their_cell() -> None:
    for offset in (-3.0, 3.0):
        rows, columns, within = nearest(standing(offset, offset)[..., 1:3])
        cells = torch.arange(CELLS[0] * CELLS[1])
        assert torch.equal(rows[0] // FOLD[0], cells // CELLS[1]) and torch.equal(columns[0] // FOLD[1], cells % CELLS[1])
        assert (within.abs() <= 0.5).all()


@torch.no_grad()
def test_it_sees_as_far_as_its_margin_around_where_somebody_is(closer: Closer) -> None:
    people = standing(0.3, -0.3)
    place = [int((at + 0.5 + away) * fold) for at, away, fold in zip(CELL, (0.3, -0.3), FOLD, strict=True)]
    nothing = said(closer, people=people)
    for axis in range(2):
        for sign in (-1, 1):
            for beyond, matters in ((0, True), (1, False)):
                there = list(place)
                there[axis] += sign * (MARGIN[axis] + SEES + beyond)
                difference = (said(closer, tuple(there), people=people) - nothing).abs().max()
                assert (difference > 1e-6) == matters, (axis, sign, beyond)


@torch.no_grad()
def test_what_is_read_goes_with_the_place(closer: Closer) -> None:
    """Somebody two places farther on, with all that is around them, does the same."""
    one = said(closer, (CELL[0] * FOLD[0] + 1, CELL[1] * FOLD[1]), people=standing(-0.5 + 1.5 / FOLD[0], -0.25))
    other = said(closer, (CELL[0] * FOLD[0] + 3, CELL[1] * FOLD[1]), people=standing(-0.5 + 3.5 / FOLD[0], -0.25))
    beside = said(closer, (CELL[0] * FOLD[0] + 3, CELL[1] * FOLD[1]), people=standing(-0.5 + 1.5 / FOLD[0], -0.25))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert (one - beside).abs().max() > 1e-4


@torch.no_grad()
def test_what_is_remembered_is_read_too(closer: Closer) -> None:
    here = CELL[0] * FOLD[0] + 2, CELL[1] * FOLD[1] + 1
    answers = [said(closer, here, channel=FINE_CHANNELS + slot * TRACE_CHANNELS) for slot in range(SLOTS)]
    assert all((answer - said(closer)).abs().max() > 1e-5 for answer in answers)


@torch.no_grad()
def test_people_apart_from_their_snapshots_are_said_to_do_the_same(closer: Closer) -> None:
    """As training sees them; those at the edge of what is in view too."""
    torch.manual_seed(1)
    channels, cells = FINE_CHANNELS + SLOTS * TRACE_CHANNELS, CELLS[0] * CELLS[1]
    moments = Moments(torch.rand(2, channels, *FINE), torch.rand(2, 2 * SLOTS))
    found = Found(moments, torch.randn(2, cells, PEOPLE_CHANNELS), torch.randn(2, cells, 4), torch.randn(2, 2, *CELLS))
    batch, cell = torch.arange(2).repeat_interleave(cells), torch.arange(cells).repeat(2)
    torch.testing.assert_close(closer.of(views(found, batch, cell)), closer(found)[batch, cell], atol=1e-5, rtol=0)


@torch.no_grad()
def test_it_changes_what_people_do_and_nothing_else() -> None:
    full, less = small(), small(closer=False)
    assert not less.load_state_dict(full.state_dict(), strict=False).missing_keys
    asked = maps(2), torch.ones(2, 3), told(1, 2).expand(2, -1, -1), *nothing_remembered(2)
    with_it, without = full(*asked), less(*asked)
    assert [name for name in less.branches if not torch.equal(with_it[name], without[name])] == ["activity"]
    assert with_it["activity"].shape == without["activity"].shape


def test_a_model_that_finds_nobody_cannot_look_closer() -> None:
    alone = tuple(task for task in TASKS if task.name == "activity")
    assert small().closer is not None and MMSense(ModelConfig(**SIZES), alone).closer is None

"""A closer look: it reads what lies around the place where somebody is, and changes nothing but what people are said to do."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import SIZES, TASKS, maps, nothing_remembered, small, told
from torch import Tensor

from mmsense_ros.anchors import ACTIVITIES, PEOPLE_CHANNELS
from mmsense_ros.model.closer import MARGIN, Closer, Found, nearest
from mmsense_ros.model.detail import FINE, FINE_CHANNELS, FOLD, TRACE_CHANNELS, Moments, unfold
from mmsense_ros.model.mmsense import MMSense, ModelConfig
from mmsense_ros.model.tokenizers import CELLS

SLOTS = 4
SEES = 2  #: places to each side that its convolutions see
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
    return look(closer, seen, standing(0.0, 0.0) if people is None else people)[0][0, CELL[0] * CELLS[1] + CELL[1]]


def look(
    closer: Closer, seen: Tensor, people: Tensor, remembered: Tensor | None = None, filled: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Logits and what is to be remembered; `filled` slots hold what is `remembered`."""
    times = torch.zeros(1, 2 * SLOTS)
    times[:, list(filled)] = 1.0
    found = Found(Moments(seen, times), people, torch.zeros(1, CELLS[0] * CELLS[1], len(ACTIVITIES)), torch.zeros(1, 2, *CELLS))
    return closer(found, torch.zeros(1, SLOTS, closer.kept, *CELLS) if remembered is None else remembered)


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
def test_what_was_said_is_kept_where_somebody_was(closer: Closer) -> None:
    people = standing(0.3, -0.3)
    people[..., 0] = -20.0
    people[0, CELL[0] * CELLS[1] + CELL[1], 0] = 20.0
    logits, kept = look(closer, torch.zeros(1, FINE_CHANNELS + SLOTS * TRACE_CHANNELS, *FINE), people)
    places = unfold(kept[:, None])[0]
    where = [int((at + 0.5 + away) * fold) for at, away, fold in zip(CELL, (0.3, -0.3), FOLD, strict=True)]
    torch.testing.assert_close(places[:, where[0], where[1]], torch.softmax(logits[0, CELL[0] * CELLS[1] + CELL[1]], dim=0))
    places[:, where[0], where[1]] = 0.0
    assert places.abs().max() < 1e-6, "of cells that hold nobody nothing is kept"


@torch.no_grad()
def test_what_was_said_matters_where_it_was_said(closer: Closer) -> None:
    seen, people = torch.zeros(1, FINE_CHANNELS + SLOTS * TRACE_CHANNELS, *FINE), standing(0.0, 0.0)
    for slot in range(SLOTS):
        remembered = torch.zeros(1, SLOTS, closer.kept, *CELLS)
        remembered[0, slot, :, CELL[0], CELL[1]] = 1.0
        nothing, something = (look(closer, seen, people, what, (slot,))[0] for what in (None, remembered))
        changed = torch.nonzero((something - nothing).abs().amax(dim=2)[0] > 1e-6)[:, 0]
        rows, columns = changed // CELLS[1], changed % CELLS[1]
        assert CELL[0] * CELLS[1] + CELL[1] in changed.tolist()
        assert (rows - CELL[0]).abs().max() <= 2 and (columns - CELL[1]).abs().max() <= 6
        assert torch.equal(look(closer, seen, people, remembered)[0], look(closer, seen, people)[0]), (
            "an empty slot says nothing"
        )


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

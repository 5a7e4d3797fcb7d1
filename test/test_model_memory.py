"""The memory: what moved is carried along, slots age in growing steps, and a window costs the same whatever its length."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import maps, nothing_remembered, small, told

from mmsense_ros.model.detail import FINE, FINE_CHANNELS
from mmsense_ros.model.export import OneInstruction
from mmsense_ros.model.memory import (
    CONTENT,
    ENTRY,
    MOTION,
    REACH,
    SLOTS,
    WINDOW,
    Memory,
    carried_to,
    carry,
    carry_things,
    remember,
)
from mmsense_ros.model.mmsense import MMSense
from mmsense_ros.model.pointer import KINDS
from mmsense_ros.model.polar import CELL_ANGLE, CELL_DEPTH, HALF_VIEW
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

NOTHING = torch.zeros(1, FINE_CHANNELS, *FINE)  #: seen at the places within cells


@pytest.fixture(scope="module")
def model() -> MMSense:
    return small()


def entry(*things: tuple[int, int, float, float, float]) -> torch.Tensor:
    """Entries (1, SLOTS, ENTRY, *CELLS), all the same, of things (row, column, content, rows/s, columns/s)."""
    made = torch.zeros(1, SLOTS, ENTRY, *CELLS)
    for row, column, content, rows, columns in things:
        made[0, :, :CONTENT, row, column] = content
        made[0, :, CONTENT, row, column], made[0, :, CONTENT + 1, row, column] = rows, columns
    return made


def point(row: float, column: float) -> np.ndarray:
    """x, y [m] of the middle of a cell."""
    azimuth = HALF_VIEW - (column + 0.5) * CELL_ANGLE
    return (row + 0.5) * CELL_DEPTH * np.array([np.cos(azimuth), np.sin(azimuth)])


def cell(place: np.ndarray) -> np.ndarray:
    """The inverse of `point`, for places between middles too."""
    return np.array([np.hypot(*place) / CELL_DEPTH, (HALF_VIEW - np.arctan2(*place[::-1])) / CELL_ANGLE]) - 0.5


def rates(place: np.ndarray, velocity: np.ndarray) -> tuple[float, float]:
    """Rows/s and columns/s of what is at `place` and moves with `velocity` [m/s]."""
    down, aside = (cell(place + 1e-4 * velocity) - cell(place - 1e-4 * velocity)) / 2e-4
    return float(down), float(aside)


def bound(start: tuple[float, float], end: tuple[float, float], seconds: float = 1.0) -> tuple[float, float]:
    """Rows/s and columns/s, at the start, of what goes straight from one cell to another."""
    return rates(point(*start), (point(*end) - point(*start)) / seconds)


def carried(made: torch.Tensor, *ages: float) -> list[dict[tuple[int, int], float]]:
    """What lies where in each slot's first channel after its age."""
    moved = carry(made, carried_to(made, torch.tensor([ages])), torch.float32)
    assert moved.shape == (1, SLOTS, CONTENT, *CELLS) and torch.equal(moved[:, :, 0], moved[:, :, -1])
    return [{(int(r), int(c)): round(float(slot[r, c]), 4) for r, c in torch.nonzero(slot > 1e-5)} for slot in moved[0, :, 0]]


def test_content_is_carried_straight_on_for_its_age() -> None:
    start, end, ages = (5, 10), (9, 20), (0.0, 0.25, 1.0, 2.0)
    held = carried(entry((*start, 1.0, *bound(start, end, 2.0))), *ages)
    assert held[0] == {start: 1.0} and held[3] == {end: 1.0}
    for slot, age in zip(held, ages, strict=True):
        row, column = cell(point(*start) + (point(*end) - point(*start)) * age / 2)
        expected = {
            (r, c): round((1 - abs(r - row)) * (1 - abs(c - column)), 4)
            for r in range(int(row), int(row) + 2)
            for c in range(int(column), int(column) + 2)
        }
        assert slot == pytest.approx({place: share for place, share in expected.items() if share > 1e-5}, abs=1e-3)


def test_things_that_meet_add_up_and_what_leaves_the_view_is_lost() -> None:
    meeting = entry((5, 10, 1.0, *bound((5, 10), (5, 12))), (5, 14, 0.5, *bound((5, 14), (5, 12))))
    assert carried(meeting, 1.0, 1.0, 1.0, 0.0) == [{(5, 12): 1.5}] * 3 + [{(5, 10): 1.0, (5, 14): 0.5}]
    leaving = entry((15, 3, 1.0, 1.0, 0.0), (2, 0, 1.0, *bound((2, 0), (2, -1), 2.0)))
    at_first, halfway, early, late = carried(leaving, 0.0, 1.0, 0.5, 2.0)
    assert at_first == {(15, 3): 1.0, (2, 0): 1.0} and late == {}
    assert early[15, 3] == 0.5 and early[2, 0] == pytest.approx(0.75, abs=0.01)
    assert set(halfway) <= {(1, 0), (2, 0)} and sum(halfway.values()) == pytest.approx(0.5, abs=0.01)


def kept(gaps: list[float]) -> list[list[float]]:
    """Ages of the filled slots after each snapshot, `gaps` [s] apart; entries bear their time, so that ages are checked."""
    entries, ages, now, seen = torch.zeros(1, SLOTS, 1, 1, 1, dtype=torch.float64), -torch.ones(1, SLOTS).double(), 0.0, []
    for gap in gaps:
        now += gap
        ages = torch.where(ages >= 0, ages + gap, ages)
        entries, ages = remember(torch.full((1, 1, 1, 1), now, dtype=torch.float64), entries, ages)
        filled = ages[0] >= 0
        assert torch.equal(filled, filled.cummin(dim=0).values), "newest first, then the empty ones"
        torch.testing.assert_close(now - entries[0, filled, 0, 0, 0], ages[0, filled])
        seen.append(ages[0, filled].tolist())
    return seen


def test_at_ten_snapshots_a_second_the_slots_cover_four_seconds() -> None:
    ages = kept([0.1] * 100)
    assert ages[0] == [0.0] and len(ages[5]) == 2 and len(ages[-1]) == SLOTS
    for line in ages[50:]:
        for age, youngest, oldest in zip(line, (0.0, *REACH[:-1]), REACH, strict=True):
            # An entry may have to wait for the slot before, which keeps its own for half a second.
            assert youngest <= age <= oldest + REACH[0], line


def test_gaps_keep_the_slots_in_growing_ages() -> None:
    gaps = (0.03 + 1.5 * torch.rand(200, generator=torch.Generator().manual_seed(0)) ** 3).tolist()
    for line in kept([*gaps[:100], 30.0, *gaps[100:]]):
        assert line == sorted(set(line))
    assert kept([3.0] * 6)[-1] == pytest.approx([0.0, 3.0, 6.0, 9.0])


@torch.no_grad()
def test_a_window_is_answered_as_snapshots_that_came_one_by_one(model: MMSense) -> None:
    times = [0.0, 0.3, 0.9, 2.0, 2.1, 4.5, 7.0]
    seen, count, deployed = maps(len(times)), len(times), OneInstruction(model)
    memory, age = torch.zeros(1, SLOTS, ENTRY, *CELLS), -torch.ones(1, SLOTS)
    which, which_age = torch.zeros(1, SLOTS, 1, 1, 1), age
    earlier, ages, one_by_one = torch.zeros(count, SLOTS, dtype=torch.int64), torch.zeros(count, SLOTS), []
    for index, gap in enumerate(torch.tensor(times).diff(prepend=torch.zeros(1))):
        age, which_age = (torch.where(old >= 0, old + gap, old) for old in (age, which_age))
        earlier[index], ages[index] = which[0, :, 0, 0, 0].long(), which_age[0]
        inputs = [content[index : index + 1] for content in seen.values()]
        *answers, memory, age = deployed(*inputs, torch.ones(1, 3), told(1)[:, 0], memory, age)
        which, which_age = remember(torch.full((1, 1, 1, 1), float(index)), which, which_age)
        one_by_one.append(answers)
    assert (ages >= 0).sum() > 12, "most of them have a past"
    together = model(seen, torch.ones(count, 3), told(1).expand(count, -1, -1), earlier, ages)
    forgetful = model(seen, torch.ones(count, 3), told(1).expand(count, -1, -1), *nothing_remembered(count))
    for place, name in enumerate(("gate", *model.branches)):
        expected = torch.cat([answers[place] for answers in one_by_one])
        torch.testing.assert_close(together[name].reshape(expected.shape), expected, atol=1e-4, rtol=1e-4)
    assert (together["objects"] - forgetful["objects"])[1:].abs().amax(dim=(1, 2)).min() > 1e-3


@torch.no_grad()
def test_what_has_moved_is_remembered_where_it_must_be_by_now(model: MMSense) -> None:
    cells, ages = torch.zeros(1, CELL_CHANNELS, *CELLS), torch.tensor([[1.0, -1.0, -1.0, -1.0]])
    moving, arrived = entry((5, 10, 1.0, *bound((5, 10), (5, 12)))), entry((5, 12, 1.0, 0.0, 0.0))
    now = torch.tensor([[0.0, -1.0, -1.0, -1.0]])
    by_now, here = (carry(made, carried_to(made, then), torch.float32)[:, 0] for made, then in ((moving, ages), (arrived, now)))
    torch.testing.assert_close(by_now, here)
    told, nothing = (model.memory(cells, NOTHING, made, ages).past for made in (moving, entry()))
    changed = (told - nothing).abs().amax(dim=(0, 1)) > 1e-5
    aside = WINDOW[1] + 3  # how far matching and the two convolutions see
    assert changed[5, 12] and not changed[:, : 10 - aside].any() and not changed[:, 13 + aside :].any()


def things(*made: tuple[int, int, float, float, float, float]) -> torch.Tensor:
    """What `carry_things` makes, after a second, of things (row, column, place in it, rows/s, columns/s): (SLOTS, 4, *CELLS)."""
    entries = entry(*((row, column, 0.0, down, aside) for row, column, _, _, down, aside in made))
    place, presence = torch.zeros(1, SLOTS, 2, *CELLS), torch.zeros(1, SLOTS, 1, *CELLS)
    for row, column, *inside, _, _ in made:
        place[0, :, :, row, column], presence[0, :, 0, row, column] = torch.tensor(inside), 1.0
    return carry_things(place, presence, carried_to(entries, torch.ones(1, SLOTS)))[0]


def test_where_a_thing_is_and_its_motion_are_carried_exactly() -> None:
    start, end = (5, 10), (5.25, 8.5)
    moved = things((*start, 0.1, -0.3, *bound(start, end)))[0]
    then = rates(point(*end), point(*end) - point(*start))
    for row, column in ((5, 8), (5, 9), (6, 8), (6, 9)):
        down, aside, *motion = moved[:, row, column].tolist()
        assert (row + down, column + aside) == pytest.approx((5.35, 8.2), abs=0.02) and motion == pytest.approx(then, rel=0.02)
    assert not moved[:, 5, 10].any(), "it has left its cell"


def test_things_that_meet_in_a_cell_are_known_by_their_mean() -> None:
    starts, end = ((5, 10), (5, 15)), (5, 12)
    moved = things(*((*start, 0.0, 0.0, *bound(start, end)) for start in starts))[2, :, 5, 12]
    then = np.mean([rates(point(*end), point(*end) - point(*start)) for start in starts], axis=0)
    assert moved.tolist() == pytest.approx([0.0, 0.0, *then], abs=0.01)


@torch.no_grad()
@pytest.mark.parametrize("age", [0.5, 2.0])
def test_motion_is_told_by_where_things_were(age: float) -> None:
    memory = small().memory
    believe_matches(memory)
    was, now = torch.zeros(2, 1, CELL_CHANNELS, *CELLS)
    was[0, :, 6, 12], now[0, :, 7, 9] = 2.0, 2.0
    entries = memory(was, NOTHING, torch.zeros(1, SLOTS, ENTRY, *CELLS), -torch.ones(1, SLOTS)).entry
    entries[:, MOTION] = 0.0
    ages = torch.tensor([[age, -1.0, -1.0, -1.0]])
    moved = memory(now, NOTHING, entries[:, None].expand(-1, SLOTS, -1, -1, -1), ages).motion[0, :, 7, 9] * age
    assert moved.tolist() == pytest.approx([1.0, -3.0], abs=0.05)


@torch.no_grad()
def test_what_is_hidden_keeps_its_motion() -> None:
    memory = small().memory
    believe_matches(memory)
    memory.sure.bias.copy_(torch.tensor([0.0, *[100.0] * SLOTS, *[0.0] * SLOTS]))
    memory.tell.bias[-1] = 5.0
    moving = entry(*((5, column, 1.0, 0.0, 2.0) for column in range(4, 12)))
    kept = memory(torch.zeros(1, CELL_CHANNELS, *CELLS), NOTHING, moving, torch.tensor([[1.0, -1.0, -1.0, -1.0]])).motion
    velocity = (point(5, 6 + 1e-4) - point(5, 6)) * 2e4  # what crosses two columns a second
    then = rates(point(5, 6) + velocity, velocity)
    torch.testing.assert_close(kept[0, :, 5, 8], torch.tensor(then), atol=0.02, rtol=0)


def believe_matches(memory: Memory) -> None:
    """Matches are strict and believed; things are in the middle of their cells."""
    memory.strict.fill_(50.0)
    memory.write.weight[:] = 1 / CELL_CHANNELS
    memory.write.bias.zero_()
    memory.tell.weight[sum(KINDS) :] = 0.0
    memory.tell.weight[-1] = 1.0
    memory.tell.bias[sum(KINDS) :] = 0.0
    memory.sure.weight.zero_()
    memory.sure.bias.copy_(torch.tensor([0.0, *[0.0] * SLOTS, *[100.0] * SLOTS]))


@torch.no_grad()
def test_what_a_vehicle_looked_like_is_known_where_it_must_be_by_now() -> None:
    memory, cells = small().memory, torch.zeros(1, CELL_CHANNELS, *CELLS)
    memory.trust.weight.zero_()
    memory.trust.bias.copy_(torch.tensor([30.0, 0.0, -30.0, -30.0]))
    moving = entry((5, 10, 1.0, *bound((5, 10), (5, 12))))

    def added(*ages: float) -> torch.Tensor:
        """What a vehicle tells, beyond what emptiness does, in units of what an entry of it tells."""
        told, nothing = (memory(cells, NOTHING, made, torch.tensor([ages])).kinds[0, 3] for made in (moving, entry()))
        return (told - nothing) / memory.tell.weight[3].sum()

    once, again = added(1.0, -1.0, -1.0, -1.0), added(1.0, 1.0, 1.0, 1.0)
    assert torch.nonzero(once.abs() > 1e-4).tolist() == [[5, 12]] and once[5, 12].item() == pytest.approx(1.0, abs=1e-4)
    assert (again - once)[5, 12].item() == pytest.approx(0.5, abs=1e-4), "the second is believed by half"


@torch.no_grad()
def test_two_windows_side_by_side_are_two_windows(model: MMSense) -> None:
    drawn = torch.Generator().manual_seed(1)
    cells, fine = torch.randn(4, CELL_CHANNELS, *CELLS, generator=drawn), torch.randn(4, FINE_CHANNELS, *FINE, generator=drawn)
    earlier, ages = nothing_remembered(4)
    earlier[1, 0], earlier[3, 0], ages[1, 0], ages[3, 0] = 0, 2, 0.5, 0.7
    both = model.memory.in_turn(cells, fine, earlier, ages)
    for rows in (slice(0, 2), slice(2, 4)):
        one = model.memory.in_turn(cells[rows], fine[rows], (earlier[rows] - rows.start).clamp(min=0), ages[rows])
        for name in ("past", "kinds", "seen", "motion", "entry"):
            torch.testing.assert_close(getattr(both, name)[rows], getattr(one, name), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_an_empty_slot_has_no_influence_and_a_filled_one_has(model: MMSense) -> None:
    deployed, memory = OneInstruction(model), torch.randn(1, SLOTS, ENTRY, *CELLS, generator=torch.Generator().manual_seed(1))

    def answers(memory: torch.Tensor, *ages: float) -> list[torch.Tensor]:
        return deployed(*maps().values(), torch.ones(1, 3), told(1)[:, 0], memory, torch.tensor([ages]))[:-2]

    blank = answers(torch.zeros_like(memory), -1, -1, -1, -1)
    for here, there in zip(answers(memory, -1, -1, -1, -1), blank, strict=True):
        assert torch.equal(here, there)
    objects = 1 + list(model.branches).index("objects")
    for slot in range(SLOTS):
        ages = [0.5 if other == slot else -1.0 for other in range(SLOTS)]
        remembered = answers(memory, *ages)[objects]
        assert (remembered - blank[objects]).abs().max() > 1e-3
        ages[slot] = 0.8
        assert (remembered - answers(memory, *ages)[objects]).abs().max() > 1e-3, "how old it is makes a difference"


@torch.no_grad()
def test_a_window_of_any_length_has_the_same_shapes(model: MMSense) -> None:
    deployed, memory, age = OneInstruction(model), torch.zeros(1, SLOTS, ENTRY, *CELLS), -torch.ones(1, SLOTS)
    for _ in range(6):
        outputs = deployed(*maps().values(), torch.ones(1, 3), told(1)[:, 0], memory, age)
        *_, memory, age = outputs
        assert memory.shape == (1, 4, 80, 16, 32) and age.shape == (1, 4)
        age = torch.where(age >= 0, age + 1, age)

"""The memory: what moved is carried along, slots age in growing steps, and a window costs the same whatever its length."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import maps, nothing_remembered, small, told

from mmsense_ros.model.export import OneInstruction
from mmsense_ros.model.memory import CONTENT, ENTRY, REACH, SLOTS, WINDOW, Memory, carry, carry_things, remember
from mmsense_ros.model.mmsense import MMSense
from mmsense_ros.model.pointer import KINDS
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS


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


def carried(made: torch.Tensor, *ages: float) -> list[dict[tuple[int, int], float]]:
    """What lies where in each slot's first channel after its age."""
    moved = carry(made, torch.tensor([ages]), torch.float32)
    assert moved.shape == (1, SLOTS, CONTENT, *CELLS) and torch.equal(moved[:, :, 0], moved[:, :, -1])
    return [{(int(r), int(c)): round(float(slot[r, c]), 4) for r, c in torch.nonzero(slot > 1e-5)} for slot in moved[0, :, 0]]


def test_content_is_carried_by_motion_times_age() -> None:
    made = entry((5, 10, 1.0, 2.0, -1.5))
    assert carried(made, 0.0, 0.25, 1.0, 2.0) == [
        {(5, 10): 1.0},
        {(5, 9): 0.1875, (5, 10): 0.3125, (6, 9): 0.1875, (6, 10): 0.3125},
        {(7, 8): 0.5, (7, 9): 0.5},
        {(9, 7): 1.0},
    ]


def test_things_that_meet_add_up_and_what_leaves_the_view_is_lost() -> None:
    meeting = entry((5, 10, 1.0, 0.0, 2.0), (5, 14, 0.5, 0.0, -2.0))
    assert carried(meeting, 1.0, 1.0, 1.0, 0.0) == [{(5, 12): 1.5}] * 3 + [{(5, 10): 1.0, (5, 14): 0.5}]
    leaving = entry((15, 3, 1.0, 1.0, 0.0), (2, 0, 1.0, 0.0, -0.5))
    assert carried(leaving, 0.0, 1.0, 0.5, 2.0) == [
        {(15, 3): 1.0, (2, 0): 1.0},
        {(2, 0): 0.5},
        {(15, 3): 0.5, (2, 0): 0.75},
        {},
    ]


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
    moving, arrived = entry((5, 10, 1.0, 0.0, 2.0)), entry((5, 12, 1.0, 0.0, 2.0))
    now = torch.tensor([[0.0, -1.0, -1.0, -1.0]])
    assert torch.equal(carry(moving, ages, torch.float32)[:, 0], carry(arrived, now, torch.float32)[:, 0])
    changed = (model.memory(cells, moving, ages).past - model.memory(cells, entry(), ages).past).abs().amax(dim=(0, 1)) > 1e-5
    aside = WINDOW[1] + 3  # how far matching and the two convolutions see
    assert changed[5, 12] and not changed[:, : 10 - aside].any() and not changed[:, 13 + aside :].any()


def things(*made: tuple[int, int, float, float, float, float]) -> torch.Tensor:
    """What `carry_things` makes, after a second, of things (row, column, place in it, rows/s, columns/s): (SLOTS, 4, *CELLS)."""
    entries = entry(*((row, column, 0.0, down, aside) for row, column, _, _, down, aside in made))
    place, presence = torch.zeros(1, SLOTS, 2, *CELLS), torch.zeros(1, SLOTS, 1, *CELLS)
    for row, column, *inside, _, _ in made:
        place[0, :, :, row, column], presence[0, :, 0, row, column] = torch.tensor(inside), 1.0
    return carry_things(entries, place, presence, torch.ones(1, SLOTS))[0]


def test_where_a_thing_is_and_its_motion_are_carried_exactly() -> None:
    moved = things((5, 10, 0.1, -0.3, 0.25, -1.5))[0]
    for row, column in ((5, 8), (5, 9), (6, 8), (6, 9)):
        down, aside, *motion = moved[:, row, column].tolist()
        assert (row + down, column + aside) == pytest.approx((5.35, 8.2), abs=0.02) and motion == pytest.approx(
            [0.25, -1.5], rel=0.02
        )
    assert not moved[:, 5, 10].any(), "it has left its cell"


def test_things_that_meet_in_a_cell_are_known_by_their_mean() -> None:
    moved = things((5, 10, 0.0, 0.0, 0.0, 2.0), (5, 15, 0.0, 0.0, 0.0, -3.0))[2, :, 5, 12]
    assert moved.tolist() == pytest.approx([0.0, 0.0, 0.0, -0.5], abs=0.01)


@torch.no_grad()
@pytest.mark.parametrize("age", [0.5, 2.0])
def test_motion_is_told_by_where_things_were(age: float) -> None:
    memory = small().memory
    believe_matches(memory)
    was, now = torch.zeros(2, 1, CELL_CHANNELS, *CELLS)
    was[0, :, 6, 12], now[0, :, 7, 9] = 2.0, 2.0
    entries = memory(was, torch.zeros(1, SLOTS, ENTRY, *CELLS), -torch.ones(1, SLOTS)).entry
    entries[:, CONTENT:] = 0.0
    ages = torch.tensor([[age, -1.0, -1.0, -1.0]])
    moved = memory(now, entries[:, None].expand(-1, SLOTS, -1, -1, -1), ages).motion[0, :, 7, 9] * age
    assert moved.tolist() == pytest.approx([1.0, -3.0], abs=0.05)


@torch.no_grad()
def test_what_is_hidden_keeps_its_motion() -> None:
    memory = small().memory
    believe_matches(memory)
    memory.sure.bias.copy_(torch.tensor([0.0, *[100.0] * SLOTS, *[0.0] * SLOTS]))
    memory.tell.bias[-1] = 5.0
    moving = entry(*((5, column, 1.0, 0.0, 2.0) for column in range(4, 12)))
    kept = memory(torch.zeros(1, CELL_CHANNELS, *CELLS), moving, torch.tensor([[1.0, -1.0, -1.0, -1.0]])).motion
    torch.testing.assert_close(kept[0, :, 5, 8], torch.tensor([0.0, 2.0]), atol=0.02, rtol=0)


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
    moving = entry((5, 10, 1.0, 0.0, 2.0))

    def added(*ages: float) -> torch.Tensor:
        """What a vehicle tells, beyond what emptiness does, in units of what an entry of it tells."""
        told, nothing = (memory(cells, made, torch.tensor([ages])).kinds[0, 3] for made in (moving, entry()))
        return (told - nothing) / memory.tell.weight[3].sum()

    once, again = added(1.0, -1.0, -1.0, -1.0), added(1.0, 1.0, 1.0, 1.0)
    assert torch.nonzero(once.abs() > 1e-4).tolist() == [[5, 12]] and once[5, 12].item() == pytest.approx(1.0, abs=1e-4)
    assert (again - once)[5, 12].item() == pytest.approx(0.5, abs=1e-4), "the second is believed by half"


@torch.no_grad()
def test_two_windows_side_by_side_are_two_windows(model: MMSense) -> None:
    cells = torch.randn(4, CELL_CHANNELS, *CELLS, generator=torch.Generator().manual_seed(1))
    earlier, ages = nothing_remembered(4)
    earlier[1, 0], earlier[3, 0], ages[1, 0], ages[3, 0] = 0, 2, 0.5, 0.7
    both = model.memory.in_turn(cells, earlier, ages)
    for rows in (slice(0, 2), slice(2, 4)):
        one = model.memory.in_turn(cells[rows], (earlier[rows] - rows.start).clamp(min=0), ages[rows])
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
        assert memory.shape == (1, 4, 16, 16, 32) and age.shape == (1, 4)
        age = torch.where(age >= 0, age + 1, age)

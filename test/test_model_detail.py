"""What is smaller than a cell: seen at its place, remembered at its place, and told by the cell that it is in."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from torch import Tensor

from mmsense_ros.model.detail import FINE, FINE_CHANNELS, FOLD, TRACE, TRACE_CHANNELS, Look, Traces
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

SLOTS = 4
REACH = 5  #: places to each side that its convolutions see
NONE = -torch.ones(1, SLOTS)


@pytest.fixture(scope="module")
def traces() -> Traces:
    torch.manual_seed(0)
    return Traces(SLOTS, 4.0).eval()


def fine(*places: tuple[int, int]) -> Tensor:
    """(1, FINE_CHANNELS, *FINE) with something at `places`."""
    seen = torch.zeros(1, FINE_CHANNELS, *FINE)
    for row, column in places:
        seen[0, :, row, column] = 3.0
    return seen


def remembered(traces: Traces, slot: int, *places: tuple[int, int]) -> Tensor:
    """Traces (1, SLOTS, TRACE, *CELLS) of which one slot held something at `places`."""
    kept = torch.zeros(1, SLOTS, TRACE, *CELLS)
    kept[:, slot] = traces.keep(fine(*places))
    return kept


def aged(**ages: float) -> Tensor:
    """Ages by slot, the others empty."""
    made = NONE.clone()
    for slot, age in ages.items():
        made[0, int(slot[-1])] = age
    return made


def cells_of(traces: Traces, *now: Tensor) -> Tensor:
    """What the cells say, (1, CELL_CHANNELS, *CELLS)."""
    return traces(traces.moments(*now))


@torch.no_grad()
def test_what_is_kept_of_a_place_is_kept_by_its_cell(traces: Traces) -> None:
    place = 21, 13
    changed = (traces.keep(fine(place)) - traces.keep(fine())).abs() > 1e-6
    assert set(map(tuple, torch.nonzero(changed)[:, 2:].tolist())) == {(place[0] // FOLD[0], place[1] // FOLD[1])}
    assert changed.sum() == TRACE_CHANNELS


@torch.no_grad()
def test_a_slot_that_holds_this_moment_is_read_at_the_same_places(traces: Traces) -> None:
    """A first layer that subtracts what is remembered from what is seen finds no difference, and one where a thing has moved."""
    aligned = Traces(SLOTS, 4.0).eval()
    for part in (aligned.first, aligned.remember):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    for layer in (*aligned.then, aligned.timed[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    for channel in range(TRACE_CHANNELS):
        aligned.remember.weight[channel, channel] = 0.1
        aligned.first.weight[channel, channel, 1, 1] = torch.tanh(torch.tensor(0.3)) / 3.0
        aligned.first.weight[channel, FINE_CHANNELS + 2 * TRACE_CHANNELS + channel, 1, 1] = -1.0
    empty = cells_of(aligned, fine(), remembered(aligned, 2), aged(slot2=1.0))
    stays = cells_of(aligned, fine((21, 13)), remembered(aligned, 2, (21, 13)), aged(slot2=1.0))
    moved = cells_of(aligned, fine((21, 13)), remembered(aligned, 2, (22, 13)), aged(slot2=1.0))
    torch.testing.assert_close(stays, empty, atol=1e-5, rtol=0)
    differs = (moved - empty).abs().amax(dim=(0, 1)) > 1e-4
    assert torch.nonzero(differs).tolist() == [[21 // FOLD[0], 13 // FOLD[1]]]


@torch.no_grad()
def test_where_a_thing_was_within_a_cell_and_when_make_a_difference(traces: Traces) -> None:
    now = fine((21, 13))
    told = [
        cells_of(traces, now, remembered(traces, slot, place), ages)
        for slot, place, ages in (
            (1, (21, 13), aged(slot1=1.0)),
            (1, (20, 13), aged(slot1=1.0)),
            (1, (20, 12), aged(slot1=1.0)),
            (1, (20, 13), aged(slot1=2.0)),
            (0, (20, 13), aged(slot0=1.0)),
            (1, (20, 13), NONE),
        )
    ]
    for one in range(len(told)):
        for other in range(one):
            assert (told[one] - told[other]).abs().max() > 1e-4, (one, other)


@torch.no_grad()
def test_an_empty_slot_has_no_influence(traces: Traces) -> None:
    whatever = torch.randn(1, SLOTS, TRACE, *CELLS, generator=torch.Generator().manual_seed(2))
    assert torch.equal(
        cells_of(traces, fine((3, 3)), whatever, NONE), cells_of(traces, fine((3, 3)), torch.zeros_like(whatever), NONE)
    )


@torch.no_grad()
def test_cells_tell_of_what_is_around_them_only(traces: Traces) -> None:
    row, column = 32, 32
    changed = (
        cells_of(traces, fine((row, column)), remembered(traces, 0), NONE)
        - cells_of(traces, fine(), remembered(traces, 0), NONE)
    ).abs()
    cells = torch.nonzero(changed.amax(dim=(0, 1)) > 1e-6)
    assert len(cells)
    for place, fold, reached in zip((row, column), FOLD, cells.T, strict=True):
        assert (place - REACH) // fold <= reached.min() and reached.max() <= (place + REACH) // fold


@torch.no_grad()
def test_a_cell_tells_of_the_place_that_scores_highest() -> None:
    torch.manual_seed(1)
    strict = Traces(SLOTS, 4.0).eval()
    strict.score.weight *= 1e4
    for layer in strict.then:  # so that places three rows apart do not touch
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    nothing = torch.zeros(1, SLOTS, TRACE, *CELLS)
    one, other, both = (
        cells_of(strict, fine(*places), nothing, NONE)[0, :, 5, 6]
        for places in (((20, 12),), ((23, 13),), ((20, 12), (23, 13)))
    )
    assert one.shape == (CELL_CHANNELS,)
    assert [torch.allclose(both, alone, atol=1e-5) for alone in (one, other)].count(True) == 1


@torch.no_grad()
def test_what_the_gate_shuts_out_is_not_seen() -> None:
    look, drawn = Look().eval(), torch.Generator().manual_seed(3)
    radar, other, lidar = torch.rand(3, 1, 3, 128, 64, generator=drawn)
    none, full = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert look(radar, lidar, [full, full]).shape == (1, FINE_CHANNELS, *FINE)
    assert torch.equal(look(radar, lidar, [none, full]), look(other, lidar, [none, full]))
    assert torch.equal(look(radar, lidar, [full, none]), look(radar, other, [full, none]))
    assert not torch.equal(look(radar, lidar, [full, full]), look(other, lidar, [full, full]))
    assert not torch.equal(look(radar, lidar, [full, full]), look(radar, other, [full, full]))

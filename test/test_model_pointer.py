"""The pointer: words that name a vehicle become its cell, and the cell becomes beams."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import stir
from torch import Tensor

from mmsense_ros.anchors import COLOURS, OBJECT_LABELS
from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.pointer import DOUBT, Pointed, Pointer
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS

SURE = 30.0  #: a logit that leaves no doubt
ANY = None


@pytest.fixture
def pointer() -> Pointer:
    """One that goes by class and colour alone until told otherwise."""
    torch.manual_seed(0)
    made = Pointer(8).eval()
    with torch.no_grad():
        for linear in (made.asked[2], made.query[2]):
            linear.weight.zero_()
            linear.bias.zero_()
        made.query[2].bias[-2:] = -SURE  # no order is asked for
    return made


def cell(row: int, column: int) -> int:
    return row * CELLS[1] + column


def vehicles(*there: tuple[int, int, str, str]) -> Tensor:
    """Appearance logits of vehicles (row, column, colour, label); the other cells look like any and stand for none."""
    logits = torch.zeros(1, len(OBJECT_LABELS) + len(COLOURS), *CELLS)
    for row, column, colour, label in there:
        logits[0, OBJECT_LABELS.index(label), row, column] = SURE
        logits[0, len(OBJECT_LABELS) + COLOURS.index(colour), row, column] = SURE
    return logits


@torch.no_grad()
def ask(pointer: Pointer, seen: Tensor, colour: str | None = ANY, label: str | None = ANY, **changed: Tensor) -> Pointed:
    """What the words, understood to name this colour and class, point at; `changed` are other inputs than zeros."""
    heard = torch.zeros(len(OBJECT_LABELS) + len(COLOURS) + 2)
    heard[OBJECT_LABELS.index(label) if label else len(OBJECT_LABELS)] = SURE
    heard[len(OBJECT_LABELS) + 1 + (COLOURS.index(colour) if colour else len(COLOURS))] = SURE
    pointer.asked[2].bias.copy_(heard)
    given = {"cells": torch.zeros(1, CELL_CHANNELS, *CELLS), "ahead": torch.zeros(1, AHEAD, *CELLS)}
    given |= {"motion": torch.zeros(1, 2, *CELLS)} | changed
    return pointer(torch.zeros(1, 1, 8), given["cells"], given["ahead"], seen, given["motion"])


STREET = vehicles((5, 8, "red", "car"), (9, 20, "blue", "bus"), (12, 25, "blue", "car"))


@pytest.mark.parametrize(
    ("colour", "label", "row", "column"), [("red", "car", 5, 8), ("blue", "bus", 9, 20), ("blue", "car", 12, 25)]
)
def test_class_and_colour_point_at_the_vehicle_that_has_both(
    pointer: Pointer, colour: str, label: str, row: int, column: int
) -> None:
    pointed = ask(pointer, STREET, colour, label)
    assert pointed.share[0, 0].argmax() == cell(row, column)
    first, second = pointed.share[0, 0].topk(2).values
    assert first > 10 * second


def test_agreement_is_the_product_of_what_class_and_colour_say(pointer: Pointer) -> None:
    match = ask(pointer, STREET, "blue", "car").match[0, 0] - pointer.presence.bias.item()
    right, half, none, unknown = 1 + DOUBT, DOUBT, 1 / len(COLOURS) + DOUBT, 1 / len(OBJECT_LABELS) + DOUBT
    assert match[cell(12, 25)].item() == pytest.approx(2 * math.log(right), abs=1e-4)
    for place in (cell(5, 8), cell(9, 20)):
        assert match[place].item() == pytest.approx(math.log(right) + math.log(half), abs=1e-4)
    assert match[cell(0, 0)].item() == pytest.approx(math.log(none) + math.log(unknown), abs=1e-4)


def test_what_is_not_said_shuts_nobody_out(pointer: Pointer) -> None:
    blue, anything = ask(pointer, STREET, colour="blue").match[0, 0], ask(pointer, STREET).match[0, 0]
    assert blue[cell(9, 20)] == blue[cell(12, 25)] > blue[cell(5, 8)] + 3
    assert anything.max() - anything.min() < 1e-5


@pytest.mark.parametrize(("order", "column"), [(0, 8), (1, 25)])
def test_leftmost_and_rightmost(pointer: Pointer, order: int, column: int) -> None:
    cars = vehicles((5, 8, "red", "car"), (9, 20, "red", "car"), (3, 25, "red", "car"), (2, 3, "blue", "bus"))
    pointer.presence.bias.data.zero_()
    undecided = ask(pointer, cars, "red", "car").match[0, 0]
    assert undecided[cell(5, 8)] == undecided[cell(9, 20)] == undecided[cell(3, 25)]
    pointer.query[2].bias.data[-2 + order] = 10.0
    decided = ask(pointer, cars, "red", "car").match[0, 0]
    red = torch.tensor([cell(5, 8), cell(9, 20), cell(3, 25)])
    assert red[decided[red].argmax()] % CELLS[1] == column
    assert decided[red].topk(2).values.diff().item() < -3  # one that precedes it costs some seven


@torch.no_grad()
def test_words_about_nothing_else_than_class_and_colour_have_a_free_say(pointer: Pointer) -> None:
    cells = torch.zeros(1, CELL_CHANNELS, *CELLS)
    cells[0, :, 4, 6] = pointer.key.weight[0, :, 0, 0]
    before = ask(pointer, STREET, cells=cells).match[0, 0]
    pointer.query[2].bias.data[0] = 50.0
    after = ask(pointer, STREET, cells=cells).match[0, 0]
    assert (after - after[0] - before + before[0]).argmax() == cell(4, 6)


def test_beams_are_shares(pointer: Pointer) -> None:
    stir(pointer)
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(1, n, *CELLS, generator=generator) for name, n in (("cells", CELL_CHANNELS), ("ahead", AHEAD))}
    noise["motion"] = 3 * torch.randn(1, 2, *CELLS, generator=generator)
    pointed = ask(pointer, STREET, "red", "car", **noise)
    assert pointed.beams.shape == (1, 1, 2, 64) and (pointed.beams >= 0).all()
    torch.testing.assert_close(pointed.beams.sum(dim=3), torch.ones(1, 1, 2))
    torch.testing.assert_close(pointed.share.sum(dim=2), torch.ones(1, 1))
    torch.testing.assert_close(pointed.rays.sum(dim=3), torch.ones(1, 2, CELLS[0] * CELLS[1]))
    torch.testing.assert_close(pointed.beams[0, 0, 0], pointed.share[0, 0] @ pointed.rays[0, 0])


def only(pointer: Pointer, row: int, column: int, **changed: Tensor) -> Tensor:
    """Beams (2, 64) towards one cell that is meant beyond doubt."""
    with torch.no_grad():
        pointer.presence.weight.zero_()
        pointer.key.weight.zero_()
        pointer.key.bias.zero_()
    seen = torch.zeros_like(STREET)
    seen[0, len(OBJECT_LABELS) :] = 0
    cells = changed.pop("cells", torch.zeros(1, CELL_CHANNELS, *CELLS)).clone()
    cells[0, 0, row, column] = 1.0
    with torch.no_grad():
        pointer.presence.weight[0, 0] = 100.0
    return ask(pointer, seen, cells=cells, **changed).beams[0, 0]


def test_the_beams_of_a_cell_lie_where_it_lies(pointer: Pointer) -> None:
    now, later = only(pointer, 5, 8)
    assert set(now.topk(2).indices.tolist()) == {16, 17}
    torch.testing.assert_close(later, now)
    assert now[14:20].sum() > 0.75, "mostly the line of sight, some for what is reflected"


def test_motion_moves_the_beams_ahead(pointer: Pointer) -> None:
    motion = torch.zeros(1, 2, *CELLS)
    motion[0, 1] = 4.0  # columns a second, for half a second: four beams
    now, later = only(pointer, 5, 8, motion=motion)
    assert set(now.topk(2).indices.tolist()) == {16, 17} and set(later.topk(2).indices.tolist()) == {20, 21}


def test_a_reflection_comes_from_elsewhere(pointer: Pointer) -> None:
    with (
        torch.no_grad()
    ):  # centre, log width and weight of three rays, now and ahead: only the third, twelve beams to the right
        pointer.aim[4].bias.copy_(
            torch.tensor([[0.0, 0.0, -SURE], [0.0, 0.0, -SURE], [1.0, -4.0, SURE]]).repeat(2, 1).flatten()
        )
    assert set(only(pointer, 5, 8)[0].topk(2).indices.tolist()) == {28, 29}

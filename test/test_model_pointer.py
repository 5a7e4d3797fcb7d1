"""The pointer: words that name a vehicle become its cell, and the cell becomes beams."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import stir
from torch import Tensor

from mmsense_ros.anchors import COLOURS, LANES, OBJECT_LABELS, ORDERS
from mmsense_ros.model.cells import AHEAD
from mmsense_ros.model.pointer import DOUBT, LIKELY, Pointed, Pointer, Shown
from mmsense_ros.model.rays import RAYS
from mmsense_ros.model.street import ANGLES, DISTANCES, Facade
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, EMBEDDING

SURE = 30.0  #: a logit that leaves no doubt
ANY = None


@pytest.fixture
def pointer() -> Pointer:
    """One that goes by what is named alone until told otherwise."""
    torch.manual_seed(0)
    made = Pointer(8).eval()
    with torch.no_grad():
        for linear in (made.asked[2], made.query[2]):
            linear.weight.zero_()
            linear.bias.zero_()
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
def ask(
    pointer: Pointer,
    seen: Tensor,
    colour: str | None = ANY,
    label: str | None = ANY,
    lane: str | None = ANY,
    order: str | None = ANY,
    **changed: Tensor | Facade,
) -> Pointed:
    """What the words, understood to name this, point at; `changed` are other inputs than zeros."""
    heard = []
    for named, known in ((label, OBJECT_LABELS), (colour, COLOURS), (lane, LANES), (order, ORDERS)):
        logits = torch.zeros(len(known) + 1)
        logits[known.index(named) if named else len(known)] = SURE
        heard.append(logits)
    pointer.asked[2].bias.copy_(torch.cat(heard))
    channels = {"cells": CELL_CHANNELS, "ahead": AHEAD, "presence": 1, "lanes": len(LANES), "place": 2, "motion": 2}
    given = {name: torch.zeros(1, count, *CELLS) for name, count in channels.items()}
    given |= {"appearance": seen, "facade": facade(0.0, 60.0)} | changed
    return pointer(torch.zeros(1, 1, EMBEDDING), torch.zeros(1, 1, 8), Shown(**given))


def facade(angle: float, distance: float) -> Facade:
    """Facades at `angle` [rad] and `distance` [m]."""
    return Facade(torch.zeros(1, len(ANGLES), len(DISTANCES)), torch.tensor([angle]), torch.tensor([distance]))


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
    match = ask(pointer, STREET, "blue", "car").match[0, 0] - math.log(1 + DOUBT)  # lanes are not asked for
    right, half, none, unknown = 1 + DOUBT, DOUBT, 1 / len(COLOURS) + DOUBT, 1 / len(OBJECT_LABELS) + DOUBT
    assert match[cell(12, 25)].item() == pytest.approx(2 * math.log(right), abs=1e-4)
    for place in (cell(5, 8), cell(9, 20)):
        assert match[place].item() == pytest.approx(math.log(right) + math.log(half), abs=1e-4)
    assert match[cell(0, 0)].item() == pytest.approx(math.log(none) + math.log(unknown), abs=1e-4)


def test_what_is_not_said_shuts_nobody_out(pointer: Pointer) -> None:
    blue, anything = ask(pointer, STREET, colour="blue").match[0, 0], ask(pointer, STREET).match[0, 0]
    assert blue[cell(9, 20)] == blue[cell(12, 25)] > blue[cell(5, 8)] + 3
    assert anything.max() - anything.min() < 1e-5


def lanes(**there: tuple[int, int]) -> Tensor:
    """Logits of lanes, one place (row, column) each."""
    logits = torch.zeros(1, len(LANES), *CELLS)
    for lane, (row, column) in there.items():
        logits[0, LANES.index(lane), row, column] = SURE
    return logits


@pytest.mark.parametrize(("lane", "row", "column"), [("near", 3, 25), ("far", 9, 20), ("parked", 5, 8)])
def test_lanes_tell_likes_apart(pointer: Pointer, lane: str, row: int, column: int) -> None:
    cars = vehicles((5, 8, "red", "car"), (9, 20, "red", "car"), (3, 25, "red", "car"))
    where = lanes(near=(3, 25), far=(9, 20), parked=(5, 8))
    assert ask(pointer, cars, "red", "car", lane, lanes=where).match[0, 0].argmax() == cell(row, column)
    undecided = ask(pointer, cars, "red", "car", lanes=where).match[0, 0]
    assert undecided[cell(5, 8)] == undecided[cell(9, 20)] == undecided[cell(3, 25)]


@pytest.mark.parametrize(
    ("order", "column"), [("leftmost", 8), ("second from the left", 20), ("third from the left", 25), ("rightmost", 25)]
)
def test_order_counts_likes_from_a_side(pointer: Pointer, order: str, column: int) -> None:
    cars = vehicles((5, 8, "red", "car"), (9, 20, "red", "car"), (3, 25, "red", "car"), (2, 3, "blue", "bus"))
    undecided = ask(pointer, cars, "red", "car").match[0, 0]
    assert undecided[cell(5, 8)] == undecided[cell(9, 20)] == undecided[cell(3, 25)]
    presence = torch.full((1, 1, *CELLS), -SURE)
    for row, there in ((5, 8), (9, 20), (3, 25), (2, 3)):
        presence[0, 0, row, there] = 0.0
    decided = ask(pointer, cars, "red", "car", order=order, presence=presence).match[0, 0]
    red = torch.tensor([cell(5, 8), cell(9, 20), cell(3, 25)])
    assert red[decided[red].argmax()] % CELLS[1] == column
    assert decided[red].topk(2).values.diff().item() < -2.5  # a place too far costs some three


def test_a_vehicle_on_the_border_of_two_columns_is_not_beside_itself(pointer: Pointer) -> None:
    presence = torch.full((1, 1, *CELLS), -SURE)
    presence[0, 0, 5, 8:10] = 0.0
    car = vehicles((5, 8, "red", "car"), (5, 9, "red", "car"))
    plain, leftmost = (ask(pointer, car, "red", "car", order=order, presence=presence).match for order in (ANY, "leftmost"))
    torch.testing.assert_close(plain[0, 0, [cell(5, 8), cell(5, 9)]], leftmost[0, 0, [cell(5, 8), cell(5, 9)]])


@torch.no_grad()
def test_words_about_something_else_have_a_free_say(pointer: Pointer) -> None:
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
    every = torch.arange(CELLS[0] * CELLS[1])
    rays = pointed.rays.of(every[None])[0]
    torch.testing.assert_close(rays.sum(dim=2), torch.ones(len(every), 2))
    likely = pointed.share[0, 0].topk(LIKELY)
    expected = torch.einsum("c,chb->hb", likely.values / likely.values.sum(), rays[likely.indices])
    torch.testing.assert_close(pointed.beams[0, 0], expected)


def only(pointer: Pointer, row: int, column: int, **changed: Tensor | Facade) -> Tensor:
    """Beams (2, 64) towards one cell that is meant beyond doubt."""
    presence = torch.zeros(1, 1, *CELLS)
    presence[0, 0, row, column] = 100.0
    return ask(pointer, torch.zeros_like(STREET), presence=presence, **changed).beams[0, 0]


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
    alone(pointer, 2, centre=1.0)  # twelve beams to the right
    assert set(only(pointer, 5, 8)[0].topk(2).indices.tolist()) == {28, 29}


def test_the_facades_mirror_the_cell_and_where_it_will_be(pointer: Pointer) -> None:
    alone(pointer, 1)
    # The cell is 22 m away at 21 degrees; 11.5 m before a facade at 32 m, and so seen in it at 10.3 degrees.
    now, _ = only(pointer, 5, 8, facade=facade(0.0, 32.0))
    assert abs(int(now.argmax()) - 24) <= 1
    motion = torch.zeros(1, 2, *CELLS)
    motion[0, 1] = 8.0  # columns a second: in half a second at 10 degrees, and in the mirror at 4.7
    now, later = only(pointer, 5, 8, facade=facade(0.0, 32.0), motion=motion)
    assert abs(int(now.argmax()) - 24) <= 1 and abs(int(later.argmax()) - 28) <= 1


@torch.no_grad()
def alone(pointer: Pointer, ray: int, centre: float = 0.0) -> None:
    """Lets a cell be reached by one of its rays only, a sharp one."""
    bias = torch.tensor([0.0] * RAYS + [-4.0] * RAYS + [-SURE] * (RAYS + 1)).repeat(2, 1)
    bias[:, ray], bias[:, 2 * RAYS + ray] = centre, SURE
    pointer.ways.aim[4].bias.copy_(bias.flatten())

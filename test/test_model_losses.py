"""Losses: one a task, joined by uncertainties; what is hidden counts where it must and nowhere else."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import TASKS, cut_off, heard, maps, nothing_remembered, small, told
from torch import Tensor

from mmsense_ros.anchors import LANES, OBJECT_BOX
from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.heads import UNFORESEEN
from mmsense_ros.model.losses import (
    LINK_PARTS,
    PARTS,
    CellTargets,
    Targets,
    UncertaintyLoss,
    asked_loss,
    beam_loss,
    cell_loss,
    facade_loss,
    grounding_loss,
    motion_loss,
    rays_loss,
    told_loss,
    vehicles_loss,
    where_loss,
)
from mmsense_ros.model.memory import TOLD
from mmsense_ros.model.pointer import ASKED, KINDS
from mmsense_ros.model.rays import RAYS, Rays
from mmsense_ros.model.street import ANGLES, DISTANCES, grid_shares
from mmsense_ros.model.tokenizers import CELLS

SEEN, HIDDEN, EMPTY = 40, 300, 200  #: cells
POWER = -0.4 * (torch.arange(64.0) - 20).abs()  #: [dB] of each beam; 20 is the best


def things(kinds: int, channels: int) -> CellTargets:
    """Of one snapshot: a thing to be seen and a hidden one, both moving."""
    heat = torch.zeros(1, 512)
    heat[0, [SEEN, HIDDEN]] = 1.0
    return CellTargets(
        heat=heat,
        batch=torch.tensor([0, 0]),
        cell=torch.tensor([SEEN, HIDDEN]),
        seen=torch.tensor([True, False]),
        kind=torch.tensor([[2, 5, 3], [1, 0, 2]])[:, :kinds],
        box=torch.ones(2, channels),
        motion=torch.tensor([[4.0, 0.0], [0.0, -8.0]]),
    )


def truth() -> Targets:
    """Of one snapshot with a terminal that is seen, one that is hidden, one outside the view, and none."""
    return Targets(
        power=POWER.repeat(1, 4, 2, 1),
        blocked=torch.tensor([[[0.0, 1.0]] * 4]),
        pathloss=torch.full((1, 4), 90.0),
        served=torch.tensor([[True, True, True, False]]),
        cell=torch.tensor([[SEEN, HIDDEN, -1, -1]]),
        asked=torch.tensor([[[2, 5, 1, 0], [1, 0, 4, 5], [4, 6, 4, 5], [0, 0, 0, 0]]]),
        facade=torch.tensor([[0.1, 30.0]]),
        objects=things(3, 10),
        people=things(1, 3),
        traffic=torch.tensor([[1.0, 1.0, 0.0, 0.0]]),
    )


def says() -> dict[str, Tensor]:
    """What a model that has learned nothing says to the four."""
    model = small().train()
    return model(maps(), torch.ones(1, 3), told(1, 2, 3, 4), *nothing_remembered())


def test_the_joint_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    priority = {"beam": 4.0, "motion": 0.5}
    joint = UncertaintyLoss(TASKS, 0.5, {"beam": -0.7, "people": 0.5}, priority=priority)
    total, losses = joint(says(), truth())
    assert set(losses) == {task.name for task in TASKS} | {*LINK_PARTS, *PARTS}
    sigma = {name: math.exp({"beam": -0.7, "people": 0.5}.get(name, 0.0)) for name in losses}
    assert total.item() == pytest.approx(
        sum(
            priority.get(name, 1.0) * (loss.item() / (2 * sigma[name] ** 2) + math.log(sigma[name]))
            for name, loss in losses.items()
        ),
        rel=1e-5,
    )
    total.backward()
    for name, loss in losses.items():  # least where sigma squared is the loss
        slope = priority.get(name, 1.0) * (1 - loss.item() / sigma[name] ** 2)
        assert joint.log_sigma[name].grad.item() == pytest.approx(slope, rel=1e-4)


def test_equal_weights_do_not_learn() -> None:
    joint = UncertaintyLoss(TASKS, 0.5, {"beam": -0.7}, learned=False, priority={"beam": 4.0})
    total, losses = joint(says(), truth())
    assert total.item() == pytest.approx(sum(loss.item() for loss in losses.values()) / 2, rel=1e-5)
    assert not any(parameter.requires_grad for parameter in joint.parameters())


@pytest.mark.parametrize("names", [("beam",), ("blockage", "pathloss"), ("objects", "traffic"), ("activity",)])
def test_any_tasks_can_be_learned_alone(names: tuple[str, ...]) -> None:
    tasks = tuple(task for task in TASKS if task.name in names)
    outputs = cut_off(says())
    total, losses = UncertaintyLoss(tasks, 0.5, {})(outputs, truth())
    link = bool({"beam", "blockage", "pathloss"} & set(names))
    assert set(losses) == {*names, *(LINK_PARTS if link else ()), *PARTS} and total.isfinite()
    total.backward()
    of_link = {"grounding", "asked", "rays"} if link else set()
    assert heard(outputs) == {*names, "motion", "seen", "told", "facade", "lanes", "place", *of_link}


def test_what_no_terminal_asks_is_no_fault() -> None:
    joint, outputs = UncertaintyLoss(TASKS, 0.5, {}), says()
    before, _ = joint(outputs, truth())
    for name in ("beam", "blockage", "pathloss", "grounding", "asked"):
        outputs[name] = outputs[name].detach().clone()
        outputs[name][:, 3] += torch.randn_like(outputs[name][:, 3])
    assert joint(outputs, truth())[0] == before
    outputs["beam"][:, 2, :, 20] += 1
    assert joint(outputs, truth())[0] < before


def test_beams_are_best_at_the_measured_profile() -> None:
    power, served = POWER.repeat(1, 1, 2, 1), torch.ones(1, 1, dtype=torch.bool)
    right = beam_loss(power / 0.5, power, served, 0.5)
    assert right < beam_loss(power / 0.5 * 1.5, power, served, 0.5)
    assert right < beam_loss(power.roll(2, -1) / 0.5, power, served, 0.5)
    assert right.item() == pytest.approx(0.0, abs=1e-5)
    share = torch.softmax(POWER / 0.5, dim=0)
    blank = beam_loss(torch.zeros_like(power), power, served, 0.5)
    assert blank.item() == pytest.approx(math.log(64) + (share * share.log()).sum().item(), rel=1e-5)


def test_the_pointer_learns_of_hidden_terminals_too() -> None:
    logits = torch.zeros(1, 4, 512, requires_grad=True)
    loss = grounding_loss({"grounding": logits}, truth())
    assert loss.item() == pytest.approx(math.log(512), rel=1e-5)
    loss.backward()
    assert logits.grad[0].argmin(dim=1)[:2].tolist() == [SEEN, HIDDEN] and not logits.grad[0, 2:].any()


def test_rays_learn_at_the_true_cell() -> None:
    centre = torch.full((1, 2, RAYS, 512), 32.0, requires_grad=True)
    rays = Rays(
        centre=centre,
        width=torch.full((1, 2, RAYS, 512), 1e4),
        weight=torch.zeros(1, 2, RAYS, 512),
        other=torch.full((1, 2, 1, 512), -1e4),
        mirror=torch.zeros(1, 512),
        x=torch.zeros(1, 2, 512),
        y=torch.zeros(1, 2, 512),
        towards=torch.full((1, 2, 512, 64), 1 / 64),
        law=torch.tensor([4.0, 2.5, 15.0, 1.0]),
    )
    loss = rays_loss(rays, truth(), 0.5)
    share = torch.softmax(truth().power[0, :2] / 0.5, dim=-1)
    everywhere = (share * share.log()).sum(dim=-1).mean().item() - math.log(1 / 64 + UNFORESEEN)
    assert loss.item() == pytest.approx(everywhere, rel=1e-5), "rays of any width point everywhere"
    rays.width.fill_(8.0)
    rays_loss(rays, truth(), 0.5).backward()
    assert torch.nonzero(centre.grad[0].any(dim=1).any(dim=0))[:, 0].tolist() == [SEEN, HIDDEN]
    assert (centre.grad[0, ..., [SEEN, HIDDEN]] > 0).all(), "the best beam is to the left of them all"


def test_words_are_understood_when_all_that_they_name_is() -> None:
    logits = torch.zeros(1, 4, sum(ASKED) + len(ASKED))
    unsure = asked_loss({"asked": logits}, truth()).item()
    assert unsure == pytest.approx(sum(math.log(kinds + 1) for kinds in ASKED), rel=1e-5)
    for slot, named in enumerate(truth().asked[0, :3].tolist()):
        for place, (value, before) in enumerate(zip(named, accumulate((0, *ASKED[:-1])), strict=True)):
            logits[0, slot, before + place + value] = 20.0
    assert asked_loss({"asked": logits}, truth()) < 1e-3


def test_the_facade_is_learned_where_it_is_known() -> None:
    score = torch.zeros(2, len(ANGLES), len(DISTANCES), requires_grad=True)
    known = torch.tensor([[0.1, 30.0], [math.nan, 30.0]])
    facade_loss(score, known).backward()
    assert score.grad[0].any() and not score.grad[1].any()
    learned = (grid_shares(*known[:1].unbind(dim=1)) + 1e-9).log()
    assert facade_loss(learned, known[:1]) < facade_loss(learned.roll(1, 1), known[:1]) - 1
    assert facade_loss(learned, known[:1]).item() == pytest.approx(0.0, abs=1e-4), "at the truth nothing is left to learn"
    assert facade_loss(score[1:], known[1:]) == 0


def test_lanes_and_places_are_learned_of_hidden_vehicles_too() -> None:
    lanes, place = (torch.zeros(1, count, *CELLS, requires_grad=True) for count in (len(LANES), 2))
    targets = things(3, 10)
    vehicles_loss(lanes, place, targets).backward()
    assert torch.nonzero(lanes.grad.flatten(2)[0].any(dim=0))[:, 0].tolist() == [SEEN, HIDDEN]
    assert lanes.grad.flatten(2)[0, :, SEEN].argmin() == 3 and lanes.grad.flatten(2)[0, :, HIDDEN].argmin() == 2
    told = place.grad.flatten(2)[0].any(dim=0)
    around = {cell + 32 * row + column for cell in (SEEN, HIDDEN) for row in (-1, 0, 1) for column in (-1, 0, 1)}
    # Both vehicles are a cell beyond the middles of their own: the next cells diagonally are where they are already.
    assert set(torch.nonzero(told)[:, 0].tolist()) == around - {SEEN + 33, HIDDEN + 33}


def test_a_cell_between_two_vehicles_tells_of_the_nearer_one() -> None:
    targets = things(3, 10)
    targets.cell, targets.box = torch.tensor([SEEN, SEEN + 2]), torch.zeros(2, 10)
    targets.box[0, 1], targets.box[1, 1] = 0.4, 0.1  # 0.6 columns to the left of the cell between, and 1.1 to its right
    lanes, place = torch.zeros(1, len(LANES), *CELLS), torch.zeros(1, 2, *CELLS)
    place.flatten(2)[0, 1, SEEN + 1] = -0.6
    right = vehicles_loss(lanes, place, targets)
    place.flatten(2)[0, 1, SEEN + 1] = 1.1
    assert vehicles_loss(lanes, place, targets) > right


def test_cells_come_right_one_thing_after_another() -> None:
    targets, output = things(2, 10), torch.zeros(1, 512, 21)
    output[..., 0] = -5

    def loss() -> float:
        return cell_loss(output, targets, KINDS, OBJECT_BOX).item()

    falling = [loss()]
    for cell, channels, value in ((SEEN, 0, 5.0), (SEEN, [3, 10], 9.0), (HIDDEN, [2, 5], 9.0), (SEEN, OBJECT_BOX, 1.0)):
        output[0, cell, channels] = value
        falling.append(loss())
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.05 < falling[-2]
    output[0, EMPTY, 0] = 5  # something that is not there
    assert loss() > 1


def test_a_hidden_thing_counts_for_what_alone() -> None:
    output = torch.zeros(1, 512, 21, requires_grad=True)
    cell_loss(output, things(2, 10), KINDS, OBJECT_BOX).backward()
    seen, hidden = (output.grad[0, cell] for cell in (SEEN, HIDDEN))
    assert hidden[0] == 0 and hidden[1:11].all() and not hidden[11:].any(), "where it is and its box are no fault"
    assert seen.all() and output.grad[0, EMPTY, 0] > 0 and not output.grad[0, EMPTY, 1:].any()


def test_an_entry_tells_of_what_is_in_sight() -> None:
    told, people = torch.zeros(1, TOLD, *CELLS, requires_grad=True), things(1, 3)
    people.cell, people.heat = people.cell + 1, people.heat.roll(1)
    loss, vehicles = told_loss(told, things(2, 10), people), things(2, 10)
    whether = where_loss(torch.zeros(1, 512), vehicles, people)
    assert loss.item() == pytest.approx(math.log(KINDS[0]) + math.log(KINDS[1]) + 4 * 0.95 + whether.item(), rel=1e-5)
    loss.backward()
    gradient, there = told.grad[0, :-1].flatten(1), told.grad[0, -1].flatten()
    assert torch.nonzero(gradient.any(dim=0))[:, 0].tolist() == [SEEN, SEEN + 1]
    assert gradient[:4, SEEN].argmin() == 2 and gradient[4:-2, SEEN].argmin() == 5
    assert not gradient[:-2, SEEN + 1].any() and (gradient[-2:, [SEEN, SEEN + 1]] < 0).all()
    assert torch.nonzero(there < 0)[:, 0].tolist() == [SEEN, SEEN + 1] and there[EMPTY] > 0


def test_motion_is_learned_of_hidden_things_too_and_empty_cells_stand_still() -> None:
    targets, motion = things(2, 10), torch.zeros(1, 2, *CELLS)
    # Smooth L1 of 1 and 2 units is each less half of beta, 0.1, over two things.
    assert motion_loss(motion, targets).item() == pytest.approx((0.95 + 1.95) / 2, rel=1e-5)
    at = motion.flatten(2)[0]
    at[:, SEEN] = targets.motion[0]
    assert motion_loss(motion, targets).item() == pytest.approx(1.95 / 2, rel=1e-5)
    at[:, HIDDEN] = targets.motion[1]
    assert motion_loss(motion, targets).item() == 0
    at[0, EMPTY] = MOTION_UNIT
    assert motion_loss(motion, targets).item() == pytest.approx(1 / (2 * 510), rel=1e-5)
    people = things(1, 3)
    people.heat, people.cell, people.motion = people.heat.roll(1), people.cell + 1, people.motion * math.nan
    people.motion[0] = torch.tensor([0.0, 4.0])
    at[0, EMPTY] = 0
    assert motion_loss(motion, targets, people).item() == pytest.approx(0.95 / 2, rel=1e-5), "one's pace is not known"

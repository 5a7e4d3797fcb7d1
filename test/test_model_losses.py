"""Losses: one a task, joined by uncertainties; what is hidden counts where it must and nowhere else."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import TASKS, maps, nothing_remembered, small, told
from torch import Tensor

from mmsense_ros.anchors import OBJECT_BOX
from mmsense_ros.model.heads import UNFORESEEN
from mmsense_ros.model.losses import (
    CellTargets,
    Targets,
    UncertaintyLoss,
    asked_loss,
    beam_loss,
    cell_loss,
    grounding_loss,
    motion_loss,
    rays_loss,
    told_loss,
)
from mmsense_ros.model.memory import MOTION_UNIT
from mmsense_ros.model.pointer import KINDS
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
        kind=torch.tensor([[2, 5], [1, 0]])[:, :kinds],
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
        asked=torch.tensor([[[2, 5], [1, 0], [4, 6], [0, 0]]]),
        objects=things(2, 10),
        people=things(1, 3),
        traffic=torch.tensor([[1.0, 1.0, 0.0, 0.0]]),
    )


def says() -> dict[str, Tensor]:
    """What a model that has learned nothing says to the four."""
    model = small().train()
    return model(maps(), torch.ones(1, 3), told(1, 2, 3, 4), *nothing_remembered())


def test_the_joint_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    joint = UncertaintyLoss(TASKS, 0.5, {"beam": -0.7, "people": 0.5})
    total, losses = joint(says(), truth())
    assert set(losses) == {task.name for task in TASKS}
    sigma = {name: math.exp({"beam": -0.7, "people": 0.5}.get(name, 0.0)) for name in losses}
    assert total.item() == pytest.approx(
        sum(loss.item() / (2 * sigma[name] ** 2) + math.log(sigma[name]) for name, loss in losses.items()), rel=1e-5
    )
    total.backward()
    for name, loss in losses.items():  # least where sigma squared is the loss
        assert joint.log_sigma[name].grad.item() == pytest.approx(1 - loss.item() / sigma[name] ** 2, rel=1e-4)


def test_equal_weights_do_not_learn() -> None:
    joint = UncertaintyLoss(TASKS, 0.5, {"beam": -0.7}, learned=False)
    total, losses = joint(says(), truth())
    assert total.item() == pytest.approx(sum(loss.item() for loss in losses.values()) / 2, rel=1e-5)
    assert not any(parameter.requires_grad for parameter in joint.parameters())


@pytest.mark.parametrize("names", [("beam",), ("blockage", "pathloss"), ("objects", "traffic"), ("activity",)])
def test_any_tasks_can_be_learned_alone(names: tuple[str, ...]) -> None:
    tasks = tuple(task for task in TASKS if task.name in names)
    outputs = {name: output.detach().requires_grad_() for name, output in says().items()}
    total, losses = UncertaintyLoss(tasks, 0.5, {})(outputs, truth())
    assert set(losses) == set(names) and total.isfinite()
    total.backward()
    heard = {name for name, output in outputs.items() if output.grad is not None and output.grad.any()}
    link = {"grounding", "asked", "rays"} if {"beam", "blockage", "pathloss"} & set(names) else set()
    assert heard == {*names, "motion", "told", *link}


def test_what_no_terminal_asks_is_no_fault() -> None:
    joint, outputs = UncertaintyLoss(TASKS, 0.5, {}), {name: output.detach() for name, output in says().items()}
    before, _ = joint(outputs, truth())
    for name in ("beam", "blockage", "pathloss", "grounding", "asked"):
        outputs[name] = outputs[name].clone()
        outputs[name][:, 3] += torch.randn_like(outputs[name][:, 3])
    assert joint(outputs, truth())[0] == before
    outputs["beam"][:, 2, :, 20] += 1
    assert joint(outputs, truth())[0] < before


def test_beams_are_best_at_the_measured_profile() -> None:
    power, served = POWER.repeat(1, 1, 2, 1), torch.ones(1, 1, dtype=torch.bool)
    right = beam_loss(power / 0.5, power, served, 0.5)
    assert right < beam_loss(power / 0.5 * 1.5, power, served, 0.5)
    assert right < beam_loss(power.roll(2, -1) / 0.5, power, served, 0.5)
    share = torch.softmax(POWER / 0.5, dim=0)
    assert right.item() == pytest.approx(-(share * share.log()).sum().item(), rel=1e-5)


def test_the_pointer_learns_of_hidden_terminals_too() -> None:
    logits = torch.zeros(1, 4, 512, requires_grad=True)
    loss = grounding_loss({"grounding": logits}, truth())
    assert loss.item() == pytest.approx(math.log(512), rel=1e-5)
    loss.backward()
    assert logits.grad[0].argmin(dim=1)[:2].tolist() == [SEEN, HIDDEN] and not logits.grad[0, 2:].any()


def test_rays_learn_at_the_true_cell() -> None:
    rays = torch.full((1, 2, 512, 64), 1 / 64, requires_grad=True)
    loss = rays_loss(rays, truth(), 0.5)
    assert loss.item() == pytest.approx(-math.log(1 / 64 + UNFORESEEN), rel=1e-5)
    loss.backward()
    assert torch.nonzero(rays.grad[0, 0].any(dim=1))[:, 0].tolist() == [SEEN, HIDDEN]
    assert rays.grad[0, 1, SEEN].argmin() == 20


def test_words_are_understood_when_class_and_colour_are() -> None:
    logits = torch.zeros(1, 4, sum(KINDS) + 2)
    unsure = asked_loss({"asked": logits}, truth()).item()
    assert unsure == pytest.approx(math.log(KINDS[0] + 1) + math.log(KINDS[1] + 1), rel=1e-5)
    for slot, (label, colour) in enumerate(truth().asked[0, :3].tolist()):
        logits[0, slot, label] = logits[0, slot, KINDS[0] + 1 + colour] = 20.0
    assert asked_loss({"asked": logits}, truth()) < 1e-3


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
    told = torch.zeros(1, sum(KINDS), *CELLS, requires_grad=True)
    loss = told_loss(told, things(2, 10))
    assert loss.item() == pytest.approx(math.log(KINDS[0]) + math.log(KINDS[1]), rel=1e-5)
    loss.backward()
    gradient = told.grad[0].flatten(1)
    assert torch.nonzero(gradient.any(dim=0))[:, 0].tolist() == [SEEN]
    assert gradient[:4, SEEN].argmin() == 2 and gradient[4:, SEEN].argmin() == 5


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

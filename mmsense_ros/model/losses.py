"""What training minimizes: one loss a task, joined by learned uncertainties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import OBJECT_BOX, PEOPLE_BOX
from mmsense_ros.model.heads import PATHLOSS_SCALE, UNFORESEEN
from mmsense_ros.model.memory import MOTION_UNIT
from mmsense_ros.model.pointer import KINDS
from mmsense_ros.tasks import Task


EMPTY = 0.05  #: heat below which nothing is near
LINK = ("beam", "blockage", "pathloss")  #: heads whose answers are about the terminal that the words name


@dataclass
class CellTargets:
    """Truth on anchored cells: `heat` (B, Q), 1 where a thing is, falling off around it; `batch`, `cell` (P,) int say where the P
    things are, `seen` (P,) bool which of them can be (a hidden one only hushes its cell); `kind` (P, classifications) int; `box`
    (P, channels); `motion` (P, 2) [rows/s, columns/s]."""

    heat: Tensor
    batch: Tensor
    cell: Tensor
    seen: Tensor
    kind: Tensor
    box: Tensor
    motion: Tensor


@dataclass
class Targets:
    """Truth of one batch: `power` (B, K, 2, beams) [dB], now and ahead; `blocked` (B, K, 2) 0 or 1; `pathloss` (B, K) [dB];
    `served` (B, K) bool, false where a snapshot has fewer terminals; `cell` (B, K) int, the cell the terminal's vehicle is in, seen or
    hidden, -1 if in none; `asked` (B, K, 2) int, class and colour that the words name, one more than the last if none; `traffic`
    (B, labels) counts."""

    power: Tensor
    blocked: Tensor
    pathloss: Tensor
    served: Tensor
    cell: Tensor
    asked: Tensor
    objects: CellTargets
    people: CellTargets
    traffic: Tensor


class UncertaintyLoss(nn.Module):
    """L = sum_t L_t / (2 sigma_t^2) + log sigma_t with learned log sigma_t (Kendall, Gal, Cipolla 2018).

    `power_temperature` [dB] softens the measured power profile into the target distribution over beams; `start` is the initial
    log sigma by task, 0 for the others; with `learned` false all tasks weigh the same.
    """

    def __init__(
        self, tasks: tuple[Task, ...], power_temperature: float, start: Mapping[str, float], learned: bool = True
    ) -> None:
        super().__init__()
        self.heads = {task.name: task.head for task in tasks}
        start = start if learned else {}
        self.log_sigma = nn.ParameterDict(
            {task.name: nn.Parameter(torch.tensor(start.get(task.name, 0.0)), requires_grad=learned) for task in tasks}
        )
        self.power_temperature = power_temperature

    def forward(self, outputs: dict[str, Tensor], targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """The joint loss, and each task's own loss for the log; what serves all tasks about a terminal counts with the first of them."""
        losses = {name: self._task(head, outputs[name].float(), targets) for name, head in self.heads.items()}
        link = next((name for name, head in self.heads.items() if head in LINK), None)
        if link is not None:
            losses[link] = losses[link] + grounding_loss(outputs, targets) + asked_loss(outputs, targets)
            losses[link] = losses[link] + rays_loss(outputs["rays"], targets, self.power_temperature)
        first = link or next(iter(losses))
        losses[first] = (
            losses[first] + motion_loss(outputs["motion"], targets.objects) + told_loss(outputs["told"], targets.objects)
        )
        total = sum(loss * (-2 * self.log_sigma[name]).exp() / 2 + self.log_sigma[name] for name, loss in losses.items())
        return total, {name: loss.detach() for name, loss in losses.items()}

    def _task(self, head: str, output: Tensor, targets: Targets) -> Tensor:
        if head == "beam":
            return beam_loss(output, targets.power, targets.served, self.power_temperature)
        if head == "blockage":
            return F.binary_cross_entropy_with_logits(output[targets.served], targets.blocked[targets.served])
        if head == "pathloss":
            error = (output[..., 0] - targets.pathloss)[targets.served] / PATHLOSS_SCALE
            return F.huber_loss(error, torch.zeros_like(error))
        if head == "traffic":
            return F.poisson_nll_loss(output, targets.traffic, log_input=False, eps=1e-4, full=True)
        if head == "objects":
            return cell_loss(output, targets.objects, KINDS, OBJECT_BOX)
        if head == "people":
            return cell_loss(output, targets.people, (), PEOPLE_BOX)
        people = targets.people
        here = people.batch[people.seen], people.cell[people.seen]
        return F.cross_entropy(output[here], people.kind[people.seen, 0], reduction="sum") / max(len(here[0]), 1)


def beam_loss(logits: Tensor, power: Tensor, served: Tensor, temperature: float) -> Tensor:
    """Cross-entropy to softmax(power / temperature): neighbours that are nearly as good count nearly as much."""
    target = torch.softmax(power / temperature, dim=-1)
    entropy = -(target * torch.log_softmax(logits, dim=-1)).sum(dim=-1)
    return entropy[served].mean()


def grounding_loss(outputs: dict[str, Tensor], targets: Targets) -> Tensor:
    """Cross-entropy of the pointer to the terminal's cell, hidden ones included: they are where nothing is to be seen."""
    known = targets.served & (targets.cell >= 0)
    return F.cross_entropy(outputs["grounding"][known], targets.cell[known], reduction="sum") / known.sum().clamp(min=1)


def rays_loss(rays: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Cross-entropy of the beams that reach the terminal's true cell, whatever the pointer took it for."""
    snapshot, slot = torch.nonzero(targets.served & (targets.cell >= 0), as_tuple=True)
    share = rays[snapshot, :, targets.cell[snapshot, slot]]
    target = torch.softmax(targets.power[snapshot, slot] / temperature, dim=-1)
    return -(target * (share + UNFORESEEN).log()).sum() / max(2 * len(snapshot), 1)


def asked_loss(outputs: dict[str, Tensor], targets: Targets) -> Tensor:
    """Cross-entropy of what the words were understood to say about class and colour."""
    total, start = outputs["asked"].new_zeros(()), 0
    for index, kinds in enumerate(KINDS):
        logits = outputs["asked"][..., start : start + kinds + 1][targets.served]
        total = total + F.cross_entropy(logits, targets.asked[..., index][targets.served])
        start += kinds + 1
    return total


def cell_loss(output: Tensor, targets: CellTargets, kinds: tuple[int, ...], box: slice) -> Tensor:
    """Penalty-reduced focal loss (CornerNet) for where, cross-entropy for what (each of `kinds` in turn), smooth L1 for the box.

    Hidden things count for what alone: a memory may know.
    """
    score = output[..., 0]
    likely, unlikely = F.logsigmoid(score), F.logsigmoid(-score)
    empty = (1 - targets.heat) ** 4 * (2 * likely).exp() * unlikely
    here = targets.batch[targets.seen], targets.cell[targets.seen]
    full = (2 * unlikely[here]).exp() * likely[here]
    count = max(len(here[0]), 1)
    where = -(empty.sum() + full.sum()) / count
    what = kind_loss(output[targets.batch, targets.cell, 1:], targets.kind, kinds)
    return where + what + F.smooth_l1_loss(output[here][:, box], targets.box[targets.seen], reduction="sum", beta=0.1) / count


def kind_loss(logits: Tensor, kind: Tensor, kinds: tuple[int, ...]) -> Tensor:
    """Cross-entropy of `logits` (P, channels), `kinds` of them in turn, to `kind` (P, classifications)."""
    total, start = logits.new_zeros(()), 0
    for index, labels in enumerate(kinds):
        total = total + F.cross_entropy(logits[:, start : start + labels], kind[:, index], reduction="sum")
        start += labels
    return total / max(len(kind), 1)


def told_loss(told: Tensor, targets: CellTargets) -> Tensor:
    """Cross-entropy of what a snapshot's entry tells of the vehicles in sight."""
    logits = told.float().flatten(2).transpose(1, 2)[targets.batch[targets.seen], targets.cell[targets.seen]]
    return kind_loss(logits, targets.kind[targets.seen], KINDS)


def motion_loss(motion: Tensor, targets: CellTargets) -> Tensor:
    """Smooth L1, in MOTION_UNIT, of how vehicles move, hidden ones included; cells without any stand still."""
    moved = motion.flatten(2).transpose(1, 2) / MOTION_UNIT
    here = moved[targets.batch, targets.cell]
    vehicles = F.smooth_l1_loss(here, targets.motion / MOTION_UNIT, reduction="sum", beta=0.1) / max(len(here), 1)
    still = moved[targets.heat < EMPTY].abs().mean()
    return vehicles + still

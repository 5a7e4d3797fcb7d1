"""What training minimizes: a loss for each task and each part that is told its own truth, joined by learned uncertainties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import OBJECT_BOX, PEOPLE_BOX, UNKNOWN
from mmsense_ros.model.cells import MOTION_UNIT
from mmsense_ros.model.heads import PATHLOSS_SCALE, UNFORESEEN
from mmsense_ros.model.pointer import ASKED, KINDS, NAMED
from mmsense_ros.model.rays import Rays
from mmsense_ros.model.street import grid_shares
from mmsense_ros.model.tokenizers import CELLS
from mmsense_ros.tasks import Task

EMPTY = 0.05  #: heat below which nothing is near
LINK = ("beam", "blockage", "pathloss")  #: heads whose answers are about the terminal that the words name
LINK_PARTS = ("pointer", "rays")  #: losses that serve those
PARTS = ("motion", "told", "facade", "vehicles")  #: losses that serve every task


@dataclass
class CellTargets:
    """Truth on anchored cells: `heat` (B, Q), 1 where a thing is, falling off around it; `batch`, `cell` (P,) int say where the P
    things are, `seen` (P,) bool which of them can be (a hidden one only hushes its cell); `kind` (P, classifications) int; `box`
    (P, channels); `motion` (P, 2) [rows/s, columns/s]. What is not known is NaN, and UNKNOWN where it is an index."""

    heat: Tensor
    batch: Tensor
    cell: Tensor
    seen: Tensor
    kind: Tensor
    box: Tensor
    motion: Tensor


@dataclass
class Targets:
    """Truth of one batch, NaN where it is not known, and UNKNOWN where it is an index: `power` (B, K, 2, beams) [dB], now and
    ahead; `blocked` (B, K, 2) 0 or 1; `pathloss` (B, K) [dB]; `served` (B, K) bool, false where a snapshot has fewer terminals;
    `cell` (B, K) int, the cell the terminal's vehicle is in, seen or hidden, -1 if in none; `asked` (B, K, 4) int, class, colour,
    lane and order that the words name, one more than the last if none; `facade` (B, 2) azimuth [rad] and distance [m] of the
    facades across the street; `traffic` (B, labels) counts."""

    power: Tensor
    blocked: Tensor
    pathloss: Tensor
    served: Tensor
    cell: Tensor
    asked: Tensor
    facade: Tensor
    objects: CellTargets
    people: CellTargets
    traffic: Tensor


class UncertaintyLoss(nn.Module):
    """L = sum_t p_t (L_t / (2 sigma_t^2) + log sigma_t) with learned log sigma_t (Kendall, Gal, Cipolla 2018).

    Besides the tasks, each part of the network that is told its own truth (LINK_PARTS, PARTS) has a loss and a sigma. What is compared
    with a distribution is a divergence: it has no floor, so that sigma measures what there is to learn. As sigmas make halving any
    loss worth the same, `priority` says by loss what is worth more (p, else 1). `start` is the initial log sigma by loss, else 0;
    `power_temperature` [dB] softens the measured power profile into the target distribution over beams; with `learned` false
    all losses weigh the same.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        power_temperature: float,
        start: Mapping[str, float],
        learned: bool = True,
        priority: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.heads = {task.name: task.head for task in tasks}
        self.link = any(head in LINK for head in self.heads.values())
        names = (*self.heads, *(LINK_PARTS if self.link else ()), *PARTS)
        start, self.priority = (start, priority) if learned else ({}, {})
        self.log_sigma = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(start.get(name, 0.0)), requires_grad=learned) for name in names}
        )
        self.power_temperature = power_temperature

    def forward(self, outputs: dict[str, Tensor], targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """The joint loss, and each loss by itself for the log."""
        losses = {name: self._task(head, outputs[name].float(), targets) for name, head in self.heads.items()}
        if self.link:
            losses["pointer"] = grounding_loss(outputs, targets) + asked_loss(outputs, targets)
            losses["rays"] = rays_loss(outputs["rays"], targets, self.power_temperature)
        # What one snapshot shows by itself too: it would never be learned beside matching, which serves sooner.
        losses["motion"] = sum(motion_loss(outputs[name], targets.objects, targets.people) for name in ("motion", "seen"))
        losses["told"] = told_loss(outputs["told"], targets.objects, targets.people)
        losses["facade"] = facade_loss(outputs["facade"], targets.facade)
        losses["vehicles"] = vehicles_loss(outputs["lanes"], outputs["place"], targets.objects)
        # Where nothing is known of the truth there is no loss, and then sigma must not shrink either.
        total = sum(
            (loss * (-2 * self.log_sigma[name]).exp() / 2 + self.log_sigma[name])
            * (self.priority.get(name, 1.0) * (loss.detach() != 0))
            for name, loss in losses.items()
        )
        return total, {name: loss.detach() for name, loss in losses.items()}

    def _task(self, head: str, output: Tensor, targets: Targets) -> Tensor:
        if head == "beam":
            return beam_loss(output, targets.power, targets.served, self.power_temperature)
        if head == "blockage":
            known = targets.served[..., None] & targets.blocked.isfinite()
            return _mean(F.binary_cross_entropy_with_logits(output[known], targets.blocked[known], reduction="none"))
        if head == "pathloss":
            known = targets.served & targets.pathloss.isfinite()
            error = (output[..., 0][known] - targets.pathloss[known]) / PATHLOSS_SCALE
            return _mean(F.huber_loss(error, torch.zeros_like(error), reduction="none"))
        if head == "traffic":
            known = targets.traffic.isfinite()
            counts = output[known], targets.traffic[known]
            return _mean(F.poisson_nll_loss(*counts, log_input=False, eps=1e-4, full=True, reduction="none"))
        if head == "objects":
            return cell_loss(output, targets.objects, KINDS, OBJECT_BOX)
        if head == "people":
            return cell_loss(output, targets.people, (), PEOPLE_BOX)
        people = targets.people
        here = people.batch[people.seen], people.cell[people.seen]
        return kind_loss(output[here], people.kind[people.seen], output.shape[-1:])


def beam_loss(logits: Tensor, power: Tensor, served: Tensor, temperature: float) -> Tensor:
    """Divergence from softmax(power / temperature): neighbours that are nearly as good count nearly as much."""
    known = served[..., None] & power.isfinite().all(dim=-1)
    return _divergence(torch.log_softmax(logits[known], dim=-1), torch.softmax(power[known] / temperature, dim=-1))


def grounding_loss(outputs: dict[str, Tensor], targets: Targets) -> Tensor:
    """Cross-entropy of the pointer to the terminal's cell, hidden ones included: they are where nothing is to be seen."""
    known = targets.served & (targets.cell >= 0)
    return F.cross_entropy(outputs["grounding"][known], targets.cell[known], reduction="sum") / known.sum().clamp(min=1)


def rays_loss(rays: Rays, targets: Targets, temperature: float) -> Tensor:
    """Divergence of the beams that reach the terminal's true cell, whatever the pointer took it for."""
    known = (targets.served & (targets.cell >= 0))[..., None] & targets.power.isfinite().all(dim=-1)
    target = torch.softmax(targets.power[known] / temperature, dim=-1)
    share = rays.of(targets.cell.clamp(min=0))[known]
    return _divergence((share + UNFORESEEN).log(), target)


def asked_loss(outputs: dict[str, Tensor], targets: Targets) -> Tensor:
    """Cross-entropy of what the words were understood to say about class, colour, lane and order."""
    said = tuple(kinds + 1 for kinds in ASKED)
    return kind_loss(outputs["asked"][targets.served], targets.asked[targets.served], said)


def cell_loss(output: Tensor, targets: CellTargets, kinds: tuple[int, ...], box: slice) -> Tensor:
    """Penalty-reduced focal loss (CornerNet) for where, cross-entropy for what (each of `kinds` in turn), smooth L1 for the box.

    Hidden things count for what alone: a memory may know.
    """
    here = targets.batch[targets.seen], targets.cell[targets.seen]
    count = max(len(here[0]), 1)
    where = where_loss(output[..., 0], targets)
    what = kind_loss(output[targets.batch, targets.cell, 1:], targets.kind, kinds)
    return where + what + _known_l1(output[here][:, box], targets.box[targets.seen]) / count


def where_loss(score: Tensor, *targets: CellTargets) -> Tensor:
    """Penalty-reduced focal loss of `score` (B, Q), logits that a cell holds one of the things of `targets`."""
    likely, unlikely = F.logsigmoid(score), F.logsigmoid(-score)
    heat = torch.stack([those.heat for those in targets]).amax(dim=0)
    known = heat.isfinite()
    empty = (1 - heat[known]) ** 4 * (2 * likely[known]).exp() * unlikely[known]
    here = tuple(torch.cat([getattr(those, name)[those.seen] for those in targets]) for name in ("batch", "cell"))
    full = (2 * unlikely[here]).exp() * likely[here]
    return -(empty.sum() + full.sum()) / max(len(here[0]), 1)


def kind_loss(logits: Tensor, kind: Tensor, kinds: tuple[int, ...]) -> Tensor:
    """Cross-entropy of `logits` (P, channels), `kinds` of them in turn, to `kind` (P, classifications), over those that are known."""
    total, start = logits.new_zeros(()), 0
    for index, labels in enumerate(kinds):
        known = kind[:, index] != UNKNOWN
        total = total + _mean(F.cross_entropy(logits[known, start : start + labels], kind[known, index], reduction="none"))
        start += labels
    return total


def told_loss(told: Tensor, vehicles: CellTargets, people: CellTargets) -> Tensor:
    """Cross-entropy of what a snapshot's entry tells of the vehicles in sight, focal loss of whether it says that they and people are
    there, and smooth L1 of where."""
    told = told.float().flatten(2).transpose(1, 2)
    logits = told[vehicles.batch[vehicles.seen], vehicles.cell[vehicles.seen]]
    where = sum(
        _known_l1(told[those.batch[those.seen], those.cell[those.seen]][:, sum(KINDS) : -1], those.box[those.seen, :2])
        / max(int(those.seen.sum()), 1)
        for those in (vehicles, people)
    )
    return kind_loss(logits, vehicles.kind[vehicles.seen], KINDS) + where + where_loss(told[..., -1], vehicles, people)


def facade_loss(score: Tensor, facade: Tensor) -> Tensor:
    """Divergence of where the facades stand from the grid's points around where they do."""
    known = facade.isfinite().all(dim=1)
    target = grid_shares(*facade[known].unbind(dim=1)).flatten(1)
    return _divergence(torch.log_softmax(score[known].float().flatten(1), dim=1), target)


def vehicles_loss(lanes: Tensor, place: Tensor, targets: CellTargets) -> Tensor:
    """Cross-entropy of vehicles' lanes, and smooth L1 of where they are as their cells and the eight around tell it, hidden ones included."""
    lane, there = (values.float().flatten(2).transpose(1, 2) for values in (lanes, place))
    batch, cell, offset = _around(targets)
    where = _known_l1(there[batch, cell], offset) / max(len(cell), 1)
    named = kind_loss(lane[targets.batch, targets.cell], targets.kind[:, len(KINDS) :], NAMED[len(KINDS) :])
    return named + where


def _around(targets: CellTargets) -> tuple[Tensor, Tensor, Tensor]:
    """Snapshots and cells (n,) that hold a thing or are next to one, and where that is from their middles (n, 2) [rows, columns]; of
    several things the nearest."""
    step = torch.stack(torch.meshgrid(*[torch.arange(-1, 2, device=targets.cell.device)] * 2, indexing="ij"), dim=-1).flatten(
        0, 1
    )
    place = torch.stack([targets.cell // CELLS[1], targets.cell % CELLS[1]], dim=1)[:, None] + step
    offset = targets.box[:, None, :2] - step
    inside = ((place >= 0) & (place < torch.tensor(CELLS, device=place.device))).all(dim=2) & offset.isfinite().all(dim=2)
    batch = targets.batch[:, None].expand_as(inside)[inside]
    cell, offset = (place[..., 0] * CELLS[1] + place[..., 1])[inside], offset[inside]
    distance, claimed = offset.square().sum(dim=1), batch * (CELLS[0] * CELLS[1]) + cell
    nearest = torch.full((int(targets.heat.numel()),), torch.inf, device=cell.device)
    nearest.scatter_reduce_(0, claimed, distance, "amin")
    mine = distance == nearest[claimed]
    return batch[mine], cell[mine], offset[mine]


def motion_loss(motion: Tensor, *targets: CellTargets) -> Tensor:
    """Smooth L1, in MOTION_UNIT, of how vehicles and people move, hidden ones included; cells without any stand still."""
    moved = motion.flatten(2).transpose(1, 2) / MOTION_UNIT
    things = sum(
        _known_l1(moved[those.batch, those.cell], those.motion / MOTION_UNIT) / max(len(those.cell), 1) for those in targets
    )
    empty = torch.stack([those.heat < EMPTY for those in targets]).all(dim=0)
    return things + _mean(moved[empty].abs())


def _known_l1(output: Tensor, truth: Tensor) -> Tensor:
    """Sum of smooth L1 over what is known of `truth`."""
    known = truth.isfinite()
    return F.smooth_l1_loss(output[known], truth[known], reduction="sum", beta=0.1)


def _divergence(said: Tensor, target: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the distributions whose logarithms are `said` (n, m) from `target` (n, m)."""
    return _mean((torch.xlogy(target, target) - target * said).sum(dim=-1))


def _mean(values: Tensor) -> Tensor:
    """Mean, 0 of nothing."""
    return values.sum() / max(values.numel(), 1)

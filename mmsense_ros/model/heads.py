"""Task branches: each task's queries, its sequential attention, and the head that turns its answers into an output.

Outputs of the exported model, one instruction, batch 1, float32:

    gate      (1, 3)        weight of camera, radar, LiDAR; they sum to 1, exactly 0 where missing
    beam      (1, 2, 64)    logits of the best beam, [now, ahead]
    blockage  (1, 2)        logits that the line of sight is blocked, [now, ahead]
    pathloss  (1, 1)        [dB]
    objects   (1, 512, 21)  per anchored polar cell, layout in anchors.py
    traffic   (1, 4)        expected number of vehicles in view, by class, >= 0
    people    (1, 512, 4)   per anchored polar cell, layout in anchors.py
    activity  (1, 512, 4)   per anchored polar cell, logits of what a person there does; a closer look says it anew, if there is one
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import OBJECT_BOX, PEOPLE_CHANNELS
from mmsense_ros.model.attention import SequentialAttention, groups, visible
from mmsense_ros.model.cells import AHEAD, MOTION_UNIT
from mmsense_ros.model.pointer import Pointed, Shown
from mmsense_ros.model.rays import BEAMS
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS, TOKENS, Places, convolution, token_azimuths
from mmsense_ros.tasks import Task

UNFORESEEN = 1e-3  #: probability left to every beam, for reflections and what was not found
PATHLOSS_MEAN, PATHLOSS_SCALE = 90.0, 10.0  #: [dB] so that the network predicts numbers of order one


@dataclass
class Scene:
    """What the branches read.

    `layers` (B, N + n K, d) each: the tokens after every backbone layer, the N sensing tokens first, then n of each of K
    instructions; `valid` (B, N + n K) bool; `group` (N + n K,) as `attention.visible` takes it; `azimuth` (N,) 0..1 from left to right.
    `shown`: what is there, cell by cell; `meaning` (B, K, d); `pointed`: which cell each instruction means.
    """

    layers: list[Tensor]
    valid: Tensor
    group: Tensor
    sensing: int
    azimuth: Tensor
    shown: Shown
    meaning: Tensor
    pointed: Pointed


@dataclass
class Shape:
    """Sizes of a branch, and the places it shares with the others; `sequential` false reads the last layer over and over."""

    model: int
    layers: int
    places: Places
    sequential: bool = True


class LinkBranch(nn.Module):
    """Answers about the terminal an instruction names: one query, told what is asked and what is there where that points.

    q_0 = query + W_a meaning + W_t [sum_c share_c [cell_c, ahead_c], share of each range],    answer = MLP(q_L)

    with share_c the pointer's (pointer.py) and q_L as task-specific sequential attention has it (attention.py; Li et al. 2025).
    """

    def __init__(self, shape: Shape, width: int, outputs: int) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(shape.model))
        self.ask = nn.Linear(shape.model, shape.model)
        self.there = nn.Linear(CELL_CHANNELS + AHEAD + CELLS[0], shape.model)
        self.attention = SequentialAttention(shape.model, width, shape.layers, sequential=shape.sequential)
        self.head = nn.Sequential(
            nn.Linear(shape.model, shape.model), nn.GELU(approximate="tanh"), nn.Linear(shape.model, outputs)
        )

    def answer(self, scene: Scene) -> Tensor:
        """Outputs (B, K, outputs)."""
        count = scene.meaning.shape[1]
        share = scene.pointed.share.to(scene.shown.cells.dtype)
        features = torch.cat([scene.shown.cells, scene.shown.ahead], dim=1).flatten(2).transpose(1, 2)
        distance = share.unflatten(2, CELLS).sum(dim=3)
        start = self.query + self.ask(scene.meaning) + self.there(torch.cat([share @ features, distance], dim=2))
        bias = visible(scene.valid, groups(1, count), scene.group, scene.layers[0].dtype)
        return self.head(self.attention(start, scene.layers, bias)).float()


class BeamBranch(LinkBranch):
    """Logits (B, K, 2, BEAMS): log(f pointed + (1 - f) elsewhere + UNFORESEEN), f and elsewhere from the query's answer.

    `pointed` are the beams towards the cell that is meant; `elsewhere` serves what is not seen, and reflections.
    """

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, shape.model // 2, 2 * (BEAMS + 1))

    def forward(self, scene: Scene) -> Tensor:
        answer = self.answer(scene).unflatten(2, (2, BEAMS + 1))
        found = torch.sigmoid(answer[..., :1] + 3.0)
        return (found * scene.pointed.beams + (1 - found) * torch.softmax(answer[..., 1:], dim=3) + UNFORESEEN).log()


class BlockageBranch(LinkBranch):
    """Logits (B, K, 2)."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, shape.model // 2, 2)

    def forward(self, scene: Scene) -> Tensor:
        return self.answer(scene)


class PathlossBranch(LinkBranch):
    """Path loss (B, K, 1) [dB]."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, shape.model // 4, 1)

    def forward(self, scene: Scene) -> Tensor:
        return self.answer(scene) * PATHLOSS_SCALE + PATHLOSS_MEAN


class TrafficBranch(nn.Module):
    """Expected counts (B, labels): a density summed over the cells, corrected by one query over the sensors.

    count = 2 sigmoid(W q_L) sum_c softplus(V [cell_c, ahead_c])

    (counting by density: Lempitsky and Zisserman, "Learning to count objects in images", 2010).
    """

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__()
        self.attention = SequentialAttention(shape.model, shape.model // 4, shape.layers, sequential=shape.sequential)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, shape.model))
        self.density = nn.Conv2d(CELL_CHANNELS + AHEAD, len(task.labels), 1)
        self.correction = nn.Linear(shape.model, len(task.labels))
        nn.init.constant_(self.density.bias, -6.0)

    def forward(self, scene: Scene) -> Tensor:
        start = self.query.expand(scene.valid.shape[0], -1, -1)
        correction = self.correction(read_sensors(self.attention, start, scene)[:, 0]).float()
        density = (
            F.softplus(self.density(torch.cat([scene.shown.cells, scene.shown.ahead], dim=1)).float()).flatten(2).sum(dim=2)
        )
        return density * 2 * torch.sigmoid(correction)


class CellBranch(nn.Module):
    """One query a token's place; the answers, unfolded to finer cells, join what is seen there: (B, cells, outputs).

    x_c = there_c + unfold(q_L)_c,    answer_c = W (x + mix(x))_c

    with q_L as sequential attention has it (attention.py); one stage, a cell an answer, as in Zhou et al., "Objects as points", 2019.
    """

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.attention = SequentialAttention(
            shape.model, shape.model // 2, shape.layers, spots=True, sequential=shape.sequential
        )
        self.places = shape.places
        self.query = nn.Parameter(0.02 * torch.randn(shape.model))
        finer = CELLS[0] // TOKENS[0], CELLS[1] // TOKENS[1]
        self.unfold = nn.ConvTranspose2d(shape.model, CELL_CHANNELS, finer, finer)
        self.mix = convolution(CELL_CHANNELS, CELL_CHANNELS)
        self.head = nn.Conv2d(CELL_CHANNELS, outputs, 1)
        nn.init.zeros_(self.head.bias)

    def answer(self, scene: Scene) -> Tensor:
        """Outputs (B, cells, outputs)."""
        start = (self.places() + self.query).expand(scene.valid.shape[0], -1, -1)
        distance = (token_azimuths(*TOKENS).to(start.device)[:, None] - scene.azimuth).abs()
        coarse = read_sensors(self.attention, start, scene, distance).transpose(1, 2).unflatten(2, TOKENS)
        cells = self.there(scene) + self.unfold(coarse)
        return self.head(cells + self.mix(cells)).flatten(2).transpose(1, 2).float()

    def there(self, scene: Scene) -> Tensor:
        """What is seen in the cells, (B, CELL_CHANNELS, *CELLS)."""
        return scene.shown.cells


class ObjectsBranch(CellBranch):
    """Vehicles: presence and box from this branch, class and colour as the pointer sees them."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, 1 + OBJECT_BOX.stop - OBJECT_BOX.start)
        mostly_empty(self.head)

    def forward(self, scene: Scene) -> Tensor:
        found = self.answer(scene)
        kinds = scene.shown.appearance.flatten(2).transpose(1, 2).float()
        return torch.cat([found[..., :1], kinds, found[..., 1:]], dim=2)


class PeopleBranch(CellBranch):
    """Where people are."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, PEOPLE_CHANNELS)
        mostly_empty(self.head)

    def forward(self, scene: Scene) -> Tensor:
        return self.answer(scene)


class ActivityBranch(CellBranch):
    """What a person in a cell does: how fast they move tells most of it."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, len(task.labels))
        self.pace = nn.Conv2d(2, CELL_CHANNELS, 1)

    def there(self, scene: Scene) -> Tensor:
        return scene.shown.cells + self.pace((scene.shown.motion / MOTION_UNIT).to(scene.shown.cells.dtype))

    def forward(self, scene: Scene) -> Tensor:
        return self.answer(scene)


def mostly_empty(head: nn.Conv2d) -> None:
    """Starts learning from cells that hold nothing, as most do."""
    with torch.no_grad():
        head.bias[0] = -4.0


BRANCHES: dict[str, type[nn.Module]] = {
    "beam": BeamBranch,
    "blockage": BlockageBranch,
    "pathloss": PathlossBranch,
    "objects": ObjectsBranch,
    "traffic": TrafficBranch,
    "people": PeopleBranch,
    "activity": ActivityBranch,
}  #: by a task's `head`


def read_sensors(attention: SequentialAttention, start: Tensor, scene: Scene, distance: Tensor | None = None) -> Tensor:
    """Answers to queries that concern the whole scene: they see the sensors, no instruction."""
    layers = [tokens[:, : scene.sensing] for tokens in scene.layers]
    group = scene.group[: scene.sensing]
    return attention(start, layers, visible(scene.valid[:, : scene.sensing], group[:1], group, layers[0].dtype), distance)

"""Task branches: each task's queries, its sequential attention, and the head that turns its answers into an output.

Outputs of the exported model, one instruction, batch 1, float32:

    gate      (1, 3)        weight of camera, radar, LiDAR; they sum to 1, exactly 0 where missing
    beam      (1, 2, 64)    logits of the best beam, [now, ahead]
    blockage  (1, 2)        logits that the line of sight is blocked, [now, ahead]
    pathloss  (1, 1)        [dB]
    objects   (1, 512, 21)  per anchored polar cell, layout in anchors.py
    traffic   (1, 4)        expected number of vehicles in view, by class, >= 0
    people    (1, 512, 8)   per anchored polar cell, layout in anchors.py
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import OBJECT_BOX, OBJECT_CHANNELS, PEOPLE_CHANNELS
from mmsense_ros.model.attention import SequentialAttention, groups, visible
from mmsense_ros.model.tokenizers import (
    BEAMS,
    CELL_CHANNELS,
    CELLS,
    POLAR_TOKENS,
    AzimuthEmbedding,
    PolarPlaces,
    token_azimuths,
)
from mmsense_ros.tasks import Task

MATCH = 64  #: width in which words and cells are compared
DRIFT = 4.0  #: [beams] one unit of predicted drift
UNFORESEEN = 1e-3  #: probability left to every beam, for reflections and what was not found
PATHLOSS_MEAN, PATHLOSS_SCALE = 90.0, 10.0  #: [dB] so that the network predicts numbers of order one


@dataclass
class Scene:
    """What the branches read: tokens after every backbone layer, gated polar features and the meaning of each instruction.

    `layers` (B, N + 16 K, d) each, the N sensing tokens first; `valid` (B, N + 16 K) bool; `columns` (B, BEAMS, d);
    `cells` (B, 2 CELL_CHANNELS, *CELLS); `meaning` (B, K, d); `azimuth` (N,) 0..1 of sensing tokens, from left to right.
    `vehicles` is what the objects branch has found: its features (B, CELL_CHANNELS, *CELLS) and output (B, cells, channels).
    """

    layers: list[Tensor]
    valid: Tensor
    token_group: Tensor
    sensing: int
    columns: Tensor
    cells: Tensor
    meaning: Tensor
    azimuth: Tensor
    vehicles: tuple[Tensor, Tensor] | None = None
    grounding: Tensor | None = None  #: (B, K, cells) logits of where the terminal is, left by the beam branch


@dataclass
class Shape:
    """Sizes of a branch, and the embeddings of place it shares with the tokenizers."""

    model: int
    layers: int
    azimuth: AzimuthEmbedding
    places: PolarPlaces


class LinkBranch(nn.Module):
    """Answers about the terminal that an instruction names: its queries see the sensors and that instruction."""

    def __init__(self, shape: Shape, width: int, outputs: int) -> None:
        super().__init__()
        self.attention = SequentialAttention(shape.model, width, shape.layers)
        self.ask = nn.Linear(shape.model, shape.model)
        self.head = nn.Sequential(
            nn.Linear(shape.model, shape.model), nn.GELU(approximate="tanh"), nn.Linear(shape.model, outputs)
        )

    def answer(self, start: Tensor, scene: Scene) -> Tensor:
        """Outputs (B, K, Q, outputs) from the queries' start (B or 1, Q, d)."""
        batch, instructions, model = scene.meaning.shape
        queries = start[:, None] + self.ask(scene.meaning)[:, :, None]
        count = queries.shape[2]
        bias = visible(scene.valid, groups(count, instructions), scene.token_group, scene.layers[0].dtype)
        answers = self.attention(queries.reshape(batch, instructions * count, model), scene.layers, bias)
        return self.head(answers).reshape(batch, instructions, count, -1)


class BeamBranch(nn.Module):
    """One query a beam, started from its azimuth and what radar and LiDAR see there: logits (B, K, 2, BEAMS).

    What each beam's query has found is matched with what the instruction's own tokens have become in the last layer:
    logit_k = <A q_k, B t> / sqrt(d) + head(q_k) + pointer_k, the pointer saying where the vehicle that is meant stands.
    """

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__()
        self.azimuth = shape.azimuth
        self.attention = SequentialAttention(shape.model, shape.model // 2, shape.layers, spots=True)
        self.ask = nn.Linear(shape.model, shape.model)
        self.found = nn.Linear(shape.model, 2 * shape.model)
        self.wanted = nn.Linear(shape.model, 2 * shape.model)
        self.head = nn.Sequential(nn.Linear(shape.model, shape.model), nn.GELU(approximate="tanh"), nn.Linear(shape.model, 2))
        self.pointer = Pointer(shape.model)

    def forward(self, scene: Scene) -> Tensor:
        batch, instructions, model = scene.meaning.shape
        pointed, scene.grounding = self.pointer(scene)
        start = self.azimuth(BEAMS) + scene.columns
        queries = (start[:, None] + self.ask(scene.meaning)[:, :, None]).reshape(batch, instructions * BEAMS, model)
        bias = visible(scene.valid, groups(BEAMS, instructions), scene.token_group, scene.layers[0].dtype)
        answers = self.attention(queries, scene.layers, bias, self._distance(scene, instructions))
        answers = answers.reshape(batch, instructions, BEAMS, model)
        found = self.found(answers).unflatten(3, (2, model)).transpose(2, 3)
        wanted = self.wanted(_last_words(scene)).unflatten(2, (2, model))[..., None]
        return (found @ wanted)[..., 0].float() * model**-0.5 + self.head(answers).transpose(2, 3).float() + pointed

    def _distance(self, scene: Scene, instructions: int) -> Tensor:
        """Distances (Q, T) in azimuth [views] of the queries and tokens; words are everywhere."""
        beams = ((torch.arange(BEAMS) + 0.5) / BEAMS).repeat(instructions)
        sensing = (beams[:, None] - scene.azimuth).abs()
        return torch.cat([sensing, torch.zeros(len(beams), len(scene.token_group) - scene.sensing)], dim=1)


def _last_words(scene: Scene) -> Tensor:
    """Mean (B, K, d) of each instruction's tokens after the last layer; 0 for an empty one."""
    batch, instructions, model = scene.meaning.shape
    words = scene.layers[-1][:, scene.sensing :].reshape(batch, instructions, -1, model)
    told = scene.valid[:, scene.sensing :].reshape(batch, instructions, -1, 1).to(words.dtype)
    return (words * told).sum(dim=2) / told.sum(dim=2).clamp(min=1)


class Pointer(nn.Module):
    """Which of the vehicles found is meant, and so which beams point at it.

    Cell c is meant with probability softmax_c(<A words, B features_c> / sqrt(m) + objectness_c); beam k's logit is the log of
    sum_c p_c N(k; azimuth_c, width), now and, azimuths having drifted, ahead.
    """

    def __init__(self, model: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(CELL_CHANNELS, MATCH, 1)
        self.query = nn.Sequential(nn.Linear(model, model), nn.GELU(approximate="tanh"), nn.Linear(model, MATCH))
        self.drift = nn.Conv2d(CELL_CHANNELS, 1, 1)
        self.log_width = nn.Parameter(torch.tensor([0.3, 0.7]))

    def forward(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Logits (B, K, 2, BEAMS) of the beams and (B, K, cells) of the cells."""
        features, output = scene.vehicles
        match = self.query(scene.meaning) @ self.key(features).flatten(2) * MATCH**-0.5
        match = match.float() + output[:, None, :, 0].detach()
        column = ((torch.arange(CELLS[1]) + 0.5) * (BEAMS / CELLS[1])).repeat(CELLS[0])
        offset = output[..., OBJECT_BOX.start + 1].detach().clamp(-1, 1) * (BEAMS / CELLS[1])
        centre = column + offset
        drifted = centre + self.drift(features).flatten(1).float() * DRIFT
        away = torch.arange(BEAMS) + 0.5 - torch.stack([centre, drifted], dim=1)[..., None]
        kernel = torch.softmax(-away.square() * (-2 * self.log_width).exp()[:, None, None] / 2, dim=3)
        share = torch.softmax(match, dim=2)
        mixture = share[:, :, None, None] @ kernel[:, None]
        return (mixture[:, :, :, 0].float() + UNFORESEEN).log(), match


class BlockageBranch(LinkBranch):
    """One query: logits (B, K, 2)."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, shape.model // 2, 2)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, shape.model))

    def forward(self, scene: Scene) -> Tensor:
        return self.answer(self.query, scene)[:, :, 0]


class PathlossBranch(LinkBranch):
    """One query: path loss (B, K, 1) [dB]."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__(shape, shape.model // 4, 1)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, shape.model))

    def forward(self, scene: Scene) -> Tensor:
        return self.answer(self.query, scene)[:, :, 0].float() * PATHLOSS_SCALE + PATHLOSS_MEAN


class TrafficBranch(nn.Module):
    """One query over the sensors: expected counts (B, labels) >= 0."""

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__()
        self.attention = SequentialAttention(shape.model, shape.model // 4, shape.layers)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, shape.model))
        self.head = nn.Linear(shape.model, len(task.labels))

    def forward(self, scene: Scene) -> Tensor:
        start = self.query.expand(scene.valid.shape[0], -1, -1)
        return F.softplus(self.head(read_sensors(self.attention, start, scene)[:, 0]).float())


class CellBranch(nn.Module):
    """One query a coarse polar cell; its answer, unfolded to finer cells, joins radar and LiDAR features.

    Gives features (B, CELL_CHANNELS, *CELLS) and outputs (B, cells, channels).
    """

    channels: int

    def __init__(self, shape: Shape, task: Task) -> None:
        super().__init__()
        self.attention = SequentialAttention(shape.model, shape.model // 2, shape.layers, spots=True)
        self.places = shape.places
        self.query = nn.Parameter(0.02 * torch.randn(shape.model))
        self.unfold = nn.ConvTranspose2d(shape.model, CELL_CHANNELS, 2, 2)
        self.join = nn.Conv2d(2 * CELL_CHANNELS, CELL_CHANNELS, 1)
        self.mix = nn.Sequential(
            nn.GELU(approximate="tanh"), nn.Conv2d(CELL_CHANNELS, CELL_CHANNELS, 3, 1, 1), nn.GELU(approximate="tanh")
        )
        self.head = nn.Conv2d(CELL_CHANNELS, self.channels, 1)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[0] = -4.0  # most cells are empty

    def forward(self, scene: Scene) -> tuple[Tensor, Tensor]:
        start = (self.places() + self.query).expand(scene.valid.shape[0], -1, -1)
        distance = (token_azimuths(*POLAR_TOKENS)[:, None] - scene.azimuth).abs()
        answers = read_sensors(self.attention, start, scene, distance)
        coarse = answers.transpose(1, 2).unflatten(2, POLAR_TOKENS)
        cells = self.unfold(coarse) + self.join(scene.cells)
        cells = cells + self.mix(cells)
        return cells, self.head(cells).reshape(-1, self.channels, CELLS[0] * CELLS[1]).transpose(1, 2).float()


class ObjectsBranch(CellBranch):
    """Vehicles."""

    channels = OBJECT_CHANNELS


class PeopleBranch(CellBranch):
    """People and what they do."""

    channels = PEOPLE_CHANNELS


BRANCHES: dict[str, type[nn.Module]] = {
    "beam": BeamBranch,
    "blockage": BlockageBranch,
    "pathloss": PathlossBranch,
    "objects": ObjectsBranch,
    "traffic": TrafficBranch,
    "people": PeopleBranch,
}  #: by a task's `head`


def read_sensors(attention: SequentialAttention, start: Tensor, scene: Scene, distance: Tensor | None = None) -> Tensor:
    """Answers to queries that concern the whole scene: they see the sensors, no instruction."""
    layers = [tokens[:, : scene.sensing] for tokens in scene.layers]
    group = scene.token_group[: scene.sensing]
    return attention(start, layers, visible(scene.valid[:, : scene.sensing], group[:1], group, layers[0].dtype), distance)

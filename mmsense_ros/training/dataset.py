"""Prepared snapshots on disk become training batches: choice of maps, augmentation, and truth encoded as targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmsense_ros.anchors import OBJECT_LABELS, AnchorGrid, encode_boxes, encode_people
from mmsense_ros.instruction import Vocabulary, mirrored
from mmsense_ros.model.losses import CellTargets, Targets
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.training.recipe import Recipe

GENERIC = (
    "predict the beam",
    "which beam is best",
    "predict the beam for the vehicle",
    "keep the link up",
    "sense the street",
    "",
)

LABEL, COLOUR, CENTRE, VELOCITY, SIZE, YAW, SEEN = 0, 1, slice(2, 5), slice(5, 8), slice(8, 11), 11, 12
OBJECT_FIELDS = 13  #: one vehicle: the fields above; label NaN where there is none
ACTIVITY, PLACE, PERSON_SEEN = 0, slice(1, 4), 4
PERSON_FIELDS = 5  #: one person: the fields above; activity NaN where there is none

_SPREAD = 0.6  #: [cells] how far a thing hushes its neighbours in the heat map


@dataclass
class Batch:
    """Model inputs and their truth."""

    maps: dict[str, Tensor]
    available: Tensor
    instructions: Tensor
    targets: Targets


class Prepared:
    """One split of prepared snapshots (written by prepare.py), memory-mapped; N snapshots, K terminals, P phrases each."""

    def __init__(self, folder: Path) -> None:
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(Path(folder).glob("*.npy"))}
        self.camera = arrays["camera"]  #: (N, 3, 120, 160) uint8
        self.radar_cube, self.radar_points, self.lidar = (arrays[name] for name in ("radar_cube", "radar_points", "lidar"))
        self.power = np.array(arrays["power"])  #: (N, K, 2, beams) [dB]
        self.blocked = np.array(arrays["blocked"])  #: (N, K, 2)
        self.pathloss = np.array(arrays["pathloss"])  #: (N, K) [dB]
        self.terminals = np.array(arrays["terminals"])  #: (N, K) row of the terminal's vehicle in `objects`, -1 for none
        self.served = np.array(arrays["served"])  #: (N, K) bool
        self.phrases = np.array(arrays["phrases"])  #: (N, K, P) bytes
        self.objects = np.array(arrays["objects"])  #: (N, n, OBJECT_FIELDS)
        self.people = np.array(arrays["people"])  #: (N, n, PERSON_FIELDS)

    def __len__(self) -> int:
        return len(self.power)

    def vocabulary(self) -> Vocabulary:
        """All words of the instructions, their mirror images and the generic ones."""
        texts = {phrase.decode() for phrase in np.unique(self.phrases)} | set(GENERIC)
        return Vocabulary.of(texts | {mirrored(text) for text in texts})


class Sampler:
    """Batches of a split: `batch` draws augmented ones for training, or plain ones for scoring."""

    def __init__(self, data: Prepared, recipe: Recipe, vocabulary: Vocabulary, grid: AnchorGrid) -> None:
        self.data, self.recipe, self.grid = data, recipe, grid
        texts = [phrase.decode() for phrase in np.unique(data.phrases)] + list(GENERIC)
        self._row = {text: index for index, text in enumerate(texts)}
        self._ids = np.stack([[vocabulary.encode(text), vocabulary.encode(mirrored(text))] for text in texts])

    def batch(self, index: np.ndarray, rng: np.random.Generator, augment: bool) -> Batch:
        """Snapshots `index` (B,). Not augmented: radar from the cube, the first phrase, everything available, no mirror."""
        count = len(index)
        recipe = self.recipe
        flip = rng.random(count) < (recipe.mirror if augment else 0.0)
        maps = self._maps(index, rng, augment)
        maps = {name: np.where(flip[:, None, None, None], content[..., ::-1], content) for name, content in maps.items()}
        available = self._available(count, rng, augment)
        targets = self._targets(index, flip)
        return Batch(
            maps={
                name: torch.from_numpy(content * available[:, [k], None, None]).contiguous(memory_format=torch.channels_last)
                for k, (name, content) in enumerate(maps.items())
            },
            available=torch.from_numpy(available),
            instructions=torch.from_numpy(self._instructions(index, flip, rng, augment)),
            targets=targets,
        )

    def _maps(self, index: np.ndarray, rng: np.random.Generator, augment: bool) -> dict[str, np.ndarray]:
        data = self.data
        order = np.sort(index)  # memory-mapped files like to be read in order
        back = np.argsort(np.argsort(index, kind="stable"), kind="stable")
        camera = data.camera[order][back].astype(np.float32) / 255
        radar = data.radar_cube[order][back].astype(np.float32)
        lidar = data.lidar[order][back].astype(np.float32)
        if augment:
            points = rng.random(len(index)) < self.recipe.points_map
            radar = np.where(points[:, None, None, None], data.radar_points[order][back].astype(np.float32), radar)
            one = (len(index), 1, 1, 1)
            camera = camera * rng.uniform(0.75, 1.25, one) + rng.uniform(-0.1, 0.1, one)
            camera = np.clip(camera + rng.normal(0, 0.02, camera.shape).astype(np.float32), 0, 1).astype(np.float32)
            radar = radar * rng.uniform(0.9, 1.1, one).astype(np.float32)
            lidar = lidar * rng.uniform(0.95, 1.05, one).astype(np.float32)
        return {"camera": camera, "radar": radar, "lidar": lidar}

    def _available(self, count: int, rng: np.random.Generator, augment: bool) -> np.ndarray:
        has = np.array([name in self.recipe.modalities for name in MODALITIES])
        available = np.tile(has, (count, 1))
        if augment:
            kept = available & (rng.random(available.shape) >= self.recipe.modality_dropout)
            available = np.where(kept.any(axis=1, keepdims=True), kept, available)
        return available.astype(np.float32)

    def _instructions(self, index: np.ndarray, flip: np.ndarray, rng: np.random.Generator, augment: bool) -> np.ndarray:
        phrases = self.data.phrases[index]
        count, terminals, choices = phrases.shape
        pick = rng.integers(choices, size=(count, terminals)) if augment else np.zeros((count, terminals), int)
        chosen = np.take_along_axis(phrases, pick[..., None], axis=2)[..., 0]
        row = np.array([[self._row[phrase.decode()] for phrase in line] for line in chosen])
        generic = rng.random(row.shape) < (self.recipe.generic if augment else 0.0)
        row = np.where(generic, self._row[GENERIC[0]] + rng.integers(len(GENERIC), size=row.shape), row)
        return self._ids[row, flip[:, None].astype(int)]

    def _targets(self, index: np.ndarray, flip: np.ndarray) -> Targets:
        data = self.data
        power = data.power[index]
        power = np.where(flip[:, None, None, None], power[..., ::-1], power)
        sign = np.where(flip, -1.0, 1.0)[:, None]
        objects, people = data.objects[index].astype(np.float64), data.people[index].astype(np.float64)
        for field in (CENTRE.start + 1, VELOCITY.start + 1, YAW):
            objects[..., field] *= sign
        people[..., PLACE.start + 1] *= sign
        return Targets(
            power=torch.from_numpy(np.ascontiguousarray(power, np.float32)),
            blocked=torch.from_numpy(data.blocked[index].astype(np.float32)),
            pathloss=torch.from_numpy(data.pathloss[index].astype(np.float32)),
            served=torch.from_numpy(data.served[index]),
            cell=torch.from_numpy(_terminal_cells(objects, data.terminals[index], self.grid)),
            objects=_object_targets(objects, self.grid),
            people=_people_targets(people, self.grid),
            traffic=torch.from_numpy(traffic(objects)),
        )


def traffic(objects: np.ndarray) -> np.ndarray:
    """Vehicles in view by class, (B, labels) float32, of `objects` (B, n, OBJECT_FIELDS)."""
    return np.stack([(objects[..., LABEL] == label).sum(axis=1) for label in range(len(OBJECT_LABELS))], axis=1).astype(
        np.float32
    )


def _terminal_cells(objects: np.ndarray, terminals: np.ndarray, grid: AnchorGrid) -> np.ndarray:
    """Cells (B, K) int of the terminals' vehicles, rows `terminals` (B, K) of `objects` (B, n, OBJECT_FIELDS); -1 if unseen."""
    vehicles = np.take_along_axis(objects, np.maximum(terminals, 0).astype(np.int64)[..., None], axis=1)
    cell = grid.locate(np.nan_to_num(vehicles[..., CENTRE]).reshape(-1, 3))[0].reshape(terminals.shape)
    return np.where((terminals >= 0) & (vehicles[..., SEEN] > 0), cell, -1)


def _object_targets(objects: np.ndarray, grid: AnchorGrid) -> CellTargets:
    batch, slot = np.nonzero(~np.isnan(objects[..., LABEL]))
    there = objects[batch, slot]
    cell, box = encode_boxes(there[:, CENTRE], there[:, VELOCITY], there[:, SIZE], there[:, YAW], grid)
    kind = there[:, [LABEL, COLOUR]].astype(np.int64)
    return _cells(len(objects), batch, cell, there[:, SEEN] > 0, kind, box, grid)


def _people_targets(people: np.ndarray, grid: AnchorGrid) -> CellTargets:
    batch, slot = np.nonzero(~np.isnan(people[..., ACTIVITY]))
    there = people[batch, slot]
    cell, place = encode_people(there[:, PLACE], grid)
    return _cells(len(people), batch, cell, there[:, PERSON_SEEN] > 0, there[:, [ACTIVITY]].astype(np.int64), place, grid)


def _cells(
    count: int, batch: np.ndarray, cell: np.ndarray, seen: np.ndarray, kind: np.ndarray, box: np.ndarray, grid: AnchorGrid
) -> CellTargets:
    """Seen things claim their cells; hidden ones only hush theirs, since the model should neither find nor deny them."""
    inside = cell >= 0
    batch, cell, seen, kind, box = batch[inside], cell[inside], seen[inside], kind[inside], box[inside]
    row = cell // grid.columns + 0.5 + box[:, 0]
    column = cell % grid.columns + 0.5 + box[:, 1]
    rows = np.arange(grid.rows)[:, None] + 0.5
    columns = np.arange(grid.columns) + 0.5
    distance = (rows - row[:, None, None]) ** 2 + (columns - column[:, None, None]) ** 2
    heat = np.zeros((count, grid.cells), np.float32)
    np.maximum.at(heat, batch, np.exp(-distance / (2 * _SPREAD**2)).reshape(len(cell), -1).astype(np.float32))
    heat[batch, cell] = 1.0
    return CellTargets(
        heat=torch.from_numpy(heat),
        batch=torch.from_numpy(batch[seen]),
        cell=torch.from_numpy(cell[seen]),
        kind=torch.from_numpy(kind[seen]),
        box=torch.from_numpy(box[seen]),
    )

"""Prepared snapshots become training batches: windows of a street, choice of maps, wordings, augmentation, and truth as targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from mmsense_ros.anchors import AnchorGrid, encode_boxes, encode_motion, encode_people
from mmsense_ros.errors import ConfigError
from mmsense_ros.model.losses import CellTargets, Targets
from mmsense_ros.model.memory import SLOTS
from mmsense_ros.model.pointer import ASKED
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.training.recipe import Recipe
from mmsense_ros.training.shards import (
    ACTIVITY,
    CENTRE,
    COLOUR,
    LABEL,
    LANE,
    PACE,
    PERSON_SEEN,
    PLACE,
    SEEN,
    SIZE,
    VELOCITY,
    YAW,
    Prepared,
    there,
    told,
)
from mmsense_ros.training.wording import Name, Sentences

BACK = ((1, 1), (2, 2), (3, 4), (5, 8))  #: rows by which a window's snapshots precede its last one, from and to
_SPREAD = 0.6  #: [cells] how far a thing hushes its neighbours in the heat map


@dataclass
class Batch:
    """Model inputs, as `MMSense.forward` takes them, and their truth."""

    maps: dict[str, Tensor]
    available: Tensor
    instructions: Tensor
    earlier: Tensor
    ages: Tensor
    targets: Targets
    ids: Tensor | None = None  #: the instructions' tokens (B, K, P), for a vision-LLM

    def inputs(self) -> tuple[dict[str, Tensor] | Tensor, ...]:
        """What the model is called with."""
        given = self.maps, self.available, self.instructions, self.earlier, self.ages
        return given if self.ids is None else (*given, self.ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return cast(Batch, apply_to_collection(self, Tensor, Tensor.to, device))


class Sampler:
    """Batches of a split: `batches` draws augmented windows for training, `batch` with `augment` false plain rows for scoring."""

    def __init__(
        self, data: Prepared, recipe: Recipe, grid: AnchorGrid, sentences: Sentences, ids: np.ndarray | None = None
    ) -> None:
        """`ids` (n, P), tokens of the rows of `sentences.table`, are what a vision-LLM reads."""
        self.data, self.recipe, self.grid, self.sentences, self.ids = data, recipe, grid, sentences, ids
        distinct, place = np.unique(data.phrases, return_inverse=True)
        texts = [phrase.decode() for phrase in distinct]
        self._phrase = place.reshape(data.phrases.shape)  #: (N, K, P) number of each phrase
        self._names = [Name.of(text) for text in texts]
        self._plain = np.array([sentences.plain[text] for text in texts])
        own_words = np.array([bool(name.words) for name in self._names])
        self._turns = ~own_words[self._phrase].any(axis=(1, 2))  #: (N,) whether the mirror image of what is said is known
        within = np.arange(len(data)) - np.searchsorted(data.street, data.street)
        self._ends = np.flatnonzero(within >= BACK[-1][1])  #: rows that a window can end with

    @property
    def _windows(self) -> int:
        return max(self.recipe.batch // (len(BACK) + 1), 1)

    def steps(self, world: int) -> int:
        """Batches of a round on each of `world` ranks."""
        return max(min(self.recipe.round, len(self.data)) // (self._windows * (len(BACK) + 1) * world), 1)

    def batches(self, round: int, rank: int, world: int) -> Iterator[Batch]:
        """One round's augmented batches of one rank; the same whenever they are asked for."""
        steps = self.steps(world)
        if not len(self._ends):
            fault = f"nothing to learn from: no street or bag has more than {BACK[-1][1]} snapshots in a row"
            raise ConfigError(f"{fault}; name longer ones, or more snapshots in fewer seconds")
        order = np.random.default_rng((self.recipe.seed, round)).permutation(self._ends)
        order = np.resize(order, steps * self._windows * world).reshape(steps, world, self._windows)
        for step in range(steps):
            yield self._window_batch(order[step, rank], np.random.default_rng((self.recipe.seed, round, step, rank)))

    def _window_batch(self, ends: np.ndarray, rng: np.random.Generator) -> Batch:
        """Windows that end with the rows `ends`."""
        back = np.stack([rng.integers(first, last + 1, size=len(ends)) for first, last in reversed(BACK)], axis=1)
        rows = ends[:, None] - np.concatenate([back, np.zeros((len(ends), 1), np.int64)], axis=1)
        count = rows.shape[1]
        earlier = np.arange(count)[:, None] - np.arange(1, SLOTS + 1)
        known = (earlier >= 0) & (rng.random((len(ends), count, SLOTS)) >= self.recipe.forget)
        place = np.arange(len(ends))[:, None, None] * count + np.maximum(earlier, 0)
        return self.batch(rows.ravel(), place.reshape(-1, SLOTS), known.reshape(-1, SLOTS), rng, window=count)

    def street(self, number: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, Batch]:
        """All rows (B,) of one street, each remembering the ones before it: plain, or augmented as one window if there is an `rng`."""
        rows = np.flatnonzero(self.data.street == number)
        earlier = np.arange(len(rows))[:, None] - np.array(
            [last if first == last else (first + last) // 2 for first, last in BACK]
        )
        drawn = rng or np.random.default_rng(0)
        return rows, self.batch(rows, np.maximum(earlier, 0), earlier >= 0, drawn, window=len(rows) if rng else 0)

    def batch(self, index: np.ndarray, earlier: np.ndarray, known: np.ndarray, rng: np.random.Generator, window: int) -> Batch:
        """Snapshots `index` (B,) that remember those at `earlier` (B, SLOTS) of the batch where `known`.

        Every `window` of them in a row are augmented as one; 0 is not augmented: radar from the cube, the first phrase, everything
        available, no mirror.
        """
        count, augment = len(index), window > 0
        each = window or count

        def draw(*shape: int) -> np.ndarray:
            return np.repeat(rng.random((count // each, *shape)), each, axis=0)

        flip = draw() < (self.recipe.mirror if augment else 0.0)
        flip &= np.repeat(self._turns[index].reshape(-1, each).all(axis=1), each)
        maps = self._maps(index, draw() < (self.recipe.points_map if augment else 0.0), rng, augment)
        for content in maps.values():
            content[flip] = content[flip][..., ::-1]
        available = self._available(index, draw(len(MODALITIES)), augment)
        for k, content in enumerate(maps.values()):
            content[available[:, k] == 0] = 0.0
        rows, asked = self._instructions(index, flip, rng, augment)
        time = self.data.time[index]
        return Batch(
            maps={
                name: torch.from_numpy(content).contiguous(memory_format=torch.channels_last) for name, content in maps.items()
            },
            available=torch.from_numpy(available),
            instructions=torch.from_numpy(self.sentences.table[rows]),
            earlier=torch.from_numpy(earlier),
            ages=torch.from_numpy(np.where(known, time[:, None] - time[earlier], -1.0).astype(np.float32)),
            targets=self._targets(index, flip, asked),
            ids=None if self.ids is None else torch.from_numpy(self.ids[rows]),
        )

    def _maps(self, index: np.ndarray, points: np.ndarray, rng: np.random.Generator, augment: bool) -> dict[str, np.ndarray]:
        data = self.data
        camera = data.camera[index].astype(np.float32)
        radar = data.radar_cube[index].astype(np.float32)
        lidar = data.lidar[index].astype(np.float32)
        camera /= 255
        if augment:
            if points.any():
                radar[points] = data.radar_points[index[points]]
            one = (len(index), 1, 1, 1)
            camera *= rng.uniform(0.6, 1.3, one).astype(np.float32)
            camera += rng.uniform(-0.1, 0.1, one).astype(np.float32)
            camera += 0.02 * rng.standard_normal((len(index), 1, *camera.shape[2:]), np.float32)
            np.clip(camera, 0, 1, out=camera)
            radar *= rng.uniform(0.9, 1.1, one).astype(np.float32)
            lidar *= rng.uniform(0.95, 1.05, one).astype(np.float32)
        return {"camera": camera, "radar": radar, "lidar": lidar}

    def _available(self, index: np.ndarray, chance: np.ndarray, augment: bool) -> np.ndarray:
        """Which sensors (B, 3) there are, 0 or 1. Modality dropout (Neverova et al., "ModDrop", 2016) hides each by itself,
        a_m = 1[chance_m >= modality_dropout], unless that hid all."""
        available = self.data.available[index] & [name in self.recipe.modalities for name in MODALITIES]
        if augment:
            kept = available & (chance >= self.recipe.modality_dropout)
            available = np.where(kept.any(axis=1, keepdims=True), kept, available)
        return available.astype(np.float32)

    def _instructions(
        self, index: np.ndarray, flip: np.ndarray, rng: np.random.Generator, augment: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows (B, K) of the table of sentences, and what they name (B, K, 4)."""
        phrases = self._phrase[index]
        if not augment:
            first = phrases[..., 0]
            return self._plain[first], np.array([[self._names[phrase].asked for phrase in line] for line in first])
        rows, asked = np.zeros(phrases.shape[:2], np.int64), np.zeros((*phrases.shape[:2], len(ASKED)), np.int64)
        choice, partly = rng.random(phrases.shape[:2]), rng.random(phrases.shape[:2])
        for place in np.ndindex(*phrases.shape[:2]):
            name = self._names[phrases[place][0]]
            name = name.mirrored if flip[place[0]] else name
            if partly[place] < self.recipe.generic:
                name = Name()
            elif name.held_out or partly[place] < 2 * self.recipe.generic:
                name = Name(label=name.label) if rng.random() < 0.5 else Name(colour=name.colour)
            said = self.sentences.rows[name]
            rows[place], asked[place] = said[int(choice[place] * len(said))], name.asked
        return rows, asked

    def _targets(self, index: np.ndarray, flip: np.ndarray, asked: np.ndarray) -> Targets:
        data = self.data
        power = data.power[index]
        power = np.where(flip[:, None, None, None], power[..., ::-1], power)
        sign = np.where(flip, -1.0, 1.0)[:, None]
        objects, people = data.objects[index].astype(np.float64), data.people[index].astype(np.float64)
        for field in (CENTRE.start + 1, VELOCITY.start + 1, YAW):
            objects[..., field] *= sign
        for field in (PLACE.start + 1, PACE.start + 1):
            people[..., field] *= sign
        facade = data.facade[index] * np.stack([sign[:, 0], np.ones(len(index))], axis=1)
        return Targets(
            power=torch.from_numpy(np.ascontiguousarray(power, np.float32)),
            blocked=torch.from_numpy(data.blocked[index].astype(np.float32)),
            pathloss=torch.from_numpy(data.pathloss[index].astype(np.float32)),
            served=torch.from_numpy(data.served[index]),
            cell=torch.from_numpy(_terminal_cells(objects, data.terminals[index], self.grid)),
            asked=torch.from_numpy(asked),
            objects=_object_targets(objects, self.grid),
            people=_people_targets(people, self.grid),
            facade=torch.from_numpy(facade.astype(np.float32)),
            traffic=torch.from_numpy(data.traffic[index]),
        )


def _terminal_cells(objects: np.ndarray, terminals: np.ndarray, grid: AnchorGrid) -> np.ndarray:
    """Cells (B, K) int of the terminals' vehicles, rows `terminals` (B, K) of `objects` (B, n, OBJECT_FIELDS); -1 if in none."""
    vehicles = np.take_along_axis(objects, np.maximum(terminals, 0).astype(np.int64)[..., None], axis=1)
    cell = grid.locate(np.nan_to_num(vehicles[..., CENTRE]).reshape(-1, 3))[0].reshape(terminals.shape)
    return np.where(terminals >= 0, cell, -1)


def _object_targets(objects: np.ndarray, grid: AnchorGrid) -> CellTargets:
    batch, slot = np.nonzero(there(objects))
    those = objects[batch, slot]
    cell, box = encode_boxes(those[:, CENTRE], those[:, VELOCITY], those[:, SIZE], those[:, YAW], grid)
    kind = those[:, [LABEL, COLOUR, LANE]].astype(np.int64)
    motion = encode_motion(those[:, CENTRE], those[:, VELOCITY], grid)
    return _cells(told(objects), grid, batch=batch, cell=cell, seen=those[:, SEEN] > 0, kind=kind, box=box, motion=motion)


def _people_targets(people: np.ndarray, grid: AnchorGrid) -> CellTargets:
    batch, slot = np.nonzero(there(people))
    those = people[batch, slot]
    cell, place = encode_people(those[:, PLACE], grid)
    kind = those[:, [ACTIVITY]].astype(np.int64)
    motion = encode_motion(those[:, PLACE], those[:, PACE], grid)
    return _cells(
        told(people), grid, batch=batch, cell=cell, seen=those[:, PERSON_SEEN] > 0, kind=kind, box=place, motion=motion
    )


def _cells(known: np.ndarray, grid: AnchorGrid, **things: np.ndarray) -> CellTargets:
    """Targets of snapshots from what CellTargets says about `things`; those outside the grid are left out. `known` (B,) says of
    which snapshots it is known what is there."""
    things = {name: values[things["cell"] >= 0] for name, values in things.items()}
    batch, cell = things["batch"], things["cell"]
    row = cell // grid.columns + 0.5 + things["box"][:, 0]
    column = cell % grid.columns + 0.5 + things["box"][:, 1]
    rows = np.arange(grid.rows)[:, None] + 0.5
    columns = np.arange(grid.columns) + 0.5
    distance = (rows - row[:, None, None]) ** 2 + (columns - column[:, None, None]) ** 2
    heat = np.zeros((len(known), grid.cells), np.float32)
    np.maximum.at(heat, batch, np.exp(-distance / (2 * _SPREAD**2)).reshape(-1, grid.cells).astype(np.float32))
    heat[batch, cell] = 1.0
    heat[~known] = np.nan
    return CellTargets(heat=torch.from_numpy(heat), **{name: torch.from_numpy(values) for name, values in things.items()})

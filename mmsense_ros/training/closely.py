"""The closer look at people (model/closer.py), which learns when all else has learned.

Nothing else changes any more then. So the network goes over the streets once as they are and DRAWS times augmented, what there is to be
looked at of everybody in sight is kept, and the look learns from people of all streets mixed: a window of one street, by which the rest
learns, holds the same few of them again and again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.nn import functional as F

from mmsense_ros.anchors import UNKNOWN
from mmsense_ros.model.closer import Closer, Found, Views, views
from mmsense_ros.model.memory import SLOTS
from mmsense_ros.model.mmsense import MMSense
from mmsense_ros.progress import progress
from mmsense_ros.tasks import Task
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.learner import CLIP, schedule, start_from
from mmsense_ros.training.log import log
from mmsense_ros.training.muon import Muon
from mmsense_ros.training.precision import has_bf16
from mmsense_ros.training.recipe import Recipe

DRAWS = 1  #: augmented views of each snapshot, besides the plain one
EPOCHS = 4  #: times that everybody's views are learned from
PEOPLE = 128  #: a step
RATE, WARMUP = 0.002, 0.1
ASIDE = -3, -1  #: channels of `Views.told` that are along azimuth: of motion, and of where in its place somebody is


@dataclass
class Seen:
    """All P people that were in sight: their `views`, places float16 and in a file, and what they do, `kind` (P,)."""

    views: Views
    kind: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def of(self, rows: Tensor, mirrored: Tensor) -> tuple[Views, Tensor]:
        """Some of them, the `mirrored` (n,) bool ones left for right."""
        some = Views(*(getattr(self.views, name)[rows].float() for name in ("places", "inside", "times", "told")))
        for part in (some.places, some.inside):
            part[mirrored] = part[mirrored].flip(3)
        sign = torch.where(mirrored, -1.0, 1.0)
        for channel in ASIDE:
            some.told[:, channel] *= sign
        return some, self.kind[rows]


def look_closer(
    model: MMSense,
    tasks: tuple[Task, ...],
    samplers: Mapping[str, Sampler],
    recipe: Recipe,
    out: Path,
    loggers: Iterable[Logger] = (),
) -> None:
    """Gives `model` a closer look, learned from the streets of `samplers` train; all else in it stays as it is. A model that does not find
    people or tell what they do gets none.

    It begins with that of the recipe's `start`, if that has one, and stays as it was there if the recipe's `freeze` names `closer`. What it
    learns from lies in `out`/closer.tmp meanwhile, 36 kB a view. Leaves `out`/closer.csv and tells `loggers`: an epoch's mean loss, and how
    often it is right about what people do in the streets of validation.
    """
    labels = {task.name: task.labels for task in tasks}
    if not {"people", "activity"} <= set(labels):
        return
    torch.manual_seed(recipe.seed)
    model.closer = Closer(SLOTS, len(labels["activity"]))
    model.config = replace(model.config, closer=True)
    if recipe.start:
        kept = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("closer.")}
        fresh = start_from(model, Path(recipe.start))
        model.load_state_dict(kept, strict=False)
        if "closer" in recipe.freeze and not any(name.startswith("closer.") for name in fresh):
            return
    model.eval()
    folder = out / "closer.tmp"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        seen = _gather(_everybody(model, samplers["train"], recipe.seed, DRAWS), folder / "train.f16")
        judged = _gather(_everybody(model, samplers["validation"], recipe.seed), folder / "validation.f16")
        rows: list[dict[str, float]] = []
        for epoch, loss in _learn(model.closer, seen, recipe) if len(seen) else ():
            rows.append({"epoch": epoch, "loss": loss, "validation_acc": _right(model.closer, judged)})
            log(rows, out / "closer.csv", loggers, "closer", epoch)
    finally:
        shutil.rmtree(folder)


@torch.no_grad()
def _everybody(model: MMSense, sampler: Sampler, seed: int, draws: int = 0) -> Iterator[tuple[Views, Tensor]]:
    """Views of the people in sight and what they do, street by street: once as they are, and `draws` times augmented."""
    given: list[Found] = []
    hook = model.closer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    streets = [(draw, number) for draw in range(1 + draws) for number in np.unique(sampler.data.street)]
    with hook, progress("look at people") as show:
        for done, (draw, number) in enumerate(streets, 1):
            rng = np.random.default_rng((seed, draw, int(number))) if draw else None
            _, batch = sampler.street(int(number), rng)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16("cpu")):
                model(*batch.inputs())
            people, found = batch.targets.people, given.pop()
            known = people.seen & (people.kind[:, 0] != UNKNOWN)
            if known.any():
                yield views(found, people.batch[known], people.cell[known]), people.kind[known, 0]
            show(done, len(streets))


def _gather(parts: Iterable[tuple[Views, Tensor]], path: Path) -> Seen:
    """All `parts`, their places written to the file `path`."""
    shape: tuple[int, ...] = (0,)
    inside, times, told, kinds = [], [], [], []
    with path.open("wb") as file:
        for some, kind in parts:
            shape = some.places.shape[1:]
            some.places.to(torch.float16).numpy().tofile(file)
            inside.append(some.inside.bool())
            times.append(some.times.float())
            told.append(some.told)
            kinds.append(kind)
    if not kinds:
        return Seen(Views(*(torch.zeros(shape) for _ in range(4))), torch.zeros(shape))
    kind = torch.cat(kinds)
    places = torch.from_numpy(np.memmap(path, np.float16, "r+", shape=(len(kind), *shape)))
    return Seen(Views(places, torch.cat(inside), torch.cat(times), torch.cat(told)), kind)


def _learn(closer: Closer, seen: Seen, recipe: Recipe) -> Iterator[tuple[int, float]]:
    """Cross-entropy of what they do, from people in an order that follows from the seed; after each epoch its number and the mean since
    the last. Of so few people that a step is longer than an epoch, not all epochs are told."""
    layers = [layer.weight for layer in closer.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    others = [value for name, value in closer.named_parameters() if name.endswith("bias")]
    optimizer = Muon(layers, others, RATE, recipe.weight_decay, betas=(0.9, 0.98))
    chance = torch.Generator().manual_seed(recipe.seed)
    order = torch.cat([torch.randperm(len(seen), generator=chance) for _ in range(EPOCHS)]).split(PEOPLE)
    losses: list[float] = []
    with progress("look closer") as show:
        for step, rows in enumerate(order):
            for group in optimizer.param_groups:
                group["lr"] = RATE * schedule(step / len(order), WARMUP)
            some, kind = seen.of(rows, torch.rand(len(rows), generator=chance) < recipe.mirror)
            optimizer.zero_grad()
            loss = F.cross_entropy(closer.of(some), kind)
            loss.backward()
            nn.utils.clip_grad_norm_(closer.parameters(), CLIP)
            optimizer.step()
            show(step + 1, len(order))
            losses.append(loss.item())
            if (epoch := EPOCHS * (step + 1) // len(order)) > EPOCHS * step // len(order):
                yield epoch, float(np.mean(losses))
                losses.clear()


@torch.no_grad()
def _right(closer: Closer, seen: Seen) -> float:
    """Share of the people about whom it is right; NaN if there are none."""
    parts = (seen.of(rows, torch.zeros(len(rows), dtype=torch.bool)) for rows in torch.arange(len(seen)).split(PEOPLE))
    right = [closer.of(some).argmax(1) == kind for some, kind in parts]
    return float(torch.cat(right).float().mean()) if right else float("nan")

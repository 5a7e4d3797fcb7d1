"""The bench of docs/results.py: variants of one recipe, trained once each, and what they answer about test streets."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import yaml

from mmsense_ros import conformal
from mmsense_ros.anchors import AnchorGrid, decode_objects
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation import metrics
from mmsense_ros.model.mmsense import MMSense, load_model
from mmsense_ros.model_card import ModelCard, sha256_of
from mmsense_ros.sentence import SentenceEncoder
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.calibrate import probabilities
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.prepare import prepare, prepared_folders
from mmsense_ros.training.recipe import Recipe, load_recipe
from mmsense_ros.training.score import TERMINAL, Answers, answers, detection, figures
from mmsense_ros.training.shards import CENTRE, LABEL, SEEN, Prepared, write_shard
from mmsense_ros.training.train import train
from mmsense_ros.training.wording import embedded

SEEDS = 3
BRIEF = 0.98  #: decay of the weights' average in runs of a few hundred steps
RELEARNING = 5e-4  #: learning rate of runs that start from a trained model
NEAR = 50.0  #: [m] within which vehicles are to be found
FULL, SHIPPED = "mmsense", "shipped"  #: the run of the recipe as it is; the model that was trained elsewhere
ABLATIONS: dict[str, dict[str, Any]] = {
    "another_seed": {"seed": 1},
    "no_gate": {"model": {"gate": False}},
    "no_sequential": {"model": {"sequential": False}},
    "equal_weights": {"equal_weights": True},
    "no_memory": {"model": {"memory": False}},
    "no_detail": {"model": {"detail": False}},
    "no_dropout": {"modality_dropout": 0.0},
    "no_instruction": {"model": {"instruction": False}},
}
RUNS: dict[str, dict[str, Any]] = {
    FULL: {},
    **{f"only_{name}": {"modalities": [name]} for name in MODALITIES},
    "concatenation": {"model": {"fuse": False}},
    **ABLATIONS,
    **{f"task_{task.name}": {"tasks": [task.name]} for task in load_tasks()},
}  #: what each run changes in the recipe

Figures = dict[str, float]
Kept = TypeVar("Kept", list[Figures], dict[str, list[Figures]])


class Bench:
    """One recipe, the runs of its variants in `out`, and what they answer about the test streets."""

    def __init__(
        self, recipe: Path, out: Path, snapshots: int | None = None, shipped: Path | None = None, start: Path | None = None
    ) -> None:
        self.recipe, self.out, self.shipped = recipe, out, shipped
        self.base = load_recipe(recipe)
        self.entries = yaml.safe_load(recipe.read_text())
        self.entries = merged(self.entries, {"data": {"cache": self.base.data.cache or str(out / "data")}})
        if snapshots is not None:  # the closer look would take longer than all that comes before it
            self.entries = merged(self.entries, {"model": {"closer": False}})
            self.entries |= {"round": snapshots, "rounds": 1, "minutes": math.inf, "average": BRIEF}
        if start is not None:
            self.entries |= {"start": str(start / "model.safetensors"), "learning_rate": RELEARNING}
        self.cache = Path(self.entries["data"]["cache"])
        self.encode = cache(SentenceEncoder().encode)

    def run(self, name: str, changes: dict[str, Any] | None = None) -> str:
        """Sees to it that the run `name` is trained, with `changes` to the recipe if it is none of RUNS; returns its name.

        Raises ConfigError if a run of another recipe is there.
        """
        folder = self.folder(name)
        if folder == self.shipped:
            return name
        recipe = folder / "recipe.yaml"
        text = yaml.safe_dump(merged(self.entries, RUNS[name] if changes is None else changes), sort_keys=False)
        if recipe.is_file() and recipe.read_text() != text:
            raise ConfigError(f"{recipe} is not what is asked for now; delete {folder}, or name another --out")
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write_text(text)
        if not (folder / "model.safetensors").is_file():  # the last that such a training writes
            print(f"training {folder}", file=sys.stderr)
            train(recipe, folder, export=False)
        return name

    def folder(self, name: str) -> Path:
        """Where the model of a run is."""
        return self.shipped if name == SHIPPED and self.shipped else self.out / name

    def score(
        self,
        name: str,
        case: str = "test",
        streets: Callable[[], list[Prepared]] | None = None,
        modalities: tuple[str, ...] = MODALITIES,
    ) -> list[Figures]:
        """Figures by seed of the trained run `name` about `streets` (default: the test streets) with these of its sensors."""
        weights = self.folder(name) / "model.safetensors"

        def make() -> list[Figures]:
            model, card = load_model(weights)
            recipe = replace(self.base, modalities=tuple(name for name in card.modalities if name in modalities))
            return [self._scored(model, card, data, recipe) for data in (streets or self.streets)()]

        return kept(self.out / name / mark(weights) / f"{case}.json", make)

    def _scored(self, model: MMSense, card: ModelCard, data: Prepared, recipe: Recipe) -> Figures:
        cells: list[np.ndarray] = []
        with model.register_forward_hook(lambda *call: cells.append(call[-1]["grounding"].argmax(dim=2).numpy())):
            answered = answers(model, self.sampler(data, card, recipe))
        scored = figures(answered, card.object_threshold, card.person_threshold)
        if set(TERMINAL) & set(model.branches):
            scored["pointed"] = pointed(np.concatenate(cells), data, card.anchors)
        return scored | sets(answered, card) | nearby(answered, card)

    def sampler(self, data: Prepared, card: ModelCard, recipe: Recipe | None = None) -> Sampler:
        """Plain batches of `data`, instructions in the words that are theirs."""
        texts = sorted({phrase.decode() for phrase in np.unique(data.phrases)})
        table = embedded(texts, self.encode, self.cache)
        sentences = SimpleNamespace(table=table, plain={text: row for row, text in enumerate(texts)})
        return Sampler(data, recipe or self.base, card.anchors, sentences)

    def streets(self, few: int | None = None, **data: Any) -> list[Prepared]:
        """The test streets, an equal part a seed (the first `few` of it), simulated anew with `data` changed if there is any."""
        recipe = replace(self.base, data=replace(self.base.data, cache=str(self.cache)))
        if data:
            alone = {"train": 0, "validation": 0, "calibration": 0, "seed": self.test_seed}
            recipe = replace(recipe, data=replace(recipe.data, **alone | data))
        test = Prepared(*prepare(recipe, self.cache, ["test"])["test"])
        numbers = np.array_split(np.unique(test.street), SEEDS)
        return [part(test, np.flatnonzero(np.isin(test.street, some[:few]))) for some in numbers]

    @property
    def shown(self) -> str:
        """The run of the model that is shown: the shipped one, or the recipe's."""
        return SHIPPED if self.shipped else FULL

    @property
    def oracles(self) -> Path:
        """Where the oracles' figures are kept: beside the test streets that they are about."""
        return prepared_folders(self.base, self.cache)["test"][0].parent / "oracles.json"

    @cached_property
    def test_seed(self) -> int:
        """The first test street's."""
        data = self.base.data
        return data.seed + data.train + data.validation + data.calibration

    def adapt(self, name: str, changes: dict[str, Any], data: Prepared) -> str:
        """Runs the recipe with `changes` as `name` on `data` alone, which it also looks at to stop and to calibrate;
        returns its name."""
        own = self.out / name / "data"
        count = {"train": 1, "validation": 1, "calibration": 1, "test": 1, "snapshots": len(data), "cache": str(own)}
        recipe = replace(self.base, data=replace(self.base.data, **count))
        for (folder,) in prepared_folders(recipe, own).values():
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "street-00000.arrow").is_file():
                write_shard(folder / "street-00000.arrow", vars(data))
        return self.run(name, changes | {"data": count})


def part(data: Prepared, rows: np.ndarray) -> Prepared:
    """Some rows of prepared snapshots, in memory."""
    chosen = copy(data)
    for name, values in vars(data).items():
        setattr(chosen, name, values[rows])
    return chosen


def pointed(cells: np.ndarray, data: Prepared, grid: AnchorGrid) -> float:
    """How often the vehicle nearest to the cell that the pointer finds likeliest, `cells` (N, K), is the one with the terminal."""
    row, slot = np.nonzero(data.served & (data.terminals >= 0))
    return float(np.mean(pointed_at(cells[row, slot], row, data, grid) == data.terminals[row, slot]))


def pointed_at(cells: np.ndarray, row: np.ndarray, data: Prepared, grid: AnchorGrid) -> np.ndarray:
    """Slots (T,) of the vehicles nearest to `cells` (T,) of the snapshots `row` (T,)."""
    place = grid.place(cells, np.zeros((len(row), 2)))
    away = np.linalg.norm(data.objects[row][:, :, CENTRE][..., :2] - place[:, None], axis=2)
    away[np.isnan(data.objects[row][..., LABEL])] = np.inf
    return away.argmin(axis=1)


def sets(answered: Answers, card: ModelCard) -> Figures:
    """How often the conformal set of now holds the best beam, and its mean size."""
    if np.isnan(answered.beam).all():
        return {}
    beams = [conformal.sweep_set(row, card.sweep_threshold[0]) for row in probabilities(answered, card)[0][:, 0]]
    return {"coverage": metrics.coverage(beams, answered.best[:, 0]), "set_size": metrics.set_size(beams)}


def nearby(answered: Answers, card: ModelCard) -> Figures:
    """How many vehicles within NEAR are found, and how far off."""
    truth = answered.true_objects.copy()
    truth[np.hypot(truth[..., CENTRE.start], truth[..., CENTRE.start + 1]) > NEAR, SEEN] = 0
    found = [decode_objects(output, card.anchors, threshold=card.object_threshold) for output in answered.objects]
    seen = detection(found, truth)
    return {"near_recall": seen["recall"], "near_position_mae_m": seen["position_mae_m"]}


def merged(entries: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`entries` with `changes`, which go into nested ones."""
    return entries | {
        name: merged(entries.get(name, {}), value) if isinstance(value, dict) else value for name, value in changes.items()
    }


def mark(weights: Path) -> str:
    """What tells these weights from all others, in a name."""
    return sha256_of(weights)[:12]


def kept(path: Path, make: Callable[[], Kept]) -> Kept:
    """The figures in the file `path`; made and written if it is not there."""
    if not path.is_file():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1) + "\n")
    return json.loads(path.read_text())

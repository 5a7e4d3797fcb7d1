"""int8 where it answers as well: ranges from the calibration streets, judged on the test streets, refused with the figures if it is worse."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mmsense_ros.engine import Engine, EngineOptions, open_engine
from mmsense_ros.engine.int8 import int8_path, note_int8, quantize
from mmsense_ros.errors import EngineError, ModelError
from mmsense_ros.model_card import ModelCard
from mmsense_ros.prefix import prefix_path
from mmsense_ros.progress import progress
from mmsense_ros.sentence import SentenceEncoder
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.deployed import Deployed, inputs_of
from mmsense_ros.training.prepare import prepare
from mmsense_ros.training.recipe import Recipe, load_recipe
from mmsense_ros.training.score import answers, figures
from mmsense_ros.training.shards import Prepared
from mmsense_ros.training.wording import Sentences

READINGS = 200  #: snapshots that ranges are taken from
BEAMS = 0.005  #: [DBA] that int8 may lose
REST = 0.01  #: part of any other figure that it may lose
HIGHER = ("blockage_f1", "ahead_blockage_f1", "objects_f1", "people_f1", "activity_acc")
LOWER = ("pathloss_mae_db", "objects_position_mae_m", "traffic_mae")

Figures = dict[str, float]


def add_int8(model: Path, recipe_path: Path) -> Path:
    """Puts an int8 copy beside the exported `model`, with its figures on the recipe's test streets in the note; returns its path.

    Streets that are not prepared yet are simulated into the recipe's cache, or data/ beside `model`.

    Raises ConfigError, EngineError, and ModelError for a vision-LLM or, with the figures, if the copy answers worse; nothing is left
    behind then.
    """
    if prefix_path(model).is_file():
        raise ModelError(f"{model} has a vision-LLM as its backbone, of which no int8 copy is made; export it without --int8")
    recipe, card = load_recipe(recipe_path), ModelCard.load(model)
    ranges, judged = samplers(recipe, card, model.parent / "data")
    with TemporaryDirectory(dir=model.parent) as folder:
        own = Path(folder) / model.name
        os.link(model, own)
        with progress("judging fp32") as report:
            engine = open_engine(own, EngineOptions(precision="fp32"))
            exact = _figures(engine, judged, card, report)
        streets = np.unique(ranges.data.street)
        readings = [
            given for number in streets for given in inputs_of(engine, ranges.street(number)[1], number % recipe.data.targets)
        ]
        engine.close()
        with progress("choosing what to round") as report:
            share = quantize(own, readings[:: max(len(readings) // READINGS, 1)], report=report)
        note_int8(own, share, exact, {})
        with progress("judging int8") as report:
            engine = _opened_int8(own, engine.name)
            rounded = _figures(engine, judged, card, report)
            engine.close()
        worse = losses(exact, rounded)
        if worse:
            raise ModelError(f"int8 answers worse than fp32 on the test streets: {'; '.join(worse)}; nothing was written")
        note_int8(own, share, exact, rounded)
        for path in (int8_path(own), int8_path(own).with_suffix(".json")):
            path.replace(model.parent / path.name)
    return int8_path(model)


def losses(exact: Figures, rounded: Figures) -> list[str]:
    """In words, which figures `rounded` is too much worse in than `exact`."""
    allowed = {name: exact[name] - BEAMS for name in ("dba", "ahead_dba")}
    allowed |= {name: exact[name] * (1 - REST) for name in HIGHER} | {name: exact[name] * (1 + REST) for name in LOWER}
    return [
        f"{name} {rounded[name]:.4f}, allowed {'up to' if name in LOWER else 'from'} {limit:.4f}"
        for name, limit in allowed.items()
        if (rounded[name] > limit if name in LOWER else rounded[name] < limit)  # NaN: the model has not the task
    ]


def _opened_int8(model: Path, name: str) -> Engine:
    """The int8 copy beside `model` in the engine `name`, or in ONNX Runtime where that cannot run it on this CPU."""
    try:
        return open_engine(model, EngineOptions(name, "int8"))
    except EngineError:
        return open_engine(model, EngineOptions("onnxruntime", "int8"))


def _figures(engine: Engine, judged: Sampler, card: ModelCard, report: Callable[[int, int], None]) -> Figures:
    deployed, streets = Deployed(engine), np.unique(judged.data.street)
    done = count(1)
    deployed.register_forward_hook(lambda *_: report(next(done), len(streets)))
    return figures(answers(deployed, judged), card.object_threshold, card.person_threshold)


def samplers(recipe: Recipe, card: ModelCard, cache: Path) -> tuple[Sampler, Sampler]:
    """The recipe's calibration streets and its test streets, simulated into its cache (`cache` if it names none) where they are missing."""
    cache = Path(recipe.data.cache or cache)
    splits = [Prepared(*folders) for folders in prepare(recipe, cache, ("calibration", "test")).values()]
    phrases = {phrase.decode() for data in splits for phrase in np.unique(data.phrases)}
    sentences = Sentences(phrases, SentenceEncoder().encode, cache)
    ranges, judged = (Sampler(data, recipe, card.anchors, sentences) for data in splits)
    return ranges, judged

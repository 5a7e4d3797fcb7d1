"""Training recipes: YAML files in config/ such as train.yaml."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mmsense_ros.errors import ConfigError
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.tasks import load_tasks

SPLITS = ("train", "validation", "calibration", "test")


def within(low: float, high: float, default: float) -> Any:
    """A field of a recipe that must not be below `low` or above `high`."""
    return field(default=default, metadata={"within": (low, high)})


def at_least(low: float, default: float) -> Any:
    """A field of a recipe that must not be below `low`."""
    return within(low, math.inf, default)


@dataclass(frozen=True)
class Bags:
    """Recordings (rosbag2) a split, paths relative to the recipe; they join its streets."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    topics: dict[str, str] = field(
        default_factory=dict
    )  #: by input (data/topics.py), where it is not read from the usual topic
    doppler_sign: int = 1  #: -1 if the radar's velocities are positive for what comes nearer
    extrinsics: str = ""  #: a calibration YAML that takes the place of the bags' /tf_static


@dataclass(frozen=True)
class Data:
    """Which snapshots to simulate: streets a split, `snapshots` each, spread over `seconds`; seeds run on from `seed`. Of bags, snapshots
    as far apart are taken."""

    train: int = at_least(0, 80)
    validation: int = at_least(0, 6)
    calibration: int = at_least(0, 10)
    test: int = at_least(0, 10)
    snapshots: int = at_least(1, 120)
    seconds: float = at_least(0.1, 60.0)
    targets: int = at_least(1, 4)  #: terminals a snapshot, each an instruction
    phrases: int = at_least(1, 3)  #: instructions a terminal, of which training takes one at random
    seed: int = at_least(0, 1000)
    bags: Bags = Bags()
    weather: str = "clear"  #: what streets are seen through: presets of data/street/conditions.py joined by +
    workers: int = at_least(1, 2)
    cache: str = ""  #: folder of the prepared data; empty: data/ inside the output folder


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. It goes in rounds, each followed by a look at the validation streets, and
    ends after `rounds`, after `minutes`, or after `patience` rounds without a better one."""

    seed: int = at_least(0, 0)
    modalities: tuple[str, ...] = MODALITIES
    tasks: tuple[str, ...] = ()  #: those of config/tasks.yaml to learn; empty: all
    equal_weights: bool = False  #: of all losses, instead of learned uncertainties; `log_sigma` and `priority` are idle then
    model: dict[str, int | str] = field(default_factory=dict)  #: fields of model.mmsense.ModelConfig, its mechanisms among them
    data: Data = Data()
    batch: int = at_least(1, 16)  #: snapshots a step, of each process
    round: int = at_least(1, 4800)  #: snapshots of a round, drawn from all
    rounds: int = at_least(1, 40)
    minutes: float = at_least(1e-4, 40.0)
    patience: int = at_least(1, 8)
    learning_rate: float = at_least(0, 1e-3)
    weight_decay: float = at_least(0, 0.05)
    warmup: float = within(0, 1, 0.04)  #: part of training
    average: float = within(0, 1, 0.996)  #: decay of the moving average of the weights that is evaluated and exported
    modality_dropout: float = within(0, 1, 0.15)
    forget: float = within(0, 1, 0.1)  #: part of the memories that are lost
    generic: float = within(0, 1, 0.06)  #: part of the instructions that name no terminal; as many again name it only in part
    mirror: float = within(0, 1, 0.5)  #: part of the snapshots seen in a mirror
    points_map: float = within(0, 1, 0.5)  #: part of the radar maps taken from detections instead of the cube
    power_temperature: float = at_least(0.01, 0.5)  #: [dB]
    log_sigma: dict[str, float] = field(default_factory=dict)  #: of the uncertainty loss, by loss, at the start; else 0
    priority: dict[str, float] = field(default_factory=dict)  #: by loss, how much more it counts; else 1
    horizon: float = at_least(0.01, 0.5)  #: [s]
    coverage: float = within(0.01, 0.99, 0.9)
    start: str = ""  #: model.safetensors of another training to start from; weights are taken by name and shape
    freeze: tuple[str, ...] = ()  #: how names of parameters begin that do not learn; `closer` keeps that of `start`


def load_recipe(path: Path) -> Recipe:
    """The recipe of a YAML file; ConfigError names the file, the entry and the remedy."""
    path = Path(path)
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"recipe {path} cannot be read ({error}); config/train.yaml is an example") from error
    recipe = build(Recipe, entries, str(path))
    strange = set(recipe.tasks) - {task.name for task in load_tasks()}
    if strange:
        raise ConfigError(f"{path}: no task is called {', '.join(sorted(strange))}; config/tasks.yaml says what there is")
    unknown = set(recipe.modalities) - set(MODALITIES)
    if unknown or not recipe.modalities:
        raise ConfigError(f"{path}: modalities must be some of {', '.join(MODALITIES)}, not {list(recipe.modalities)}")
    return replace(recipe, data=replace(recipe.data, bags=_found(recipe.data.bags, path)))


def _found(bags: Bags, recipe: Path) -> Bags:
    """The same with paths that lead there from the working folder."""
    splits = {split: tuple(str(recipe.parent / str(bag)) for bag in getattr(bags, split)) for split in SPLITS}
    every = [bag for named in splits.values() for bag in named]
    if twice := sorted({bag for bag in every if every.count(bag) > 1}):
        raise ConfigError(f"{recipe}: bags: {', '.join(twice)} stands there twice; what is learned from must not be judged on")
    if bags.doppler_sign not in (1, -1):
        raise ConfigError(f"{recipe}: bags: doppler_sign is {bags.doppler_sign}; choose 1 or -1")
    return replace(bags, **splits, extrinsics=str(recipe.parent / bags.extrinsics) if bags.extrinsics else "")


def build(kind: type, entries: Any, place: str) -> Any:
    """The dataclass `kind` with `entries` for its defaults, of the same types and within their bounds; ConfigError names `place`."""
    if not isinstance(entries, dict):
        raise ConfigError(f"{place} must map names to values; config/train.yaml is an example")
    defaults = kind()
    known = {item.name: item.metadata.get("within") for item in fields(kind)}
    values = {}
    for name, value in entries.items():
        if name not in known:
            raise ConfigError(f"{place}: '{name}' is not known; remove it, or use one of {', '.join(sorted(known))}")
        default = getattr(defaults, name)
        if is_dataclass(default):
            values[name] = build(type(default), value, f"{place}: {name}")
        elif isinstance(default, tuple) and isinstance(value, list):
            values[name] = tuple(value)
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            values[name] = float(value)
        elif isinstance(value, type(default)) and not (isinstance(value, bool) and not isinstance(default, bool)):
            values[name] = value
        else:
            raise ConfigError(f"{place}: '{name}' must be a {type(default).__name__}, not {value!r}")
        if known[name] and not known[name][0] <= value <= known[name][1]:
            low, high = known[name]
            bounds = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            raise ConfigError(f"{place}: '{name}' must be {bounds}, not {value!r}")
    return kind(**values)

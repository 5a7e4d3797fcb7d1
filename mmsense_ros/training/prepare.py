"""Streets and bags become prepared snapshots on disk, once. Here streets are simulated: maps as the node computes them, and the truth
of several terminals each; recorded.py does bags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmsense_ros.anchors import ACTIVITIES, COLOURS, LANES, OBJECT_LABELS
from mmsense_ros.errors import ConfigError
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.detection import detect
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, Snapshot
from mmsense_ros.training.recipe import SPLITS, Data, Recipe
from mmsense_ros.training.recorded import bag_folder, prepare_bag
from mmsense_ros.training.shards import (
    CAMERA_SIZE,
    PHRASE_BYTES,
    THINGS,
    decibels,
    layout,
    object_slot,
    person_slot,
    write_shard,
)

if TYPE_CHECKING:
    from mmsense_ros.data.street import Street

VERSION = 5  #: of the prepared arrays; another one prepares anew
LATER = {"weather": "clear"}  #: what came later, by the value that leaves streets as they were
RADAR_AGE, LIDAR_AGE = 0.05, 0.1  #: [s] at most, as a synchronizer finds them at 20 and 10 Hz
VISIBLE = 0.15  #: part of a thing that must be seen for it to be found; below, finding it is neither asked for nor a fault


def prepare(recipe: Recipe, cache: Path, splits: Sequence[str] = SPLITS) -> dict[str, list[Path]]:
    """Folders of the prepared `splits`; streets and bags that are not in `cache` yet are simulated and read.

    Raises ConfigError for a weather that is not known or a split with nothing in it, BagError for a bag without truth.
    """
    data = recipe.data
    folders = prepared_folders(recipe, cache)
    if empty := [split for split in splits if not folders[split]]:
        raise ConfigError(
            f"data: {empty[0]} has neither streets nor bags; give it a number of streets, or bags: {{{empty[0]}: [PATH]}}"
        )
    seed = data.seed
    jobs = []
    for split, number in _streets(data).items():
        if split in splits and number:
            folders[split][0].mkdir(parents=True, exist_ok=True)
            jobs += [(folders[split][0] / f"street-{street:05d}.arrow", street, seed + street) for street in range(number)]
        seed += number
    _simulate([job for job in jobs if not job[0].exists()], data, recipe.horizon)
    bags = {bag_folder(bag, recipe, cache): bag for split in splits for bag in getattr(data.bags, split)}
    _each(
        "read bags", data.workers, prepare_bag, [(folder, bag, recipe) for folder, bag in bags.items() if not folder.exists()]
    )
    return {split: folders[split] for split in splits}


def prepared_folders(recipe: Recipe, cache: Path) -> dict[str, list[Path]]:
    """Where `prepare` puts each split: its streets in a folder of its own for all that changes the snapshots, then its bags."""
    data = {name: value for name, value in asdict(recipe.data).items() if name not in ("workers", "cache", "bags")}
    shared = {name: value for name, value in data.items() if LATER.get(name) != value}
    key = hashlib.sha256(json.dumps([VERSION, recipe.horizon, shared], sort_keys=True).encode()).hexdigest()[:12]
    return {
        split: [Path(cache) / key / split] * bool(number)
        + [bag_folder(bag, recipe, cache) for bag in getattr(recipe.data.bags, split)]
        for split, number in _streets(recipe.data).items()
    }


def _streets(data: Data) -> dict[str, int]:
    return {split: getattr(data, split) for split in SPLITS}


def _simulate(jobs: list[tuple[Path, int, int]], data: Data, horizon: float) -> None:
    _each("simulate streets", data.workers, prepare_street, [(*job, data, horizon) for job in jobs])


def _each(words: str, workers: int, prepares: Callable[..., None], jobs: list[tuple[Any, ...]]) -> None:
    """Calls `prepares` with each of `jobs` on `workers` processes, and says how far it is."""
    if not jobs:
        return
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,
        Progress(TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar,
    ):
        shown = bar.add_task("", total=len(jobs))
        for future in as_completed([pool.submit(prepares, *job) for job in jobs]):
            future.result()
            bar.advance(shown)


def prepare_street(path: Path, number: int, seed: int, data: Data, horizon: float) -> None:
    """Simulates street `number` of a split from its `seed` and writes its snapshots as one shard."""
    import cv2

    from mmsense_ros.data.street import Conditions, Street, StreetConfig

    cv2.setNumThreads(1)
    street = Street(seed, StreetConfig(conditions=Conditions.named(data.weather)), data.seconds)
    arrays = layout(data.snapshots, data)
    arrays["street"][:], arrays["facade"][:] = number, street.layout.facade
    arrays["time"][:] = moments(seed, data, horizon)
    for row, time in enumerate(arrays["time"]):
        _sense(arrays, row, street, float(time), np.random.default_rng([seed, row, 0]))
        _tell(arrays, row, street, float(time), horizon, np.random.default_rng([seed, row, 1]))
    write_shard(path, arrays)


def moments(seed: int, data: Data, horizon: float) -> np.ndarray:
    """Times (snapshots,) [s] of a street's snapshots, evenly spread but for a little chance."""
    first, last = LIDAR_AGE, data.seconds - horizon
    chance = np.random.default_rng(seed).random(data.snapshots)
    return first + (last - first) * (np.arange(data.snapshots) + chance) / data.snapshots


def _sense(arrays: dict[str, np.ndarray], row: int, street: Street, time: float, rng: np.random.Generator) -> None:
    """Maps of the moment `time`, from readings as old as a synchronizer would find them."""

    camera = street.camera(time)
    cube = street.radar(time - rng.uniform(0, RADAR_AGE))
    lidar = street.lidar(time - rng.uniform(0, LIDAR_AGE))
    grid = PolarGrid()
    full = Snapshot(camera.stamp, {CAMERA: camera, RADAR: cube, LIDAR: lidar})
    maps = build_maps(full, street.calibration, grid, CAMERA_SIZE)
    points = build_maps(Snapshot(camera.stamp, {RADAR: detect(cube)}), street.calibration, grid, CAMERA_SIZE)
    arrays["camera"][row] = np.round(maps[CAMERA] * 255)
    arrays["radar_cube"][row], arrays["lidar"][row] = maps[RADAR], maps[LIDAR]
    arrays["radar_points"][row] = points[RADAR]


def _tell(
    arrays: dict[str, np.ndarray], row: int, street: Street, time: float, horizon: float, rng: np.random.Generator
) -> None:
    """Truth of the moment `time`: terminals and what to call them, vehicles, people."""
    from mmsense_ros.data.street import describe

    truth = street.truth(time)
    shown = [vehicle for vehicle in truth.vehicles if vehicle.in_view]
    for slot, vehicle in enumerate(shown[:THINGS]):
        arrays["objects"][row, slot] = vehicle_row(vehicle)
    for slot, person in enumerate([person for person in truth.people if person.in_view][:THINGS]):
        arrays["people"][row, slot] = person_row(person)
    terminals, choices = arrays["phrases"].shape[1:]
    staying = {vehicle.id for vehicle in street.truth(time + horizon).vehicles}
    linked = [vehicle for vehicle in shown if vehicle.id in staying]
    for slot, chosen in enumerate(rng.permutation(len(linked))[:terminals]):
        vehicle = linked[chosen]
        links = [street.link(vehicle.id, moment) for moment in (time, time + horizon)]
        arrays["power"][row, slot] = [decibels(link.power) for link in links]
        arrays["blocked"][row, slot] = [link.blocked for link in links]
        arrays["pathloss"][row, slot] = links[0].pathloss
        arrays["served"][row, slot] = True
        arrays["terminals"][row, slot] = shown.index(vehicle) if shown.index(vehicle) < THINGS else -1
        arrays["phrases"][row, slot] = [describe(vehicle, truth.vehicles, rng).encode()[:PHRASE_BYTES] for _ in range(choices)]


def vehicle_row(vehicle: Any) -> np.ndarray:
    """A vehicle of the simulator's truth as a slot of `objects`."""
    label, colour = OBJECT_LABELS.index(vehicle.label), COLOURS.index(vehicle.colour)
    seen = vehicle.visible >= VISIBLE
    lane = LANES.index(vehicle.lane)
    return object_slot(label, colour, vehicle.position, vehicle.velocity, vehicle.size, vehicle.yaw, seen, lane)


def person_row(person: Any) -> np.ndarray:
    """A person of the simulator's truth as a slot of `people`."""
    activity = ACTIVITIES.index(person.activity)
    return person_slot(activity, person.position, person.visible >= VISIBLE, person.velocity[:2])

"""Recorded bags become prepared snapshots on disk: maps as the live node makes them, and what the truth topics tell."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.recording import Moment, Recording
from mmsense_ros.errors import BagError
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, NANOSECONDS, RADAR
from mmsense_ros.training.recipe import Recipe
from mmsense_ros.training.recorded_truth import RecordedTruth
from mmsense_ros.training.shards import CAMERA_SIZE, layout, write_shard

VERSION = 3  #: of what is made of a bag; another one reads it anew
GAP = 2.0  #: times the distance that snapshots should have: further apart, they are of two runs

Row = dict[str, np.ndarray]  #: one snapshot: arrays of one row each, by name, as in shards


def bag_folder(bag: str, recipe: Recipe, cache: Path) -> Path:
    """Where the shards of `bag` are: a folder of its own for all that changes them, the bag itself included."""
    data = recipe.data
    files = [file for path in (bag, data.bags.extrinsics) if path for file in sorted((Path(path), *Path(path).rglob("*")))]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    settings = data.snapshots, data.seconds, data.targets, data.phrases, recipe.horizon, sorted(recipe.modalities)
    key = json.dumps([VERSION, settings, data.bags.topics, data.bags.doppler_sign, stats], sort_keys=True)
    return Path(cache) / "bags" / f"{Path(bag).name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def prepare_bag(folder: Path, bag: str, recipe: Recipe) -> None:
    """Reads `bag` as the live node would and writes its snapshots into `folder`, one shard a run.

    Raises BagError for a bag that lacks what the recipe asks of it, or has nothing to learn from.
    """
    import cv2

    cv2.setNumThreads(1)
    data, partial = recipe.data, folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    apart = data.seconds / data.snapshots
    with _opened(bag, recipe) as recording:
        truth = RecordedTruth(recording.bag, recording.inputs, recipe.horizon)
        rows = (_row(moment, recording, truth, recipe) for moment in thinned(recording.moments(), apart))
        for number, run in enumerate(runs(rows, apart, data.snapshots)):
            shard = {name: np.concatenate([row[name] for row in run]) for name in run[0]}
            shard["street"][:] = number
            write_shard(partial / f"run-{number:05d}.arrow", shard)
    if not any(partial.iterdir()):
        raise BagError(f"{bag}: no snapshot came together; check the stamps and the reference sensor")
    partial.replace(folder)


def thinned(moments: Iterable[Moment], apart: float) -> Iterator[Moment]:
    """Those of `moments` that are the first in every `apart` [s]."""
    due, last = 0, -1
    step = round(apart * NANOSECONDS)
    for moment in moments:
        stamp = moment.snapshot.stamp
        if stamp >= due or stamp < last:
            yield moment
            due, last = (due if 0 <= stamp - due < step else stamp) + step, stamp


def runs(rows: Iterable[Row], apart: float, most: int) -> Iterator[list[Row]]:
    """`rows` in pieces of at most `most`, within which time goes on without a GAP."""
    run: list[Row] = []
    for row in rows:
        if run and (len(run) == most or not 0 < row["time"][0] - run[-1]["time"][0] <= GAP * apart):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _opened(bag: str, recipe: Recipe) -> Recording:
    bags = recipe.data.bags
    extrinsics = Calibration.load(bags.extrinsics) if bags.extrinsics else None
    try:
        return Recording(bag, set(MODALITIES) - set(recipe.modalities), extrinsics, bags.topics, bags.doppler_sign)
    except BagError as error:
        raise BagError(f"{error} (in a recipe: `modalities`, and `topics` and `extrinsics` of `bags`)") from error


def _row(moment: Moment, recording: Recording, truth: RecordedTruth, recipe: Recipe) -> Row:
    """A snapshot; a bag has radar points or cubes, and its one map stands for both."""
    row, snapshot = layout(1, recipe.data), moment.snapshot
    maps = build_maps(snapshot, recording.calibration, PolarGrid(), CAMERA_SIZE)
    if CAMERA in maps:
        row["camera"][0] = np.round(maps[CAMERA] * 255)
    if RADAR in maps:
        row["radar_cube"][0] = row["radar_points"][0] = maps[RADAR]
    if LIDAR in maps:
        row["lidar"][0] = maps[LIDAR]
    row["available"] = np.array([[name in snapshot.readings for name in MODALITIES]])
    row["time"][0] = (snapshot.stamp - recording.bag.start) / NANOSECONDS
    truth.tell(row, snapshot.stamp, moment.instruction)
    return row

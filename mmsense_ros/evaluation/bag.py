"""`mmsense evaluate`: the node's own Perception over recorded streets, scored against their truth, with no ROS running."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.recording import Recording
from mmsense_ros.engine import SHIPPED_MODEL, EngineOptions
from mmsense_ros.errors import BagError, ConfigError
from mmsense_ros.evaluation.film import Film
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.evaluation.report import Score
from mmsense_ros.model_card import ModelCard
from mmsense_ros.perception import Perception
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, MODALITIES, Snapshot

Progress = Callable[[int, int], None]  #: called with (frames done, frames in all)
FILM_RATE = 30.0  #: [pictures/s]
BRIEF = ("top1", "top3", "dba", "power_loss_db")


def evaluate(
    bags: Sequence[str | Path],
    model: str | Path = "",
    engine: EngineOptions = EngineOptions(),
    drop: Collection[str] = (),
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    calibration: str | Path | None = None,
    topics: Mapping[str, str] | None = None,
    ablate: bool = False,
    overlay: bool = False,
) -> dict[str, Any]:
    """Figures over all `bags` together, also written to `out`/report.json. `topics` renames topics (modality -> topic).

    `drop` withholds modalities from everything. `per_modality_drop` holds the beam figures with one more modality withheld:
    each one if `ablate`, else, if exactly one is dropped, that one. Bags without truth give `predictions` in the figures'
    stead. `overlay` also draws `out`/overlay.mp4 of the first bag. Raises BagError, ModelError, EngineError, CalibrationError;
    all but latency_ms is the same in every run.
    """
    if unknown := sorted(set(drop) - set(MODALITIES)):
        raise ConfigError(f"unknown modality {', '.join(unknown)}; drop one of {', '.join(MODALITIES)}")
    path = Path(model) if model else SHIPPED_MODEL
    given = Calibration.load(calibration) if calibration else None
    score, ablated = Score(), {name: Score() for name in MODALITIES if ablate and name not in drop}
    predictions: list[dict[str, Any]] = []
    with ExitStack() as stack:
        recordings = [stack.enter_context(Recording(bag, drop, given, topics)) for bag in bags]
        total = sum(recording.frames for recording in recordings)
        opened = Perception.open(given, path, engine)
        stack.callback(opened.close)
        film = stack.enter_context(Film(Path(out or ".") / "overlay.mp4", FILM_RATE)) if overlay else None
        for recording in recordings:
            perception = opened.beside(recording.calibration)
            others = {name: opened.beside(recording.calibration) for name in ablated}
            picture = drawing(recording, opened.card)
            for moment in recording.moments():
                sensing = perception(moment.snapshot, moment.instruction)
                score.add(sensing, moment.truth)
                if moment.truth is None:
                    predictions.append(prediction(sensing))
                for name, other in ablated.items():
                    if rest := without(moment.snapshot, name):
                        other.add(others[name](rest, moment.instruction), moment.truth)
                if film and recording is recordings[0]:
                    camera = moment.snapshot.readings.get(CAMERA)
                    film.add(picture.draw(camera.image if camera else None, sensing))
                if progress:
                    progress(min(score.frames, total), total)
    if not score.frames:
        raise BagError(f"{', '.join(map(str, bags))}: no snapshot came together; check the stamps and the reference sensor")
    report = score.report() | {"engine": {"name": opened.engine.name, "precision": opened.engine.precision}}
    if "beam" in report:
        losses = {name: other.report()["beam"] for name, other in ablated.items()}
        if len(drop) == 1:
            losses |= {next(iter(drop)): report["beam"]}
        report["per_modality_drop"] = {name: {key: beam[key] for key in BRIEF} for name, beam in losses.items()}
    else:
        report["predictions"] = predictions
    if out is not None:
        write_report(report, Path(out))
    return report


def write_report(report: dict[str, Any], out: Path) -> Path:
    """Write `out`/report.json and return its path. Raises ConfigError if the folder cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = out / "report.json"
        file.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror}); choose another folder with --out") from error
    return file


def drawing(recording: Recording, card: ModelCard) -> Overlay:
    """What draws on the recording's camera images; with no camera_info in the bag, only the panel shows where things are."""
    info = recording.camera_info
    if info is None:
        return Overlay(card.codebook)
    pose = recording.calibration.antenna_from(info.header.frame_id)
    return Overlay(card.codebook, np.asarray(info.k, float).reshape(3, 3), pose)


def without(snapshot: Snapshot, modality: str) -> Snapshot | None:
    """The snapshot as if that sensor had not been there; None if nothing else was."""
    readings = {name: reading for name, reading in snapshot.readings.items() if name != modality}
    return dataclasses.replace(snapshot, readings=readings) if readings else None


def prediction(sensing: Sensing) -> dict[str, Any]:
    """One frame's answers, brief and JSON-ready, for bags that hold no truth."""
    return {
        "stamp": sensing.stamp,
        "instruction": sensing.instruction,
        "beam": sensing.beam.best,
        "probability": round(float(sensing.beam.probabilities.max()), 4),
        "sweep_set": sensing.beam.sweep_set.tolist(),
        "beam_ahead": sensing.beam_ahead.best,
        "blockage": round(sensing.blockage, 4),
        "pathloss_db": round(sensing.pathloss, 2),
        "objects": len(sensing.objects),
        "people": len(sensing.people),
    }

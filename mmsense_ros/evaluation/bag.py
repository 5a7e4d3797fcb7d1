"""`mmsense evaluate`: the node's own Perception over recorded streets, scored against their truth, with no ROS running."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsense_ros.data.drivebys import senses
from mmsense_ros.engine import SHIPPED_MODEL, EngineOptions
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation import measured
from mmsense_ros.evaluation.agreement import Agreement
from mmsense_ros.evaluation.baselines import online
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.highlights import SHOWN
from mmsense_ros.evaluation.processes import Spread, here
from mmsense_ros.evaluation.report import BRIEF, figures, report_of, without_nan
from mmsense_ros.evaluation.scenario import Plan, jobs_of
from mmsense_ros.model_card import ModelCard
from mmsense_ros.snapshot import MODALITIES


def evaluate(
    bags: Sequence[str | Path],
    model: str | Path = "",
    engine: EngineOptions = EngineOptions(),
    drop: Collection[str] = (),
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    calibration: str | Path | None = None,
    topics: Mapping[str, str] | None = None,
    doppler_sign: int = 1,
    truth: str | Path | None = None,
    ablate: bool = False,
    overlay: bool = False,
    spread: Spread = here,
    draw: int = 0,
) -> dict[str, Any]:
    """Figures over all `bags` together, and under `scenarios` of each; in `out` go report.json, report.html and frames.npz.

    `topics` renames inputs (input -> topic, data/topics.py), `doppler_sign` is that of `Recording`, `truth` a file beside the bags
    (data/truth.py). `drop` withholds modalities from everything. `per_modality_drop` holds the beam figures with one more modality
    withheld: each one if `ablate`, else, if exactly one is dropped, that one. `predictions` tells of tasks without truth. `overlay`
    also draws `out`/overlay.mp4 of the first bag. `baselines` are told from the measured beam powers alone (baselines/online.py);
    bags that hold these but no sensor give nothing else (measured.py, which `draw` is for): report.json alone. `spread` says who
    does the work; `progress` is called with (frames done, frames in all). All but latency_ms is the same in every run. Raises
    BagError, ModelError, EngineError, CalibrationError, ConfigError.
    """
    if unknown := sorted(set(drop) - set(MODALITIES)):
        raise ConfigError(f"unknown modality {', '.join(unknown)}; drop one of {', '.join(MODALITIES)}")
    others = tuple(name for name in MODALITIES if ablate and name not in drop)
    path = Path(model) if model else SHIPPED_MODEL
    renamed = dict(topics or {})
    plan = Plan(
        path, engine, frozenset(drop), others, _path(calibration), renamed, doppler_sign, _path(truth), SHOWN if out else 0
    )
    jobs = jobs_of(bags)
    if not any(senses(job.bag, plan.topics) for job in jobs):
        report = measured.report_of(jobs, plan.topics, draw)
        if out is not None:
            write(report, Path(out))
        return report
    if overlay:
        jobs[0] = replace(jobs[0], film=Path(out or ".") / "overlay.mp4")
    total = 0
    for job in jobs:  # what is wrong with a bag is best said before others were worked on
        with plan.open(job) as recording:
            total += recording.frames
    parts = spread(plan, jobs, lambda done: progress(min(done, total), total) if progress else None)
    frames = Frames.joined([part.frames for part in parts])
    report = report_of(frames) | {"engine": {"name": parts[0].engine, "precision": parts[0].precision}}
    if replayed := [part.live for part in parts if part.live]:
        report["live"] = {name: Agreement.joined(part[name] for part in replayed).figures() for name in replayed[0]}
    if "beam" in report:
        report["baselines"] = without_nan(online.beside(frames, ModelCard.load(path).horizon))
        ablated = {name: [part.ablated[name] for part in parts if name in part.ablated] for name in others}
        losses = {name: figures(Frames.joined(rest))["beam"] for name, rest in ablated.items() if rest}
        if len(drop) == 1:
            losses |= {next(iter(drop)): report["beam"]}
        report["per_modality_drop"] = {name: {key: beam[key] for key in BRIEF} for name, beam in losses.items()}
    if out is not None:
        from mmsense_ros.evaluation.page.report import report_page  # here, as matplotlib takes a while and only pages need it

        page = report_page(frames, report, [shot for part in parts for shot in part.shots], parts[0].coverage)
        write(report, Path(out), frames, page)
    return report


def write(report: dict[str, Any], out: Path, frames: Frames | None = None, page: str = "") -> None:
    """What an evaluation leaves in the folder `out`: its report, its `frames` and its `page` as far as there are any.

    Raises ConfigError if it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
        if page:
            (out / "report.html").write_text(page, encoding="utf-8")
        if frames is not None:
            frames.save(out / "frames.npz")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror}); choose another folder with --out") from error


def _path(path: str | Path | None) -> Path | None:
    return Path(path) if path else None

"""Bags that hold beam powers, and perhaps positions, but no sensor: what they say of the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmsense_ros.data.drivebys import drive_bys
from mmsense_ros.evaluation.baselines.heldout import SHARE, HeldOut, compare
from mmsense_ros.evaluation.baselines.told import Told
from mmsense_ros.evaluation.report import without_nan
from mmsense_ros.evaluation.scenario import Job

ANSWERS = "tracker"  #: whose figures stand where the model's would


def report_of(jobs: Sequence[Job], topics: Mapping[str, str], seed: int) -> dict[str, Any]:
    """report.json: each bag's drive-bys, learned from a part of them that `seed` draws, and judged by the others.

    `beam` is of the tracker, `baselines` of each predictor that all bags allow. Raises BagError.
    """
    parts = {job.scenario: compare(drive_bys(job.bag, topics, job.scenario), seed) for job in jobs}
    report = _figures(joined(list(parts.values()))) | {"scenarios": {name: _figures(part) for name, part in parts.items()}}
    report["split"] = {"learned_from": SHARE, "seed": seed}
    return without_nan(report | {"engine": {"name": ANSWERS, "precision": "float64"}, "per_modality_drop": {}})


def joined(parts: list[HeldOut]) -> HeldOut:
    """All held-out snapshots of several scenarios of one codebook."""
    names = [name for name in parts[0].told if all(name in part.told for part in parts)]
    told = {name: Told.joined([part.told[name] for part in parts]) for name in names}
    return HeldOut(told, np.concatenate([part.power for part in parts]))


def _figures(part: HeldOut) -> dict[str, Any]:
    figures = part.figures()
    tasks = {"beam": figures[ANSWERS], "beam_ahead": figures["tracker_ahead"]}
    return {
        "frames": len(part.power),
        "beam": tasks["beam"],
        "baseline": figures["most_frequent"],
        "baselines": figures,
        "per_task": tasks,
    }

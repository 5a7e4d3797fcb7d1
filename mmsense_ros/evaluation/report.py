"""The figures of report.json, from the columns of `Frames`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mmsense_ros.evaluation import metrics
from mmsense_ros.evaluation.frames import Frames

BRIEF = ("top1", "top3", "dba", "power_loss_db")
OBJECTS, PEOPLE = ("recall", "precision", "position_mae_m"), ("recall", "precision", "activity_acc")


def report_of(frames: Frames) -> dict[str, Any]:
    """`figures` of all frames and, under `scenarios`, of each bag; `predictions` tells of the tasks without truth."""
    report = figures(frames)
    if untold := predictions(frames):
        report["predictions"] = untold
    names = dict.fromkeys(frames.scenario.tolist())
    return report | {"scenarios": {name: figures(frames.only(np.flatnonzero(frames.scenario == name))) for name in names}}


def figures(frames: Frames) -> dict[str, Any]:
    """All figures that the truth allows, JSON-ready: a task without truth is left out, what is undefined is None."""
    tasks = {
        "beam": _beam(frames),
        "beam_ahead": _ahead(frames),
        "blockage": _blockage(frames, 0),
        "blockage_ahead": _blockage(frames, 1),
        "pathloss": _mean_error("mae_db", frames.pathloss, frames.true_pathloss),
        "objects": _detections(frames, "object", frames.objects, "class_acc"),
        "traffic": _mean_error("mae", frames.traffic, frames.true_traffic),
        "people": _detections(frames, "person", frames.people, "activity_acc"),
    }
    tasks = {name: task for name, task in tasks.items() if task}
    found: dict[str, Any] = {"frames": len(frames)}
    if "beam" in tasks:
        found |= {"beam": tasks["beam"], **_bounds(frames)}
    for name in ("blockage", "pathloss", "objects", "traffic", "people"):
        if name in tasks:
            brief = {"objects": OBJECTS, "people": PEOPLE}.get(name, tasks[name])
            found[name] = {key: tasks[name][key] for key in brief}
    return without_nan(found | {"per_task": tasks, "latency_ms": metrics.percentiles(frames.latency)})


def predictions(frames: Frames) -> dict[str, Any]:
    """What was answered to the tasks of which no truth is known: means over all frames, JSON-ready."""
    told: dict[str, Any] = {}
    if not frames.known.any():
        best = np.bincount(frames.beam.argmax(axis=1), minlength=frames.beam.shape[1])
        told["beam"] = {
            "most_frequent": int(best.argmax()),
            "different": int((best > 0).sum()),
            "probability": float(frames.beam.max(axis=1).mean()),
            "set_size": float(frames.sweep.sum(axis=1).mean()),
        }
    if not np.isfinite(frames.blocked).any():
        told["blockage"] = {"now": float(frames.blockage[:, 0].mean()), "ahead": float(frames.blockage[:, 1].mean())}
    if not np.isfinite(frames.true_pathloss).any():
        told["pathloss"] = {"mean_db": float(frames.pathloss.mean())}
    if not np.isfinite(frames.true_traffic).any():
        told["traffic"] = {"vehicles": float(frames.traffic.sum(axis=1).mean())}
    for name in ("objects", "people"):
        counts = getattr(frames, name)
        if (counts[:, 1] < 0).all():
            told[name] = {"found": float(counts[:, 0].mean())}
    return without_nan(told)


def ranking_figures(ranked: np.ndarray, best: np.ndarray) -> dict[str, float]:
    """Top-k and DBA of rankings (N, beams) against the best beams (N,)."""
    return {f"top{k}": metrics.top_k(ranked, best, k) for k in (1, 2, 3, 5)} | {"dba": metrics.dba(ranked, best)}


def beam_figures(ranked: np.ndarray, power: np.ndarray) -> dict[str, float]:
    """`ranking_figures` against the strongest measured beam of `power` (N, beams), and the power the first choice loses."""
    return ranking_figures(ranked, power.argmax(axis=1)) | {"power_loss_db": metrics.power_loss_db(power, ranked[:, 0])}


def set_figures(sweep: np.ndarray, best: np.ndarray) -> dict[str, float]:
    """How often the sets (N, beams) bool hold the best beams (N,), and how many beams they have."""
    return {"coverage": float(sweep[np.arange(len(best)), best].mean()), "set_size": float(sweep.sum(axis=1).mean())}


def ranking(probabilities: np.ndarray) -> np.ndarray:
    """Beams (N, beams), best first, of probabilities or powers (N, beams); of equals, the lower index."""
    return np.argsort(-probabilities, axis=1, kind="stable")


def without_nan(value: Any) -> Any:
    """JSON knows no NaN: None says that a figure is undefined."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _beam(frames: Frames) -> dict[str, float]:
    known = frames.known
    if not known.any():
        return {}
    power = frames.power[known]
    return beam_figures(ranking(frames.beam[known]), power) | set_figures(frames.sweep[known], power.argmax(axis=1))


def _ahead(frames: Frames) -> dict[str, float]:
    known = frames.best_ahead >= 0
    if not known.any():
        return {}
    best = frames.best_ahead[known]
    return ranking_figures(ranking(frames.ahead[known]), best) | set_figures(frames.sweep_ahead[known], best)


def _bounds(frames: Frames) -> dict[str, dict[str, float]]:
    """`baseline`, always the beam that is best most often, and `oracle`, exact geometry without noise."""
    known, exact = frames.known, np.isfinite(frames.noise_free).all(axis=1)
    power = frames.power[known]
    frequent = np.bincount(power.argmax(axis=1), minlength=power.shape[1])
    bounds = {"baseline": beam_figures(np.tile(ranking(frequent[None]), (len(power), 1)), power)}
    if (known & exact).any():
        oracle = beam_figures(ranking(frames.noise_free[known & exact]), frames.power[known & exact])
        bounds["oracle"] = {key: oracle[key] for key in BRIEF}
    return bounds


def _blockage(frames: Frames, when: int) -> dict[str, float]:
    known = np.isfinite(frames.blocked[:, when])
    if not known.any():
        return {}
    probability, truth = frames.blockage[known, when], frames.blocked[known, when]
    return {"f1": metrics.f1(probability, truth), "auroc": metrics.auroc(probability, truth)}


def _mean_error(name: str, told: np.ndarray, true: np.ndarray) -> dict[str, float]:
    error = np.abs(told - true)
    return {name: float(np.nanmean(error))} if np.isfinite(error).any() else {}


def _detections(frames: Frames, kind: str, counts: np.ndarray, label_accuracy: str) -> dict[str, float]:
    """Recall, precision, mean ground distance of the matched, and the part of them with the right label."""
    known = counts[counts[:, 1] >= 0]
    if not len(known):
        return {}
    errors, agreed = getattr(frames, f"{kind}_error"), getattr(frames, f"{kind}_agreed")
    found, true = known.sum(axis=0).tolist()
    return {
        "recall": metrics.ratio(len(errors), true),
        "precision": metrics.ratio(len(errors), found),
        "position_mae_m": metrics.ratio(float(errors.sum()), len(errors)),
        label_accuracy: metrics.ratio(int(np.nansum(agreed)), int(np.isfinite(agreed).sum())),
    }

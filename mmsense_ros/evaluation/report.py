"""Answers and truth, frame by frame, become the figures of report.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsense_ros.data.recording import Truth
from mmsense_ros.evaluation import metrics
from mmsense_ros.sensing import BeamForecast, Sensing


@dataclass
class DetectionTally:
    """Counts over frames of one kind of detection; matching is class-agnostic (`metrics.match`)."""

    found: int = 0
    true: int = 0
    errors: list[float] = field(default_factory=list)  #: [m] ground distance of each matched pair
    agreed: int = 0  #: matched pairs whose label (class, activity) is the same

    def add(self, found: Sequence[tuple[Any, str]], true: Sequence[tuple[Any, str]]) -> None:
        """One frame: (position (3,), label) of what was found, most confident first, and of what was there."""
        places, truths = ([place for place, _ in things] for things in (found, true))
        self.found += len(found)
        self.true += len(true)
        for i, j in metrics.match(np.array(places).reshape(-1, 3), np.array(truths).reshape(-1, 3)):
            self.errors.append(math.dist(places[i][:2], truths[j][:2]))
            self.agreed += found[i][1] == true[j][1]

    def figures(self, label_accuracy: str) -> dict[str, float]:
        """Recall, precision, mean ground distance of the matched, and the part of them with the right label."""
        matched = len(self.errors)
        return {
            "recall": metrics.ratio(matched, self.true),
            "precision": metrics.ratio(matched, self.found),
            "position_mae_m": metrics.ratio(sum(self.errors), matched),
            label_accuracy: metrics.ratio(self.agreed, matched),
        }


@dataclass
class Score:
    """Collects frames; `report` gives the figures. Only small arrays are kept, never images."""

    frames: int = 0
    latency: list[float] = field(default_factory=list)  #: [ms] per frame, readings to answers
    power: list[np.ndarray] = field(default_factory=list)
    noise_free: list[np.ndarray] = field(default_factory=list)
    beams: list[BeamForecast] = field(default_factory=list)
    ahead: list[BeamForecast] = field(default_factory=list)
    best_ahead: list[int] = field(default_factory=list)
    blockage: list[tuple[float, float, float, float]] = field(default_factory=list)  #: now, truth now, ahead, truth ahead
    pathloss: list[float] = field(default_factory=list)
    traffic: list[float] = field(default_factory=list)
    objects: DetectionTally = field(default_factory=DetectionTally)
    people: DetectionTally = field(default_factory=DetectionTally)

    def add(self, sensing: Sensing, truth: Truth | None) -> None:
        """One frame; without truth only the latency counts."""
        self.frames += 1
        self.latency.append(sensing.latency_ms["total"])
        if truth is None:
            return
        real = truth.sensing
        self.power.append(np.array(truth.power, np.float64))
        self.noise_free.append(np.array(truth.noise_free, np.float64))
        self.beams.append(sensing.beam)
        self.ahead.append(sensing.beam_ahead)
        self.best_ahead.append(int(real.beam_ahead.beams[0]))
        self.blockage.append((sensing.blockage, real.blockage, sensing.blockage_ahead, real.blockage_ahead))
        self.pathloss.append(abs(sensing.pathloss - real.pathloss))
        self.traffic.extend(abs(sensing.traffic.get(count.label, 0.0) - count.count) for count in real.traffic)
        self.objects.add([(o.position, o.label) for o in sensing.objects], [(_xyz(o), o.label) for o in real.objects])
        self.people.add([(p.position, p.activity) for p in sensing.people], [(_xyz(p), p.activity) for p in real.people])

    def report(self) -> dict[str, Any]:
        """All figures that the collected truth allows, JSON-ready: what is undefined is None."""
        figures: dict[str, Any] = {"frames": self.frames}
        if self.power:
            figures |= self._against_truth()
        figures["latency_ms"] = metrics.percentiles(self.latency)
        return _without_nan(figures)

    def _against_truth(self) -> dict[str, Any]:
        power, noise_free = np.array(self.power), np.array(self.noise_free)
        best = power.argmax(axis=1)
        ranked = np.array([beam.ranked for beam in self.beams])
        sets = [beam.sweep_set for beam in self.beams]
        frequent = Counter(best.tolist())
        order = sorted(range(power.shape[1]), key=lambda beam: (-frequent[beam], beam))
        now, now_truth, later, later_truth = np.array(self.blockage).T
        objects, people = self.objects.figures("class_acc"), self.people.figures("activity_acc")
        beam = beam_figures(ranked, power) | {"coverage": metrics.coverage(sets, best), "set_size": metrics.set_size(sets)}
        blockage = {"f1": metrics.f1(now, now_truth), "auroc": metrics.auroc(now, now_truth)}
        pathloss = {"mae_db": float(np.mean(self.pathloss))}
        traffic = {"mae": metrics.ratio(sum(self.traffic), len(self.traffic))}
        oracle = beam_figures(np.argsort(-noise_free, axis=1, kind="stable"), power)
        return {
            "beam": beam,
            "oracle": {key: oracle[key] for key in ("top1", "top3", "dba", "power_loss_db")},
            "baseline": beam_figures(np.tile(order, (len(power), 1)), power),
            "blockage": blockage,
            "pathloss": pathloss,
            "objects": {key: objects[key] for key in ("recall", "precision", "position_mae_m")},
            "traffic": traffic,
            "people": {key: people[key] for key in ("recall", "precision", "activity_acc")},
            "per_task": {
                "beam": beam,
                "beam_ahead": self._ahead_figures(),
                "blockage": blockage,
                "blockage_ahead": {"f1": metrics.f1(later, later_truth), "auroc": metrics.auroc(later, later_truth)},
                "pathloss": pathloss,
                "objects": objects,
                "traffic": traffic,
                "people": people,
            },
        }

    def _ahead_figures(self) -> dict[str, float]:
        best, ranked = np.array(self.best_ahead), np.array([beam.ranked for beam in self.ahead])
        sets = [beam.sweep_set for beam in self.ahead]
        return ranking_figures(ranked, best) | {"coverage": metrics.coverage(sets, best), "set_size": metrics.set_size(sets)}


def ranking_figures(ranked: np.ndarray, best: np.ndarray) -> dict[str, float]:
    """Top-k and DBA of rankings (N, beams) against the best beams (N,)."""
    return {f"top{k}": metrics.top_k(ranked, best, k) for k in (1, 2, 3, 5)} | {"dba": metrics.dba(ranked, best)}


def beam_figures(ranked: np.ndarray, power: np.ndarray) -> dict[str, float]:
    """`ranking_figures` against the strongest measured beam of `power` (N, beams), and the power the first choice loses."""
    return ranking_figures(ranked, power.argmax(axis=1)) | {"power_loss_db": metrics.power_loss_db(power, ranked[:, 0])}


def _xyz(thing: Any) -> tuple[float, float, float]:
    return thing.position.x, thing.position.y, thing.position.z


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: None says that a figure is undefined."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Answers and truth, frame by frame, become the columns of `Frames`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmsense_ros.data.truth import Thing, Truth
from mmsense_ros.errors import BagError
from mmsense_ros.evaluation import metrics
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.sensing import Sensing

UNKNOWN = Truth()


class Score:
    """Collects the frames of one scenario. Only small arrays are kept, never images."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self._rows: list[tuple[Any, ...]] = []
        self._pairs: dict[str, list[tuple[int, float, float, bool]]] = {"object": [], "person": []}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, sensing: Sensing, truth: Truth | None = None) -> None:
        """One frame, the truth as far as it is known. Raises BagError if it is of another codebook."""
        truth = truth or UNKNOWN
        labels, beams = tuple(sensing.traffic), len(sensing.beam.probabilities)
        objects = [(thing.position, thing.label) for thing in sensing.objects]
        people = [(person.position, person.activity) for person in sensing.people]
        self._rows.append(
            (
                sensing.stamp,
                sensing.beam.probabilities,
                sensing.beam_ahead.probabilities,
                _members(sensing.beam.sweep_set, beams),
                _members(sensing.beam_ahead.sweep_set, beams),
                self._powers(truth.power, beams),
                truth.terminal or "",
                self._powers(truth.noise_free, beams),
                self._beam(truth.best_ahead, beams),
                (sensing.blockage, sensing.blockage_ahead),
                (_number(truth.blocked), _number(truth.blocked_ahead)),
                sensing.pathloss,
                _number(truth.pathloss),
                tuple(sensing.traffic.values()),
                tuple(math.nan if truth.traffic is None else truth.traffic.get(label, 0.0) for label in labels),
                tuple(modality.gate for modality in sensing.modalities),
                sensing.latency_ms["total"],
                self._match("object", objects, truth.objects),
                self._match("person", people, truth.people),
            )
        )

    def frames(self) -> Frames:
        """What was collected; at least one frame."""
        (stamp, beam, ahead, sweep, sweep_ahead, power, terminal, noise_free, best_ahead, blockage, blocked, pathloss,
         true_pathloss, traffic, true_traffic, gate, latency, objects, people) = map(np.array, zip(*self._rows))  # fmt: skip
        pairs = {
            f"{kind}_{name}": np.array([row[place] for row in rows], of)
            for kind, rows in self._pairs.items()
            for place, (name, of) in enumerate((("frame", int), ("range", float), ("error", float), ("agreed", float)))
        }
        return Frames(
            scenario=np.full(len(self), self.scenario),
            stamp=stamp.astype(np.int64),
            beam=beam.astype(np.float32),
            ahead=ahead.astype(np.float32),
            sweep=sweep,
            sweep_ahead=sweep_ahead,
            power=power,
            terminal=terminal,
            noise_free=noise_free,
            best_ahead=best_ahead,
            blockage=blockage,
            blocked=blocked,
            pathloss=pathloss,
            true_pathloss=true_pathloss,
            traffic=traffic,
            true_traffic=true_traffic,
            gate=gate,
            latency=latency,
            objects=objects,
            people=people,
            **pairs,
        )

    def _powers(self, power: np.ndarray | None, beams: int) -> np.ndarray:
        if power is None:
            return np.full(beams, np.nan)
        if len(power) != beams:
            raise self._other_codebook(f"the true power is of {len(power)} beams", beams)
        return np.asarray(power, np.float64)

    def _beam(self, best: int | None, beams: int) -> int:
        if best is not None and not 0 <= best < beams:
            raise self._other_codebook(f"the truth names beam {best}", beams)
        return -1 if best is None else best

    def _other_codebook(self, fault: str, beams: int) -> BagError:
        return BagError(
            f"{self.scenario}: {fault}, the model's codebook has {beams}; use a model of that codebook: --model ONNX"
        )

    def _match(self, kind: str, found: Sequence[Thing], true: Sequence[Thing] | None) -> tuple[int, int]:
        """Counts of what was found, most confident first, and of what was there (-1: not known); matching knows no labels."""
        if true is None:
            return len(found), -1
        places, truths = (np.array([place for place, _ in things]).reshape(-1, 3) for things in (found, true))
        for i, j in metrics.match(places, truths):
            distance, error = math.hypot(*truths[j][:2]), math.dist(places[i][:2], truths[j][:2])
            agreed = float(found[i][1] == true[j][1]) if true[j][1] else math.nan
            self._pairs[kind].append((len(self._rows), distance, error, agreed))
        return len(found), len(true)


def _members(beams: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool, true at `beams`."""
    inside = np.zeros(count, bool)
    inside[beams] = True
    return inside


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

"""The numbers behind every curve of a report: Frames in, arrays out. Frames that lack the truth a curve needs are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.metrics import power_losses
from mmsense_ros.snapshot import NANOSECONDS


@dataclass(frozen=True, eq=False)
class Ranking:
    """Beams of n frames as they were ranked, and the one that was best: `probabilities`, `swept` (n, beams), `best` (n,)."""

    probabilities: np.ndarray
    swept: np.ndarray
    best: np.ndarray

    @classmethod
    def now(cls, frames: Frames) -> Ranking:
        """Against the strongest beam measured."""
        rows = frames.known
        return cls(frames.beam[rows], frames.sweep[rows], frames.power[rows].argmax(axis=1))

    @classmethod
    def ahead(cls, frames: Frames) -> Ranking:
        """The same at the horizon."""
        rows = frames.best_ahead >= 0
        return cls(frames.ahead[rows], frames.sweep_ahead[rows], frames.best_ahead[rows])

    @classmethod
    def noise_free(cls, frames: Frames) -> Ranking:
        """What the exact power says of the measured one: as well as it can be known."""
        rows = frames.known & np.isfinite(frames.noise_free).all(axis=1)
        power = frames.noise_free[rows]
        share = power / power.sum(axis=1, keepdims=True)
        return cls(share, share >= share.max(axis=1, keepdims=True), frames.power[rows].argmax(axis=1))

    def __len__(self) -> int:
        return len(self.best)

    @property
    def place(self) -> np.ndarray:
        """(n,) int, how many beams had to be tried, in order, until the best was: 1 if it was ranked first."""
        ranked = np.argsort(-self.probabilities, axis=1, kind="stable")
        return (ranked == self.best[:, None]).argmax(axis=1) + 1

    @property
    def hit(self) -> np.ndarray:
        """(n,) bool: the best beam is in the set to sweep."""
        return np.take_along_axis(self.swept, self.best[:, None], axis=1)[:, 0]

    @property
    def size(self) -> np.ndarray:
        """(n,) int, beams in the set to sweep."""
        return self.swept.sum(axis=1)


def top_k(ranking: Ranking, most: int) -> np.ndarray:
    """(most,) part of frames whose best beam is among the first 1, 2, ... `most`."""
    return (ranking.place[:, None] <= np.arange(1, most + 1)).mean(axis=0)


def confusion(ranking: Ranking) -> np.ndarray:
    """(beams, beams) int: how often the column was taken where the row was best."""
    beams = ranking.probabilities.shape[1]
    counts = np.zeros((beams, beams), int)
    np.add.at(counts, (ranking.best, ranking.probabilities.argmax(axis=1)), 1)
    return counts


def losses(frames: Frames) -> np.ndarray:
    """(N,) [dB] what the first choice lost, NaN where no power was recorded."""
    loss, known = np.full(len(frames), np.nan), frames.known
    loss[known] = power_losses(frames.power[known], frames.beam[known].argmax(axis=1))
    return loss


def cumulative(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each distinct value, ascending, and the part of `values` (n,) not above it."""
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, np.cumsum(counts) / max(len(values), 1)


@dataclass(frozen=True, eq=False)
class Reliability:
    """What was said and how often it came true, by bins (b,) that hold anything."""

    said: np.ndarray
    true: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """Mean distance of the two over all frames: the expected calibration error."""
        return float(np.average(abs(self.said - self.true), weights=self.count)) if len(self.count) else float("nan")


def reliability(probability: np.ndarray, came: np.ndarray, bins: int = 10) -> Reliability:
    """Of probabilities (n,) and what came (n,) bool, in `bins` of equal width."""
    bin_of = np.clip((np.asarray(probability) * bins).astype(int), 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    held = count > 0
    said, true = (np.bincount(bin_of, values, bins)[held] / count[held] for values in (probability, came))
    return Reliability(said, true, count[held])


def coverage_by_size(ranking: Ranking, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and count of the sets whose size lies in edges[k] .. edges[k + 1] - 1; NaN where there are none."""
    bin_of = np.digitize(ranking.size, edges) - 1
    count = np.array([(bin_of == k).sum() for k in range(len(edges) - 1)])
    hits = np.array([ranking.hit[bin_of == k].sum() for k in range(len(edges) - 1)], float)
    return np.divide(hits, count, out=np.full(len(count), np.nan), where=count > 0), count


def trade_off(ranking: Ranking, points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Mean size and coverage of the sets that other thresholds of `conformal.sweep_set` would have given, small ones first."""
    mass = np.cumsum(-np.sort(-ranking.probabilities, axis=1), axis=1)
    place = ranking.place
    scores = mass[np.arange(len(place)), place - 1]
    limits = np.quantile(scores, np.linspace(0, 1, points))
    sizes = [np.maximum((mass <= limit + 1e-6).sum(axis=1), 1) for limit in limits]
    return np.array([size.mean() for size in sizes]), np.array([(place <= size).mean() for size in sizes])


def roc(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true alarm rates (m,) from 0 to 1 as the threshold falls; `truth` (n,) bool must hold both kinds."""
    order = np.argsort(-np.asarray(probability), kind="stable")
    sure, true = np.asarray(probability)[order], np.asarray(truth, bool)[order]
    last = np.r_[np.flatnonzero(np.diff(sure)), len(sure) - 1]  # equals are told together
    hits, alarms = np.cumsum(true)[last], np.cumsum(~true)[last]
    return np.r_[0.0, alarms / alarms[-1]], np.r_[0.0, hits / hits[-1]]


def quartiles_by(position: np.ndarray, value: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quartiles (b, 3) of `value` (n,) by bins edges[k] <= `position` (n,) < edges[k + 1], and counts (b,); NaN where none."""
    bin_of = np.digitize(position, edges) - 1
    groups = [value[bin_of == k] for k in range(len(edges) - 1)]
    quartiles = [np.percentile(g, [25, 50, 75]) if len(g) else [np.nan] * 3 for g in groups]
    return np.array(quartiles).reshape(-1, 3), np.array([len(g) for g in groups])


@dataclass(frozen=True, eq=False)
class Stretch:
    """One scenario on the common time line, in m runs of frames."""

    name: str
    seconds: np.ndarray  #: (m + 1,) [s] where each run starts, and where the last one ends
    loss: np.ndarray  #: (m,) [dB] power lost at worst, NaN if not known
    blocked: np.ndarray  #: (m,) bool, ever
    gate: np.ndarray  #: (m, 3) mean weights of camera, radar, LiDAR


def timeline(frames: Frames, most: int = 600) -> list[Stretch]:
    """Scenarios one after another, in the order they were recorded in, in about `most` runs of frames at most."""
    loss, stretches, start = losses(frames), [], 0.0
    names, first = np.unique(frames.scenario, return_index=True)
    for name in names[np.argsort(first)]:
        rows = np.flatnonzero(frames.scenario == name)
        rows = rows[np.argsort(frames.stamp[rows], kind="stable")]
        since = (frames.stamp[rows] - frames.stamp[rows[0]]) / NANOSECONDS
        end = since[-1] + (np.median(np.diff(since)) if len(since) > 1 else 1.0)
        together = -(-len(frames) // most)
        runs = np.arange(0, len(rows), together)
        stretches.append(
            Stretch(
                name=str(name),
                seconds=start + np.r_[since[runs], end],
                loss=np.fmax.reduceat(loss[rows], runs),
                blocked=np.maximum.reduceat(frames.blocked[rows, 0], runs) > 0,
                gate=np.add.reduceat(frames.gate[rows], runs) / np.diff(np.r_[runs, len(rows)])[:, None],
            )
        )
        start += end
    return stretches

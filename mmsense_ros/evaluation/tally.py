"""The figures of report.json of any draw of frames, fast enough for thousands of draws."""

from __future__ import annotations

import numpy as np

from mmsense_ros.evaluation import metrics
from mmsense_ros.evaluation.curves import Ranking, losses
from mmsense_ros.evaluation.frames import Frames

#: Figures of which less is better, and of which neither is; of all others more is.
LESS_IS_BETTER = ("power_loss_db", "set_size", "mae_db", "mae", "position_mae_m", "p50", "p95", "p99")
NEUTRAL = ("coverage",)  # what was promised is best
BLOCKAGE = ("blockage", "blockage_ahead")


class Tally:
    """Nearly all figures are ratios of sums over frames: what each adds above and below the line is worked out once."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._rank("beam", Ranking.now(frames), frames.known)
        self._mean("beam.power_loss_db", losses(frames))
        self._rank("beam_ahead", Ranking.ahead(frames), frames.best_ahead >= 0)
        for when, name in enumerate(BLOCKAGE):
            self._f1(f"{name}.f1", frames.blockage[:, when], frames.blocked[:, when])
        self._mean("pathloss.mae_db", np.abs(frames.pathloss - frames.true_pathloss))
        self._detections("objects", "object", frames.objects, "class_acc")
        error = np.abs(frames.traffic - frames.true_traffic)
        self._sums["traffic.mae"] = np.nansum(error, axis=1), np.isfinite(error).sum(axis=1)
        self._detections("people", "person", frames.people, "activity_acc")
        self._above = np.stack([above for above, _ in self._sums.values()], axis=1).astype(float)
        self._below = np.stack([below for _, below in self._sums.values()], axis=1).astype(float)

    def figures(self, rows: np.ndarray) -> dict[str, float]:
        """Figures by `task.name` of the frames `rows` (n,) int, each as often as it is named; NaN where undefined."""
        above, below = self._above[rows].sum(axis=0), self._below[rows].sum(axis=0)
        found = {}
        for name, a, b in zip(self._sums, above.tolist(), below.tolist()):
            found[name] = metrics.ratio(a, b)
            task, _, figure = name.partition(".")
            if figure == "f1":
                found[f"{task}.auroc"] = self._area(rows, BLOCKAGE.index(task))
        latency = metrics.percentiles(self._frames.latency[rows])
        return found | {f"latency_ms.{name}": value for name, value in latency.items()}

    def _area(self, rows: np.ndarray, when: int) -> float:
        probability, truth = self._frames.blockage[rows, when], self._frames.blocked[rows, when]
        known = np.isfinite(truth)
        return metrics.auroc(probability[known], truth[known])

    def _rank(self, task: str, ranking: Ranking, known: np.ndarray) -> None:
        place = ranking.place
        for k in (1, 2, 3, 5):
            self._mean(f"{task}.top{k}", _spread(place <= k, known))
        ranked = np.argsort(-ranking.probabilities, axis=1, kind="stable")
        each = [metrics.dba(ranked[k : k + 1], ranking.best[k : k + 1]) for k in range(len(ranking))]
        self._mean(f"{task}.dba", _spread(np.array(each), known))
        self._mean(f"{task}.coverage", _spread(ranking.hit, known))
        self._mean(f"{task}.set_size", _spread(ranking.size, known))

    def _mean(self, name: str, values: np.ndarray) -> None:
        """A mean over the frames whose value (N,) is not NaN."""
        self._sums[name] = np.nan_to_num(values), np.isfinite(values)

    def _f1(self, name: str, probability: np.ndarray, truth: np.ndarray) -> None:
        known, claimed, true = np.isfinite(truth), probability >= 0.5, truth > 0.5
        self._sums[name] = 2 * (known & claimed & true), known * (claimed.astype(int) + true)

    def _detections(self, task: str, kind: str, counts: np.ndarray, label_accuracy: str) -> None:
        frame, count = getattr(self._frames, f"{kind}_frame"), len(self._frames)
        error, agreed = getattr(self._frames, f"{kind}_error"), getattr(self._frames, f"{kind}_agreed")
        matched, known = np.bincount(frame, minlength=count), counts[:, 1] >= 0
        self._sums[f"{task}.recall"] = matched, np.where(known, counts[:, 1], 0)
        self._sums[f"{task}.precision"] = matched, np.where(known, counts[:, 0], 0)
        self._sums[f"{task}.position_mae_m"] = np.bincount(frame, error, count), matched
        told = np.isfinite(agreed)
        right = np.bincount(frame, np.nan_to_num(agreed), count)
        self._sums[f"{task}.{label_accuracy}"] = right, np.bincount(frame[told], minlength=count)


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) float: `values` where `known` (N,), NaN elsewhere."""
    spread = np.full(len(known), np.nan)
    spread[known] = values
    return spread

"""The figures this package is judged by. Arrays in, floats out; NaN where a figure is undefined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DEEPEST_LOSS = 60.0  #: [dB] a chosen beam that received nothing at all counts as this much worse than the best
MATCH_DISTANCE = 2.0  #: [m] on the ground; nuScenes' middle threshold (Caesar et al. 2020)


def top_k(ranked: np.ndarray, best: np.ndarray, k: int) -> float:
    """Part of samples whose best beam (N,) is among the first `k` of `ranked` (N, >= k)."""
    return float(np.mean((ranked[:, :k] == best[:, None]).any(axis=1)))


def dba(ranked: np.ndarray, best: np.ndarray, k: int = 3, reach: int = 5) -> float:
    """Distance-based accuracy, the score of the DeepSense 6G challenge (Charan et al. 2022), 0..1.

    Mean over k' = 1..k of 1 - mean_n min(min_{j <= k'} |best_n - ranked_nj| / reach, 1).
    """
    distance = np.minimum(np.abs(ranked[:, :k].astype(float) - best[:, None]) / reach, 1.0)
    return float(np.mean(1.0 - np.minimum.accumulate(distance, axis=1)))


def power_losses(power: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Loss of each choice (N,) against the strongest beam of `power` (N, beams) linear; (N,) [dB], at most DEEPEST_LOSS."""
    best = power.max(axis=1)
    taken = np.take_along_axis(power, np.asarray(chosen)[:, None], axis=1)[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = 10 * np.log10(best / taken)
    return np.minimum(np.where(best > 0, loss, 0.0), DEEPEST_LOSS)


def power_loss_db(power: np.ndarray, chosen: np.ndarray) -> float:
    """Mean of `power_losses` [dB]."""
    return float(np.mean(power_losses(power, chosen)))


def coverage(sets: Sequence[np.ndarray], best: np.ndarray) -> float:
    """Part of samples whose best beam is in its set."""
    return float(np.mean([b in s for s, b in zip(sets, best, strict=True)]))


def set_size(sets: Sequence[np.ndarray]) -> float:
    """Mean number of beams in a set."""
    return float(np.mean([len(s) for s in sets]))


def f1(probability: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> float:
    """Harmonic mean of precision and recall of `probability >= threshold`; NaN if nothing is true nor claimed."""
    claimed, true = np.asarray(probability) >= threshold, np.asarray(truth).astype(bool)
    hits = int((claimed & true).sum())
    total = int(claimed.sum() + true.sum())
    return 2 * hits / total if total else float("nan")


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve: P(score of a true sample > score of a false one), ties half; NaN if only one kind is there."""
    true = np.asarray(truth).astype(bool)
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def match(found: np.ndarray, true: np.ndarray, reach: float = MATCH_DISTANCE) -> list[tuple[int, int]]:
    """Pairs (index of found, index of true) as nuScenes makes them.

    `found` (N, >= 2), most confident first, and `true` (M, >= 2) are x, y positions [m]. Each found one in turn takes the
    nearest true one nobody has taken, if it is nearer than `reach` on the ground.
    """
    pairs: list[tuple[int, int]] = []
    if not len(found) or not len(true):
        return pairs
    distance = np.linalg.norm(np.asarray(found)[:, None, :2] - np.asarray(true)[None, :, :2], axis=-1)
    for i in range(len(distance)):
        j = int(np.argmin(distance[i]))
        if distance[i, j] < reach:
            pairs.append((i, j))
            distance[:, j] = np.inf
    return pairs


def ratio(part: float, whole: float) -> float:
    """part / whole, NaN if there is nothing to divide by."""
    return float(part / whole) if whole else float("nan")


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of `samples`, linearly interpolated; NaN without samples."""
    values = np.percentile(samples, [50, 95, 99]) if len(samples) else [float("nan")] * 3
    return {name: float(value) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}

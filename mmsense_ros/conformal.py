"""Split-conformal sweep sets: which beams to sweep so that the best one is among them as often as promised.

Adaptive prediction sets (Romano, Sesia, Candes 2020) without randomization: the score of a true beam is the probability of all
beams at least as likely as it, itself included; the set holds the beams whose score stays within the calibrated threshold.
"""

from __future__ import annotations

import numpy as np


def scores(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Conformal score (N,) of the true beams `truth` (N,) int under `probabilities` (N, beams)."""
    true = np.take_along_axis(probabilities, truth[:, None], axis=1)
    return np.where(probabilities >= true, probabilities, 0.0).sum(axis=1)


def threshold(calibration_scores: np.ndarray, coverage: float) -> float:
    """The finite-sample quantile that promises `coverage` on exchangeable data; infinite if there are too few scores."""
    count = len(calibration_scores)
    rank = int(np.ceil((count + 1) * coverage))
    return float(np.sort(calibration_scores)[rank - 1]) if rank <= count else float("inf")


def sweep_set(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Beams (n,) int to sweep, most likely first, at least one, given `probabilities` (beams,) and the threshold `limit`."""
    order = np.argsort(-probabilities, kind="stable")
    within = int(np.count_nonzero(np.cumsum(probabilities[order]) <= limit + 1e-6))
    return order[: max(within, 1)]


def members(probabilities: np.ndarray, limit: np.ndarray | float) -> np.ndarray:
    """`sweep_set` of N moments as (N, beams) bool, of probabilities (N, beams) and a threshold for all or for each (N,)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    reached = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    within = reached <= np.reshape(limit, (-1, 1)) + 1e-6
    within[:, 0] = True
    inside = np.zeros(probabilities.shape, bool)
    np.put_along_axis(inside, order, within, axis=1)
    return inside

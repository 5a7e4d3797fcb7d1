"""Split-conformal sweep sets: which beams to sweep so that the best one is among them as often as promised.

Adaptive prediction sets (Romano, Sesia, Candes 2020) without randomization: the score of a true beam is the probability of all
beams at least as likely as it, itself included; the set holds the beams whose score stays within the calibrated threshold.
"""

from __future__ import annotations

import numpy as np

FIRST = 0.01  #: chance that a followed threshold leaves out before anything is known
PACE = 0.2  #: how far a followed threshold moves at a miss, in the logarithm of the chance left out
_ROUNDING = 1e-6  #: of sums of probabilities


def scores(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Conformal score (N,) of the true beams `truth` (N,) int under `probabilities` (N, beams)."""
    true = np.take_along_axis(probabilities, truth[:, None], axis=1)
    return np.where(probabilities >= true, probabilities, 0.0).sum(axis=1)


def threshold(calibration_scores: np.ndarray, coverage: float) -> float:
    """The finite-sample quantile that promises `coverage` on exchangeable data; infinite if there are too few scores."""
    count = len(calibration_scores)
    rank = int(np.ceil((count + 1) * coverage))
    return float(np.sort(calibration_scores)[rank - 1]) if rank <= count else float("inf")


def followed(scores: np.ndarray, known: np.ndarray, coverage: float) -> np.ndarray:
    """Thresholds (N + 1,), the k-th knowing the first k of `scores` (N,) in time order; none of the data need be exchangeable.

    Quantile tracking (Angelopoulos, Candes, Tibshirani 2023) of the logarithm of the chance left out: score n was judged by the
    `known[n]`-th threshold; one beyond it lowers what is left out, any other raises it so much less that `coverage` is kept in
    the long run, however scores change and however late they become known.
    """
    left_out = np.log(np.maximum(1 - scores, _ROUNDING))
    limits = np.full(len(scores) + 1, np.log(FIRST))
    for n, count in enumerate(known):
        limits[n + 1] = limits[n] + PACE * (1 - coverage - (left_out[n] < limits[count]))
    return 1 - np.exp(limits)


def sweep_set(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Beams (n,) int to sweep, most likely first, at least one, given `probabilities` (beams,) and the threshold `limit`."""
    order = np.argsort(-probabilities, kind="stable")
    within = int(np.count_nonzero(np.cumsum(probabilities[order]) <= limit + _ROUNDING))
    return order[: max(within, 1)]


def members(probabilities: np.ndarray, limit: np.ndarray | float) -> np.ndarray:
    """`sweep_set` of N moments as (N, beams) bool, of probabilities (N, beams) and a threshold for all or for each (N,)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    reached = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    within = reached <= np.reshape(limit, (-1, 1)) + _ROUNDING
    within[:, 0] = True
    inside = np.zeros(probabilities.shape, bool)
    np.put_along_axis(inside, order, within, axis=1)
    return inside

"""Where the strongest direction lies between beams, and how fast it moves: a constant-velocity Kalman filter over measured sweeps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d

SMOOTHNESS = 2.0  #: [beams] neighbouring beams overlap: the place of a sweep's maximum is steadier once it is smoothed so far
NOISE = 0.5  #: [beams] standard deviation of a sweep's place
UNREST = 10.0  #: [beams/s^1.5] root of the spectral density of the acceleration
SPEED = 15.0  #: [beams/s] standard deviation of the speed before anything is known of it
PAUSE = 2.0  #: [s] without a sweep, after which a track begins anew
AT_ONCE = 1e-6  #: [s] what is told of a sweep's own time must not know that sweep


def places(power: np.ndarray) -> np.ndarray:
    """Sub-beam index (N,) of the maximum of each smoothed sweep (N, beams) linear."""
    smooth = gaussian_filter1d(power / power.max(axis=1, keepdims=True), SMOOTHNESS, axis=1, mode="nearest")
    best, rows = smooth.argmax(axis=1), np.arange(len(smooth))
    inner = np.clip(best, 1, smooth.shape[1] - 2)
    left, middle, right = (smooth[rows, inner + side] for side in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
    return np.where(best == inner, inner + offset, best)


def runs(drive: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(N,) int, counting stretches of one `drive` (N,) without a pause in `time` (N,) [s]: what is tracked in one go."""
    new = (drive[1:] != drive[:-1]) | (np.diff(time) > PAUSE) | (np.diff(time) <= 0)
    return np.cumsum(np.r_[0, new])


def follow(power: np.ndarray, time: np.ndarray, run: np.ndarray) -> np.ndarray:
    """(N, 5) after each sweep: place [beams], speed [beams/s], and their variances and covariance: place, both, speed.

    `time` (N,) [s] grows within each `run` (N,).
    """
    place = places(power)
    states = np.empty((len(place), 5))
    for n, seen in enumerate(place):
        if n == 0 or run[n] != run[n - 1]:
            states[n] = seen, 0.0, NOISE**2, 0.0, SPEED**2
            continue
        x, v, xx, xv, vv = _moved(states[n - 1], time[n] - time[n - 1])
        gain_x, gain_v = xx / (xx + NOISE**2), xv / (xx + NOISE**2)
        states[n] = x + gain_x * (seen - x), v + gain_v * (seen - x), (1 - gain_x) * xx, (1 - gain_x) * xv, vv - gain_v * xv
    return states


def foretold(power: np.ndarray, time: np.ndarray, run: np.ndarray, delay: float, at: np.ndarray | None = None) -> np.ndarray:
    """(N, 3) of the moments `at` (N,) [s], by default those of the sweeps: place [beams], speed [beams/s], deviation [beams].

    What the sweeps of the same run tell that are older than `delay` [s], at least the sweep before; NaN where there is none.
    """
    at = time if at is None else at
    told, states = np.full((len(time), 3), np.nan), follow(power, time, run)
    for first, last in pairwise([*np.flatnonzero(np.diff(run, prepend=run[:1] - 1)), len(run)]):
        here = slice(first, last)
        newest = first - 1 + np.searchsorted(time[here], at[here] - max(delay, AT_ONCE) + AT_ONCE / 2, "right")
        for n in np.flatnonzero(newest >= first) + first:
            state = states[newest[n - first]]
            place, speed, variance, *_ = _moved(state, at[n] - time[newest[n - first]])
            told[n] = np.clip(place, 0, power.shape[1] - 1), speed, np.sqrt(variance + NOISE**2)
    return told


def _moved(state: np.ndarray, seconds: float) -> tuple[float, float, float, float, float]:
    """The state so many seconds later."""
    x, v, xx, xv, vv = state
    q = UNREST**2 * seconds
    return (
        x + v * seconds,
        v,
        xx + 2 * xv * seconds + vv * seconds**2 + q * seconds**2 / 3,
        xv + vv * seconds + q * seconds / 2,
        vv + q,
    )

"""The tracker beside the model: it learns while a recording goes on, from nothing but the sweeps that were measured so far."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsense_ros import conformal
from mmsense_ros.evaluation.baselines.kernel import closeness, soft_targets
from mmsense_ros.evaluation.baselines.motion import AT_ONCE, foretold, runs
from mmsense_ros.evaluation.baselines.told import Told
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.snapshot import NANOSECONDS

BANDWIDTH = np.array([0.5, 15.0])  #: [beams], [beams/s] within which two moments of a track are alike
DOUBT = 2.0  #: moments alike that weigh as much as what the filter tells without any
ROWS = 512  #: moments at once, which bounds the memory
UNKNOWN = 1e-3  #: chance that the filter is lost, spread over all beams


def track(
    power: np.ndarray, time: np.ndarray, run: np.ndarray, delay: float, at: np.ndarray | None = None, coverage: float = 0.9
) -> Told:
    """Beams at the moments `at` (N,) [s], by default those of the sweeps `power` (N, beams) linear, from sweeps older than `delay` [s].

    `time` (N,) [s] must not fall. A Gaussian around the place that the filter foretells, mixed with what was best at earlier
    moments of like place and speed. Sets follow how earlier ones fared, and are all beams where no sweep of the run is known.
    """
    states, later = foretold(power, time, run, delay), None if at is None else foretold(power, time, run, delay, at)
    before = _known(time, time, delay)
    known = before if at is None else _known(time, at, delay)
    own = _mixed(states, before, states, power)
    told, asked = (own, states) if later is None else (_mixed(later, known, states, power), later)
    tracked = np.flatnonzero(np.isfinite(states[:, 0]))
    scores = conformal.scores(own[tracked], power[tracked].argmax(axis=1))
    limits = conformal.followed(scores, np.searchsorted(tracked, before[tracked]), coverage)[np.searchsorted(tracked, known)]
    return Told(told, conformal.members(told, np.where(np.isfinite(asked[:, 0]), limits, np.inf)))


def _mixed(asked: np.ndarray, known: np.ndarray, states: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Probabilities (M, beams) at states `asked` (M, 3), each knowing only the first `known` (M,) of `states` (N, 3) and `power`."""
    tracked = np.flatnonzero(np.isfinite(states[:, 0]))
    beams, soft = np.arange(power.shape[1]), soft_targets(power[tracked])
    told = np.full((len(asked), len(beams)), 1 / len(beams))
    for rows in np.array_split(np.flatnonzero(np.isfinite(asked[:, 0])), len(asked) // ROWS + 1):
        near = np.exp(closeness(asked[rows, :2], states[tracked, :2], BANDWIDTH))
        near = np.where(tracked < known[rows, None], near, 0.0)
        place, _, deviation = asked[rows].T[..., None]
        filtered = np.exp(-0.5 * ((beams - place) / deviation) ** 2)
        filtered = (1 - UNKNOWN) * filtered / filtered.sum(axis=1, keepdims=True) + UNKNOWN / len(beams)
        told[rows] = (DOUBT * filtered + near @ soft) / (DOUBT + near.sum(axis=1, keepdims=True))
    return told


def _known(time: np.ndarray, at: np.ndarray, delay: float) -> np.ndarray:
    """How many of the sweeps of `time` (N,) each moment of `at` (M,) may know."""
    return np.searchsorted(time, at - max(delay, AT_ONCE) + AT_ONCE / 2, "right")


def beside(frames: Frames, horizon: float) -> dict[str, dict[str, Any]]:
    """`most_frequent`, the beams in the order in which they were best most often, and `tracker`, which knows the sweeps before a frame.

    It begins anew with every terminal. `tracker_ahead` is asked for the best beam `horizon` [s] after a frame, as the model's
    beam_ahead is, and knows the frame's own sweep. Empty if no power was measured.
    """
    rows = np.flatnonzero(frames.known)
    if not len(rows):
        return {}
    known = frames.only(rows)
    _, scenario = np.unique(known.scenario, return_inverse=True)
    order = np.lexsort((known.stamp, scenario))
    known, scenario = known.only(order), scenario[order]
    now, later = [], []
    for number in np.unique(scenario):
        part = known.only(np.flatnonzero(scenario == number))
        time = (part.stamp - part.stamp[0]) / NANOSECONDS
        run = runs(part.terminal, time)
        now.append(track(part.power, time, run, 0.0))
        later.append(track(part.power, time, run, horizon, time + horizon))
    often = np.bincount(known.power.argmax(axis=1), minlength=known.power.shape[1]) / len(rows)
    usual = np.tile(often, (len(rows), 1))
    limit = conformal.threshold(conformal.scores(usual, known.power.argmax(axis=1)), 0.9)
    told = {"most_frequent": Told(usual, conformal.members(usual, limit)), "tracker": Told.joined(now)}
    figures = {name: one.figures(known.power) for name, one in told.items()}
    if (asked := known.best_ahead >= 0).any():
        figures["tracker_ahead"] = Told.joined(later).only(asked).figures_of_best(known.best_ahead[asked])
    return figures

"""Beams of drive-bys that nothing was learned from: the predictors that real, image-free measurements allow, side by side.

Each learns from some drive-bys and tells of a training snapshot what it would have, had it not known that snapshot's drive-by
(`left_out`): from these its bandwidths are learned and its conformal sets calibrated (jackknife, Barber et al. 2021), so that a
scenario of a dozen drive-bys need not give up a part for calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros import conformal
from mmsense_ros.data.drivebys import FEWEST_DRIVES, DriveBys
from mmsense_ros.errors import BagError
from mmsense_ros.evaluation.baselines.kernel import Kernel, learn
from mmsense_ros.evaluation.baselines.motion import foretold, runs
from mmsense_ros.evaluation.baselines.neighbours import Neighbours
from mmsense_ros.evaluation.baselines.told import Told

SHARE = 0.6  #: of the drive-bys, to learn from
HORIZON = 0.5  #: [s] that `tracker_ahead` looks ahead, as the shipped model does
METRE = (1.0, 1.0)  #: [m] bandwidths to start from: east, north
TRACK = (0.3, 7.0)  #: [beams], [beams/s] the same of the place and the speed of a track
POSITIONAL = ("neighbours", "position", "tracker_position")
#: What each knows of the moment it tells of; the sweep of that moment never.
PREDICTORS = {
    "most_frequent": "nothing",
    "neighbours": "the position: votes of the five nearest",
    "position": "the position",
    "last_beam": "the best beam of the sweep before",
    "tracker": "all sweeps before",
    "tracker_position": "all sweeps before, and the position",
    "tracker_ahead": f"all sweeps older than {HORIZON} s",
}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was told of M held-out snapshots, by predictor, and the truth."""

    told: dict[str, Told]
    power: np.ndarray  #: (M, beams) linear

    def figures(self) -> dict[str, dict[str, float]]:
        """By predictor."""
        return {name: told.figures(self.power) for name, told in self.told.items()}


def split(drive: np.ndarray, seed: int, share: float = SHARE) -> np.ndarray:
    """(N,) bool, true for training: `share` of the drive-bys `drive` (N,), drawn by `seed`."""
    drives = np.unique(drive)
    drawn = np.random.default_rng(seed).permutation(drives)[: round(share * len(drives))]
    return np.isin(drive, drawn)


def compare(data: DriveBys, seed: int = 0, coverage: float = 0.9) -> HeldOut:
    """What each of PREDICTORS, learned from the drive-bys that `seed` draws, tells of the others, with sets that promise `coverage`.

    Where nothing is known that a predictor goes by, as before the first sweep of a drive-by, it tells what the position does, and
    without one what is usual. Those that need positions are left out if there are none. Raises BagError if drive-bys are too few.
    """
    if len(np.unique(data.drive)) < FEWEST_DRIVES:
        fault = f"{data.scenario} has fewer than {FEWEST_DRIVES} drive-bys (terminals), too few to hold any out"
        raise BagError(f"{fault}; record more of them")
    train = split(data.drive, seed)
    answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (features, start) in _features(data).items():
        known = np.isfinite(features).all(axis=1)
        if not (train & known).any():
            continue
        of = features[train & known], data.power[train & known], data.drive[train & known]
        model: Neighbours | Kernel = Neighbours(*of) if name == "neighbours" else learn(*of, start)
        usual = (
            answers.get("most_frequent") if name in POSITIONAL[:2] else answers.get("position", answers.get("most_frequent"))
        )
        beams = data.power.shape[1]
        left_out, test = (part.copy() for part in usual or (np.empty((n, beams)) for n in (train.sum(), (~train).sum())))
        left_out[known[train]] = model.left_out()
        if (~train & known).any():
            test[known[~train]] = model.predict(features[~train & known])
        answers[name] = left_out, test
    best, told = data.power[train].argmax(axis=1), {}
    for name, (left_out, test) in answers.items():
        limit = conformal.threshold(conformal.scores(left_out, best), coverage)
        told[name] = Told(test, conformal.members(test, limit))
    return HeldOut(told, data.power[~train])


def _features(data: DriveBys) -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """By predictor, features (N, F), NaN where not known, and bandwidths (F,) to start from."""
    run, best = runs(data.drive, data.time), data.power.argmax(axis=1).astype(float)
    last = np.where(np.diff(run, prepend=-1), np.nan, np.roll(best, 1))[:, None]
    now, later = (foretold(data.power, data.time, run, delay)[:, :2] for delay in (0.0, HORIZON))
    return {
        "most_frequent": (np.empty((len(best), 0)), ()),
        "neighbours": (data.position, METRE),
        "position": (data.position, METRE),
        "last_beam": (last, (1.0,)),
        "tracker": (now, TRACK),
        "tracker_position": (np.hstack([now, data.position]), TRACK + METRE),
        "tracker_ahead": (later, TRACK),
    }

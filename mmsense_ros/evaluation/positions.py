"""Beams from where the terminal is, and from where its beam was: the predictors that real, image-free measurements allow.

Each learns from drive-bys and tells of a training snapshot what it would have, had it not known that snapshot's drive-by
(`left_out`): from these its bandwidths are learned and its conformal sets calibrated (jackknife, Barber et al. 2021), so that a
scenario of a dozen drive-bys need not give up a part for calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from mmsense_ros import conformal
from mmsense_ros.data.deepsense import DriveBys
from mmsense_ros.evaluation import metrics
from mmsense_ros.evaluation.report import beam_figures

SOFTNESS = 0.5  #: [dB] a beam this much weaker than another counts e times less as a target; the training recipe's default
POSITION_BANDWIDTH = 1.0  #: [m] to start from
TRACK_BANDWIDTH = (1.0, 2.0)  #: [beams] of the last best beam and of its step, to start from
#: Top-1, 3 and 5 by scenario of `Neighbours` that the README beside the gathered arrays gives; on which split it does not say.
GIVEN = {
    1: (0.46, 0.80, 0.83),
    2: (0.43, 0.75, 0.80),
    3: (0.15, 0.29, 0.38),
    4: (0.12, 0.29, 0.40),
    5: (0.48, 0.79, 0.82),
    6: (0.37, 0.70, 0.76),
    7: (0.22, 0.44, 0.54),
}
_EVERY = 3  #: snapshots of a drive-by lie so close that bandwidths need asking only so many of them
_UNKNOWN = 1e-3  #: chance that nothing learned holds, spread over all beams: no answer is ever impossible


def split(drive: np.ndarray, seed: int, share: float = 0.6) -> np.ndarray:
    """(N,) bool, true for training: `share` of the drive-bys `drive` (N,), drawn by `seed`."""
    drives = np.unique(drive)
    drawn = np.random.default_rng(seed).permutation(drives)[: round(share * len(drives))]
    return np.isin(drive, drawn)


@dataclass(frozen=True)
class Neighbours:
    """Votes of the five nearest training snapshots: the baseline of Morais and Alkhateeb 2022 (arXiv 2205.09054)."""

    features: np.ndarray  #: (N, F)
    power: np.ndarray  #: (N, beams) linear
    drive: np.ndarray  #: (N,)
    count: int = 5

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Shares of the votes (M, beams) for `features` (M, F); of equals, the nearer leads."""
        return self._votes(_squares(features, self.features).sum(axis=0))

    def left_out(self) -> np.ndarray:
        """Shares (N, beams) for the training snapshots, each by the other drive-bys."""
        distance = _squares(self.features, self.features).sum(axis=0)
        return self._votes(np.where(self.drive[:, None] == self.drive, np.inf, distance))

    def _votes(self, distance: np.ndarray) -> np.ndarray:
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.count]
        votes = np.zeros((len(distance), self.power.shape[1]))
        for rank, beams in enumerate(self.power.argmax(axis=1)[nearest].T):
            votes[np.arange(len(votes)), beams] += 1 + 1e-6 * 0.5**rank
        return votes / votes.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Kernel:
    """Kernel regression of the soft best beam, E[softmax(power / SOFTNESS) | features] (Nadaraya 1964, Watson 1964)."""

    features: np.ndarray  #: (N, F)
    power: np.ndarray  #: (N, beams) linear
    drive: np.ndarray  #: (N,)
    bandwidth: np.ndarray  #: (F,) in the units of the features

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (M, beams) for `features` (M, F)."""
        return self._mean(self._closeness(features))

    def left_out(self) -> np.ndarray:
        """Probabilities (N, beams) for the training snapshots, each by the other drive-bys."""
        return self._mean(np.where(self.drive[:, None] == self.drive, -np.inf, self._closeness(self.features)))

    def _closeness(self, features: np.ndarray) -> np.ndarray:
        return -0.5 * np.tensordot(self.bandwidth**-2.0, _squares(features, self.features), axes=1)

    def _mean(self, closeness: np.ndarray) -> np.ndarray:
        known = softmax(closeness, axis=1) @ soft_targets(self.power)
        return (1 - _UNKNOWN) * known + _UNKNOWN / known.shape[1]


def learn(features: np.ndarray, power: np.ndarray, drive: np.ndarray, start: tuple[float, ...]) -> Kernel:
    """The kernel whose bandwidths, `start` (F,) at first, make the best beams likeliest under the other drive-bys."""
    asked = slice(None, None, _EVERY)
    squares = _squares(features[asked], features)
    strange = drive[asked, None] != drive
    hit = soft_targets(power)[:, power[asked].argmax(axis=1)].T  # (i, j): what snapshot j says of i's best beam

    def loss(logarithm: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = squares * np.exp(-2 * logarithm, dtype=np.float32)[:, None, None]
        closeness = np.where(strange, -0.5 * scaled.sum(axis=0), -np.inf)
        weight = softmax(closeness, axis=1)
        part = weight * hit
        likelihood = (1 - _UNKNOWN) * part.sum(axis=1) + _UNKNOWN / power.shape[1]
        pull = (1 - _UNKNOWN) * (part - weight * part.sum(axis=1, keepdims=True)) / likelihood[:, None]
        return -float(np.log(likelihood).mean()), -np.einsum("ij,fij->f", pull, scaled).astype(float) / len(likelihood)

    first = np.log(np.array(start, float))
    bounds = [(centre - 3, centre + 3) for centre in first]
    best = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 12})
    return Kernel(features, power, drive, np.exp(best.x))


def soft_targets(power: np.ndarray) -> np.ndarray:
    """softmax(power [dB] / SOFTNESS) (N, beams) float32 of linear `power` (N, beams)."""
    return softmax(10 * np.log10(power) / SOFTNESS, axis=1).astype(np.float32)


def track(data: DriveBys) -> np.ndarray:
    """(N, 2) [beams]: the best beam of the snapshot before and its step since the one before that (0 if there is none).

    NaN for the first of a drive-by, of which no beam has been measured yet.
    """
    best = data.power.argmax(axis=1).astype(float)
    known = np.r_[False, data.drive[1:] == data.drive[:-1]]
    last = np.where(known, np.roll(best, 1), np.nan)
    before = np.roll(last, 1)
    before[:1] = np.nan
    step = np.where(known & np.roll(known, 1), last - before, 0.0)
    return np.stack([last, np.where(known, step, np.nan)], axis=1)


def compare(data: DriveBys, seed: int, coverage: float = 0.9) -> dict[str, dict[str, float]]:
    """Figures on held-out drive-bys by predictor: `neighbours`, `position`, `last beam`, `track`.

    Top-k, DBA and power loss as evaluation.report gives them, and of the conformal set that promises `coverage` the part of
    snapshots it held the best beam of and its mean size. `last beam` and `track` know the beams measured earlier in the drive-by.
    """
    train = split(data.drive, seed)
    past = track(data)
    known = ~np.isnan(past[:, 0])
    features = np.hstack([data.position, past])

    def of(chosen: np.ndarray, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return features[chosen, columns], data.power[chosen], data.drive[chosen]

    place, whole = slice(0, 2), slice(0, 4)
    near = (POSITION_BANDWIDTH, POSITION_BANDWIDTH)
    neighbours = Neighbours(*of(train, place))
    position = learn(*of(train, place), near)
    answers = {
        name: _told(model, features[~train, place]) for name, model in (("neighbours", neighbours), ("position", position))
    }
    for name, columns, start in (("last beam", slice(2, 3), TRACK_BANDWIDTH[:1]), ("track", whole, near + TRACK_BANDWIDTH)):
        model = learn(*of(train & known, columns), start)
        left_out, test = (array.copy() for array in answers["position"])
        left_out[known[train]] = model.left_out()
        test[known[~train]] = model.predict(features[~train & known, columns])
        answers[name] = left_out, test
    power, best = data.power[~train], data.power.argmax(axis=1)
    figures = {}
    for name, (left_out, test) in answers.items():
        limit = conformal.threshold(conformal.scores(left_out, best[train]), coverage)
        sets = [conformal.sweep_set(probabilities, limit) for probabilities in test]
        figures[name] = beam_figures(np.argsort(-test, axis=1, kind="stable"), power) | {
            "coverage": metrics.coverage(sets, best[~train]),
            "set_size": metrics.set_size(sets),
        }
    return figures


def _told(model: Neighbours | Kernel, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return model.left_out(), model.predict(features)


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared differences (F, M, N) float32 of two sets of features (M, F), (N, F)."""
    return ((one.T[:, :, None] - other.T[:, None]) ** 2).astype(np.float32)

"""Beams by kernel regression on whatever tells of them: a position, a track, nothing at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

SOFTNESS = 0.5  #: [dB] a beam this much weaker than another counts e times less as a target; the training recipe's default
_EVERY = 3  #: snapshots of a drive-by lie so close that bandwidths need asking only so many of them
_UNKNOWN = 1e-3  #: chance that nothing learned holds, spread over all beams: no answer is ever impossible


@dataclass(frozen=True)
class Kernel:
    """Kernel regression of the soft best beam, E[softmax(power / SOFTNESS) | features] (Nadaraya 1964, Watson 1964)."""

    features: np.ndarray  #: (N, F); F may be 0: then all snapshots count alike
    power: np.ndarray  #: (N, beams) linear
    drive: np.ndarray  #: (N,)
    bandwidth: np.ndarray  #: (F,) in the units of the features

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (M, beams) for `features` (M, F)."""
        return self._mean(closeness(features, self.features, self.bandwidth))

    def left_out(self) -> np.ndarray:
        """Probabilities (N, beams) for the training snapshots, each by the other drive-bys."""
        near = closeness(self.features, self.features, self.bandwidth)
        return self._mean(np.where(self.drive[:, None] == self.drive, -np.inf, near))

    def _mean(self, near: np.ndarray) -> np.ndarray:
        known = softmax(near, axis=1) @ soft_targets(self.power)
        return (1 - _UNKNOWN) * known + _UNKNOWN / known.shape[1]


def learn(features: np.ndarray, power: np.ndarray, drive: np.ndarray, start: tuple[float, ...]) -> Kernel:
    """The kernel whose bandwidths, `start` (F,) at first, make the best beams likeliest under the other drive-bys."""
    if not start:
        return Kernel(features, power, drive, np.empty(0))
    from scipy.optimize import minimize  # here, as it takes a while and most evaluations learn nothing

    asked = slice(None, None, _EVERY)
    apart = squares(features[asked], features)
    strange = drive[asked, None] != drive
    hit = soft_targets(power)[:, power[asked].argmax(axis=1)].T  # (i, j): what snapshot j says of i's best beam

    def loss(logarithm: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = apart * np.exp(-2 * logarithm, dtype=np.float32)[:, None, None]
        weight = softmax(np.where(strange, -0.5 * scaled.sum(axis=0), -np.inf), axis=1)
        part = weight * hit
        likelihood = (1 - _UNKNOWN) * part.sum(axis=1) + _UNKNOWN / power.shape[1]
        pull = (1 - _UNKNOWN) * (part - weight * part.sum(axis=1, keepdims=True)) / likelihood[:, None]
        return -float(np.log(likelihood).mean()), -np.einsum("ij,fij->f", pull, scaled).astype(float) / len(likelihood)

    first = np.log(np.array(start, float))
    bounds = [(centre - 3, centre + 3) for centre in first]
    best = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 12})
    return Kernel(features, power, drive, np.exp(best.x))


def soft_targets(power: np.ndarray) -> np.ndarray:
    """softmax(power [dB] / SOFTNESS) (N, beams) float32 of linear `power` (N, beams); NaN where a sweep is."""
    with np.errstate(divide="ignore"):
        return softmax(10 * np.log10(power) / SOFTNESS, axis=1).astype(np.float32)


def closeness(one: np.ndarray, other: np.ndarray, bandwidth: np.ndarray) -> np.ndarray:
    """Logarithm (M, N) of the Gaussian kernel of `bandwidth` (F,) between two sets of features (M, F), (N, F)."""
    return -0.5 * np.tensordot(bandwidth**-2.0, squares(one, other), axes=1)


def squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared differences (F, M, N) float32 of two sets of features (M, F), (N, F)."""
    return ((one.T[:, :, None] - other.T[:, None]) ** 2).astype(np.float32)

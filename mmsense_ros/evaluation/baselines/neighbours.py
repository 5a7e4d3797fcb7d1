"""Beams by the nearest positions: the baseline of Morais and Alkhateeb 2022 (arXiv 2205.09054)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.evaluation.baselines.kernel import squares


@dataclass(frozen=True)
class Neighbours:
    """Votes of the five nearest training snapshots."""

    features: np.ndarray  #: (N, F)
    power: np.ndarray  #: (N, beams) linear
    drive: np.ndarray  #: (N,)
    count: int = 5

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Shares of the votes (M, beams) for `features` (M, F); of equals, the nearer leads."""
        return self._votes(squares(features, self.features).sum(axis=0))

    def left_out(self) -> np.ndarray:
        """Shares (N, beams) for the training snapshots, each by the other drive-bys."""
        distance = squares(self.features, self.features).sum(axis=0)
        return self._votes(np.where(self.drive[:, None] == self.drive, np.inf, distance))

    def _votes(self, distance: np.ndarray) -> np.ndarray:
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.count]
        votes = np.zeros((len(distance), self.power.shape[1]))
        for rank, beams in enumerate(self.power.argmax(axis=1)[nearest].T):
            votes[np.arange(len(votes)), beams] += 1 + 1e-6 * 0.5**rank
        return votes / votes.sum(axis=1, keepdims=True)
